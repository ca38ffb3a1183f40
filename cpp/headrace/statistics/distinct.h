// How many different values there are, in 2^precision bytes.
//
// Source: HyperLogLog (Flajolet et al. 2007) with 64-bit hashes, estimated as in Ertl 2017, "New cardinality estimation algorithms for
// HyperLogLog sketches" (the improved raw estimator): over the whole range, without tables. Relative standard error 1.04 /
// sqrt(2^precision). The order of values does not matter: any cut into batches, any number of threads and any merge give the same
// registers. Threads: one at a time; update() takes helpers from the shared pool.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "headrace/base/bytes.h"
#include "headrace/base/status.h"
#include "headrace/statistics/keys.h"

namespace headrace::statistics {

class Distinct {
 public:
  // Errors: kInvalidArgument (precision outside 4 to 18), kOutOfMemory.
  static Result<Distinct> create(int precision);
  static Result<Distinct> load(Bytes state);

  // Nulls and NaN are left out. Errors: kInvalidArgument (another kind of values than before), kOutOfMemory. REQUIRES: rows.width == 1.
  Status update(const Rows& rows, int threads);
  Status update(const Texts& texts, int threads);
  Status merge(const Distinct& other);

  double estimate() const;
  double relative_error() const;
  int precision() const { return precision_; }
  Result<std::vector<std::uint8_t>> save() const;

 private:
  explicit Distinct(int precision) : precision_(precision), registers_(std::size_t{1} << precision) {}
  Status be(KeyKind kind);
  template <typename Hashes>
  Status add(std::size_t count, int threads, const Hashes& hashes);

  int precision_;
  KeyKind kind_ = KeyKind::kNone;
  std::vector<std::uint8_t> registers_;
};

}  // namespace headrace::statistics
