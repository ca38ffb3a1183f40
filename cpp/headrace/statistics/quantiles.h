// Quantiles of each column, from batches of rows: a QuantileSketch a column.
//
// The same rows in the same order give the same sketches, however they were cut into batches and whatever the number of threads. Nulls, NaN
// and infinities are left out. Threads: one at a time; update() takes helpers from the shared pool.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "headrace/base/bytes.h"
#include "headrace/base/status.h"
#include "headrace/statistics/quantile_sketch.h"
#include "headrace/statistics/rows.h"

namespace headrace::statistics {

class Quantiles {
 public:
  // Errors: kInvalidArgument (width, or a rank_error outside [1e-5, 0.1]), kOutOfMemory.
  static Result<Quantiles> create(std::size_t width, double rank_error, std::uint64_t seed);
  static Result<Quantiles> load(Bytes state);

  // Errors: kOutOfMemory. REQUIRES: rows.width == width(), a dtype of number_bytes() > 0.
  Status update(const Rows& rows, int threads);
  // Errors: kInvalidArgument (another width or rank_error), kOutOfMemory.
  Status merge(const Quantiles& other);

  std::size_t width() const { return columns_.size(); }
  double rank_error() const { return rank_error_; }
  std::uint64_t seed() const { return seed_; }
  bool is_exact() const;
  const std::vector<QuantileSketch>& columns() const { return columns_; }
  Result<std::vector<std::uint8_t>> save() const;

 private:
  Quantiles(std::size_t width, double rank_error, std::uint64_t seed);
  void append_columns(const Rows& rows, std::size_t begin, std::size_t until, std::size_t first, std::size_t end);
  Status take_spans(int threads);

  double rank_error_;
  std::uint64_t seed_;
  std::vector<QuantileSketch> columns_;
};

}  // namespace headrace::statistics
