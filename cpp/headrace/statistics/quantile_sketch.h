// Quantiles of one stream of numbers in bounded memory: exact while few, then a KLL sketch.
//
// Source: Karnin, Lang, Liberty 2016, "Optimal quantile approximation in streams", with the lazy compaction of Ivkin et al. 2019. Level l
// holds values that stand for 2^l each; of a full level every other value goes up, and which half is a coin: a Philox bit keyed by
// (seed, stream), counted by compaction. So the same values in the same order give the same sketch.
// The lowest levels are one: a span of values as they come is sorted, and every 2^base_-th of it goes up. It is larger than the levels that
// it stands for, so no less exact, and spans can be sorted by themselves, on any thread.
// Error: with k = capacity_for(e), the rank of a quantile is off by at most e of all values with probability 0.99 (Apache DataSketches'
// fit for this sketch, e = 2.296 / k^0.9723); merged sketches too.
// Threads: one at a time, but for sort_span(). Memory: 8 bytes * max(exact values, about 11.5 k), and what was appended.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "headrace/base/bytes.h"
#include "headrace/base/status.h"

namespace headrace::statistics {

class QuantileSketch {
 public:
  // exact_values: how many are kept as they are before any is thrown away.
  QuantileSketch(std::size_t capacity, std::size_t exact_values, std::uint64_t seed, std::uint64_t stream);
  static std::size_t capacity_for(double rank_error);

  // Throws bad_alloc. REQUIRES: finite values.
  void add(const double* values, std::size_t count);
  // add() in parts: append() as often as one likes, then sort_span() each of full_spans(), by any threads, then take_spans().
  void append(const double* values, std::size_t count);
  std::size_t full_spans() const;
  void sort_span(std::size_t span);
  void take_spans();
  void merge(const QuantileSketch& other);

  std::uint64_t count() const { return count_; }
  bool is_exact() const { return levels_.size() == 1; }
  // The least and greatest, exactly. REQUIRES: count() > 0.
  double min() const { return min_; }
  double max() const { return max_; }
  // numpy's "linear" quantiles of what is known: q each, from 0 to 1. REQUIRES: count() > 0.
  void quantiles(const double* q, std::size_t count, double* out) const;
  // How many values are below x, and how many are x, by what is known.
  std::pair<std::uint64_t, std::uint64_t> rank(double x) const;

  struct Point {
    double value;
    std::uint64_t at_most;  // values up to and with it
  };
  // The distribution function where it steps, ascending.
  std::vector<Point> points() const;

  void save(ByteWriter& out) const;
  // False where the bytes are not what save() wrote.
  bool load(ByteReader& in);

 private:
  std::size_t level_capacity(std::size_t level) const;
  std::size_t all_capacity() const;
  void compress();
  void compact(std::size_t level);
  void lift(const double* sorted, std::size_t count);
  bool coin();

  std::size_t capacity_, exact_values_, base_, span_values_;
  std::array<std::uint64_t, 2> key_;
  std::uint64_t count_ = 0;
  std::uint64_t compactions_ = 0;
  double min_, max_;
  std::vector<std::vector<double>> levels_;  // all but the lowest sorted; those between it and base_ hold nothing
  std::size_t held_ = 0;                     // values in the levels from base_ on
  std::size_t room_ = 0;                     // what they may hold before the next compaction
  std::array<std::uint64_t, 4> bits_{};      // of the coins around compactions_
};

}  // namespace headrace::statistics
