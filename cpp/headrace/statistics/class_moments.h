// Means of the columns in each class, and how the columns vary together inside the classes: for discriminant analysis, the F test and,
// with a single class, covariances.
//
// Arithmetic: float64, in blocks of complete rows: each is centred by its own classes' means, then merged (Chan, Golub, LeVeque 1979). The
//           same rows in the same order give the same bits, however they were cut into batches and whatever the number of threads.
// Left out: rows with a null, a NaN or an infinity, and rows whose label is -1.
// Memory:   8 bytes * (width^2 + classes * width), and a block of at most 4 MiB where rows are not longer than 16 KiB.
// Threads:  one at a time; update() takes helpers from the shared pool.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "headrace/base/bytes.h"
#include "headrace/base/status.h"
#include "headrace/statistics/rows.h"

namespace headrace::statistics {

class ClassMoments {
 public:
  static constexpr std::size_t kMaxColumns = std::size_t{1} << 14;
  static constexpr std::size_t kMaxMeans = std::size_t{1} << 28;

  // Errors: kInvalidArgument (width or classes are 0 or beyond the limits), kOutOfMemory.
  static Result<ClassMoments> create(std::size_t width, std::size_t classes);
  static Result<ClassMoments> load(Bytes state);

  // labels: one a row, from -1 (left out) to classes - 1; nullptr: all are of class 0.
  // Errors: kInvalidArgument (another label, named by its row; nothing is added), kOutOfMemory.
  // REQUIRES: rows.width == width(), a dtype of number_bytes() > 0.
  Status update(const Rows& rows, const std::int64_t* labels, int threads);
  Status merge(const ClassMoments& other);
  // Takes in what waits for a full block; then the answers below hold all rows.
  Status settle(int threads);

  std::size_t width() const { return width_; }
  std::size_t classes() const { return count_.size(); }
  std::size_t pitch() const { return pitch_; }
  std::int64_t left_out() const { return left_out_; }
  const std::vector<std::int64_t>& count() const { return count_; }  // rows of each class
  const std::vector<double>& mean() const { return mean_; }          // classes * width
  // Entry (i, j) with i <= j, at i * pitch() + j: the sum over rows of (x_i - its class's mean) * (x_j - its class's mean).
  const std::vector<double>& within() const { return within_; }
  // REQUIRES: settled.
  Result<std::vector<std::uint8_t>> save() const;

 private:
  ClassMoments(std::size_t width, std::size_t classes);
  void take_rows(const Rows& rows, const std::int64_t* labels, std::size_t& at);
  std::size_t centre_class(const std::vector<std::uint32_t>& members, std::size_t label, double* shift);
  void merge_mean(std::size_t label, double count, const double* mean, const double* mean_low, double* shift);

  std::size_t width_;
  std::size_t pitch_;  // width, padded
  std::size_t block_rows_;
  std::vector<std::int64_t> count_;
  std::vector<double> mean_, mean_low_;  // the second: what float64 cannot hold of the first
  std::vector<double> within_;
  std::vector<double> block_;  // rows under way, and behind them one for each class that moved
  std::vector<std::int64_t> block_labels_;
  std::int64_t left_out_ = 0;
};

}  // namespace headrace::statistics
