// Sums of products of columns: out += transpose(x) * x, the upper triangle, for the rows of a block.
//
// Owns nothing; any thread. Each entry is summed row by row, in order: the same bits whatever the number of threads.
#pragma once

#include <cstddef>

#include "headrace/base/status.h"

namespace headrace::statistics {

inline constexpr std::size_t kScatterColumns = 16;  // rows and outputs are padded to a multiple of it

// x: rows * columns values; out: columns * columns; both aligned to 8. REQUIRES: columns is a multiple of kScatterColumns.
Status add_scatter(const double* x, std::size_t rows, std::size_t columns, double* out, int threads);

}  // namespace headrace::statistics
