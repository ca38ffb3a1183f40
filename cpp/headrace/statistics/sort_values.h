// Sorts float64 by their bits, a byte of the key at a time (Knuth, The Art of Computer Programming 3, 5.2.5): no comparison, so none that a
// processor guesses wrong. Bytes that all keys share cost nothing: values that were float32 have three such.
//
// Owns nothing; any thread.
#pragma once

#include <cstddef>

namespace headrace::statistics {

// Ascending; -0.0 is below 0.0. scratch: room for as many, overwritten. REQUIRES: no NaN, count < 2^32.
void sort_values(double* values, std::size_t count, double* scratch);

}  // namespace headrace::statistics
