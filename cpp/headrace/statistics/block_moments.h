// Moments of the columns of one small block, in one pass about the mean of its first rows; in two where that would not be exact (those rows
// are far from the rest, infinities): mean first, then powers of what is left.
//
// Owns nothing; any thread. The same bits on every processor: this layer is compiled without contraction to fused multiply-adds.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

namespace headrace::statistics {

inline constexpr std::size_t kPanel = 128;         // columns of a block, at most
inline constexpr std::size_t kTileValues = 16384;  // values of a block: 128 KiB, of which the second level of cache holds several
inline constexpr std::size_t kTilePadding = 64;    // what a tile must have room for behind them

// Of each column: what is counted, mean (and what float64 cannot hold of it), sums of (x - mean)^2 and ^3 over finite values; least and
// greatest of them.
struct BlockMoments {
  std::int64_t count[kPanel], nulls[kPanel], infinities[kPanel];
  double mean[kPanel], mean_low[kPanel], m2[kPanel], m3[kPanel], min[kPanel], max[kPanel];
};

// Rows of one sub-row: narrow rows are taken several at a time, so that vectors are full. A power of two, as blocks have rows.
constexpr std::size_t rows_abreast(std::size_t columns) { return columns < 32 ? std::bit_floor(32 / columns) : 1; }

// tile: rows * columns values, NaN for null; the padding behind them is overwritten.
// REQUIRES: rows >= 1, 1 <= columns <= kPanel, rows * columns <= kTileValues; aligned to 64 bytes, with kTilePadding values of room.
void block_moments(double* tile, std::size_t rows, std::size_t columns, BlockMoments& out);

// The same bits of values where they lie, float32 or float64 (NaN for null), rows `stride` values apart; no copy.
// values_read() of them are read from `values` on, some beyond the last row: what those are does not matter.
// REQUIRES: as above, and rows % rows_abreast(columns) == 0.
template <typename T>
void block_moments_in_place(const T* values, std::size_t stride, std::size_t rows, std::size_t columns, BlockMoments& out);
constexpr std::size_t values_read(std::size_t stride, std::size_t rows, std::size_t columns) {
  const std::size_t abreast = stride == columns ? rows_abreast(columns) : 1;
  return (rows / abreast - 1) * stride * abreast + (columns + 31) / 32 * 32;
}

}  // namespace headrace::statistics
