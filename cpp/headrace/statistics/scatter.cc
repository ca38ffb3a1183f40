#include "headrace/statistics/scatter.h"

#include <algorithm>
#include <cstring>

#include "headrace/base/multiversion.h"
#include "headrace/base/parallel.h"

namespace headrace::statistics {
namespace {

using Vector = double __attribute__((vector_size(64)));
constexpr std::size_t kTall = 4;     // rows of a tile of the output
constexpr std::size_t kWide = 2;     // its vectors
constexpr std::size_t kDepth = 256;  // rows of x that stay in cache while they are used
static_assert(kScatterColumns == kWide * 8 && kScatterColumns % kTall == 0);

// out[i][j .. j + 16) += sum over rows of x[i] * x[j .. j + 16), for i in [i, i + 4).
HR_INLINE void add_tile(const double* x, std::size_t rows, std::size_t columns, std::size_t i, std::size_t j, double* out) {
  Vector sum[kTall][kWide];
  for (std::size_t t = 0; t < kTall; ++t) std::memcpy(sum[t], out + (i + t) * columns + j, sizeof sum[t]);
  for (std::size_t r = 0; r < rows; ++r) {
    const double* row = x + r * columns;
    Vector wide[kWide];
    std::memcpy(wide, row + j, sizeof wide);
    for (std::size_t t = 0; t < kTall; ++t) {
      for (std::size_t w = 0; w < kWide; ++w) sum[t][w] += wide[w] * row[i + t];
    }
  }
  for (std::size_t t = 0; t < kTall; ++t) std::memcpy(out + (i + t) * columns + j, sum[t], sizeof sum[t]);
}

// Sixteen rows of the output, right of the diagonal.
HR_MULTIVERSION
void add_strip(const double* x, std::size_t rows, std::size_t columns, std::size_t strip, double* out) {
  const std::size_t first = strip * kScatterColumns;
  for (std::size_t done = 0; done < rows; done += kDepth) {
    const std::size_t depth = rows - done < kDepth ? rows - done : kDepth;
    for (std::size_t j = first; j < columns; j += kScatterColumns) {
      for (std::size_t i = first; i < first + kScatterColumns; i += kTall) add_tile(x + done * columns, depth, columns, i, j, out);
    }
  }
}

}  // namespace

Status add_scatter(const double* x, std::size_t rows, std::size_t columns, double* out, int threads) {
  return parallel_for(columns / kScatterColumns, threads, [&](std::size_t strip) {
    add_strip(x, rows, columns, strip, out);
    return Status();
  });
}

}  // namespace headrace::statistics
