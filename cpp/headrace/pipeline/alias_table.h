// Draws samples in proportion to weights, in constant time each, whatever their number.
//
// Each of the n bins holds 2^32 units of mass: up to `threshold` they are the bin's own sample's, the rest its alias's. Weights become
// whole units that sum to n * 2^32, by floor and carried remainder, so a sample's probability is its weight's share, exact to 2^-32 / n; a
// weight of 0 is never drawn. The bins are filled by one sweep over light samples (less than a bin) and heavy ones, both in ascending
// order. All sums are integers: where the sweep stands after any number of bins can be found without doing it, so threads build parts of
// it, and the table does not depend on their number. Sources: Walker 1977, Vose 1991 (the table); Huebschle-Schneider and Sanders 2019
// (splitting the sweep).
//
// Memory:   8 bytes a weight; while it is built, an eighth of a byte a weight more and 40 bytes for 4096 weights.
// Threads:  immutable after build(); any. build() uses the shared pool.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "headrace/base/status.h"

namespace headrace::pipeline {

// Weights as the caller holds them: exactly one of the pointers is set.
struct Weights {
  const float* floats = nullptr;
  const double* doubles = nullptr;
  const std::uint32_t* classes = nullptr;  // weight i is of_class[classes[i]]
  const double* of_class = nullptr;
  std::size_t count = 0;

  double at(std::size_t i) const {
    return floats != nullptr ? static_cast<double>(floats[i]) : doubles != nullptr ? doubles[i] : of_class[classes[i]];
  }
};

class AliasTable {
 public:
  static constexpr std::uint64_t kMaxWeights = 1ull << 31;
  static constexpr std::uint64_t kBin = 1ull << 32;  // units of mass in a bin

  // `threads` of the pool help the calling one. Errors: kInvalidArgument (no weight, too many, negative, not finite, all zero; naming the
  // first such weight), kOutOfMemory.
  static Result<std::shared_ptr<const AliasTable>> build(const Weights& weights, int threads);
  // A table from entries() of another, checked. Errors: kInvalidArgument.
  static Result<std::shared_ptr<const AliasTable>> from_entries(std::span<const std::uint64_t> entries, int threads);

  std::size_t size() const { return size_; }
  // Hash of the table: equal for weights that differ by a common factor only, different for others.
  std::uint64_t fingerprint() const { return fingerprint_; }
  std::span<const std::uint64_t> entries() const { return {entries_.get(), size_}; }

  // out[i] = the draw at position begin + i of the stream of `key`.
  void draw(std::uint64_t key, std::uint64_t begin, std::span<std::uint64_t> out) const;
  // Units of mass of each sample: its probability times size() * kBin.
  std::vector<std::uint64_t> masses() const;

 private:
  friend class AliasBuild;
  AliasTable() = default;
  Status take_fingerprint(int threads);
  std::size_t size_ = 0;
  std::uint64_t fingerprint_ = 0;
  std::unique_ptr<std::uint64_t[]> entries_;  // threshold << 32 | alias
};

}  // namespace headrace::pipeline
