// Count, nulls, mean, variance, skew, least and greatest of each column, from batches of rows.
//
// Arithmetic: float64, in blocks of rows whose borders depend on the rows' number alone (block_moments.h), merged by the formulas of
//           Chan, Golub and LeVeque (1979) and Pebay (2008). So the same rows in the same order give the same bits, however they were cut
//           into batches and whatever the number of threads. merge() and load() begin a new block.
// Spans:    a few blocks, counted apart before they are merged: so rows may be counted where they are made, by any thread (CountedRows).
// Nulls:    what `valid` says, and NaN. Infinities are counted apart and are no part of anything else.
// Memory:   about 200 bytes a column, and at most a block of rows (4 MiB at most where rows are wide).
// Threads:  one at a time; update() takes helpers from the shared pool.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "headrace/base/bytes.h"
#include "headrace/base/status.h"
#include "headrace/statistics/block_moments.h"
#include "headrace/statistics/rows.h"

namespace headrace::statistics {

inline constexpr std::size_t kMostSpanRows = 16384;

// One entry a column; mean is 0 and min, max are +inf, -inf where nothing was counted.
struct ColumnMoments {
  explicit ColumnMoments(std::size_t width);
  // Adds what another one counted, for columns [begin, end).
  void merge(const ColumnMoments& other, std::size_t begin, std::size_t end);
  void merge(const BlockMoments& block, std::size_t begin, std::size_t end);
  void clear();

  std::vector<std::int64_t> count, nulls, infinities;
  std::vector<double> mean, mean_low, m2, m3, min, max;  // mean + mean_low, sums of (x - mean)^2 and ^3
};

// What whole spans of rows amount to, in their order, and the rows behind them as they are.
struct CountedRows {
  std::vector<ColumnMoments> spans;
  format::DType dtype = format::DType::kFloat64;
  std::vector<std::uint8_t> rest;  // rest_rows * width values, NaN where null
  std::size_t rest_rows = 0;
};

class Moments {
 public:
  // Errors: kInvalidArgument (width is 0 or above kMaxWidth), kOutOfMemory.
  static Result<Moments> create(std::size_t width);
  static Result<Moments> load(Bytes state);

  // Errors: kOutOfMemory; what is counted is then not defined. REQUIRES: rows.width == width(), a dtype of number_bytes() > 0.
  Status update(const Rows& rows, int threads);
  Status merge(const Moments& other);
  // As update() of the rows that were counted. Errors: kInvalidArgument (what was added before does not end with a span, another width).
  Status add(const CountedRows& counted, int threads);
  // Rows of a span: a power of two, at most kMostSpanRows.
  std::size_t span_rows() const { return span_blocks_ * block_rows_; }
  // Counts the span that begins with a row, apart from what was added so far; any thread. REQUIRES: `to` is clear, the rows are there.
  void count_span(const Rows& rows, std::size_t first_row, ColumnMoments& to) const;
  // What was added so far.
  Result<ColumnMoments> totals() const;
  Result<std::vector<std::uint8_t>> save() const;
  std::size_t width() const { return width_; }

 private:
  explicit Moments(std::size_t width);
  // Each column's share of `blocks` blocks from first_row on, added to `to`.
  Status add_blocks(const Rows& rows, std::size_t first_row, std::size_t blocks, ColumnMoments& to, int threads) const;
  Status add_spans(const Rows& rows, std::size_t first_row, std::size_t spans, int threads);
  void add_panel(const Rows& rows, std::size_t first_row, std::size_t blocks, std::size_t panel, ColumnMoments& to) const;
  std::size_t fill_partial(const Rows& rows);
  void close_partial(ColumnMoments& to) const;

  std::size_t width_;
  std::size_t block_rows_, span_blocks_;
  ColumnMoments total_;
  ColumnMoments open_;  // of the span of blocks that is not full
  std::size_t open_blocks_ = 0;
  std::vector<double> partial_;  // rows of the block that is not full
  std::size_t partial_rows_ = 0;
};

}  // namespace headrace::statistics
