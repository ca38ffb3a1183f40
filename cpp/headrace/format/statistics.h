// Smallest and largest value of a page, for statistics and for skipping chunks. FORMAT.md section 6.
//
// Owns nothing; any thread.
#pragma once

#include <cstdint>

#include "headrace/base/bytes.h"
#include "headrace/format/schema.h"

namespace headrace::format {

// Bits as the format stores them: i64, u64 or float64, by dtype.
struct MinMax {
  bool known = false;  // false: no such field, or no element that is present and a number
  std::uint64_t min = 0;
  std::uint64_t max = 0;
};

// True for fields that can have a min and a max: tensors without dimensions, of real numbers, bools or dates.
bool has_statistics(const Field& field);
// `valid` is one byte a sample, or empty for "all present".
MinMax min_max(const Field& field, Bytes values, Bytes valid);
// The same numbers; of floats, both zeros are one.
bool same_min_max(const Field& field, const MinMax& a, const MinMax& b);

}  // namespace headrace::format
