// Copies rows of equal size from anywhere into a batch, with software prefetch: random rows miss every cache, so the loads
// of rows further on are started while one is copied.
//
// Owns nothing; any thread. Sources and destination must not overlap.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace headrace::ops {

// out[i * row_bytes ..] = rows[i][0 .. row_bytes).
void gather_rows(std::span<const std::uint8_t* const> rows, std::size_t row_bytes, std::uint8_t* out);

// out[slots[i] * row_bytes ..] = base[(rows[i] - first_row) * row_bytes ..]: from one decoded block, which is in cache and begins with
// first_row.
void scatter_rows(const std::uint8_t* base, std::uint32_t first_row, std::span<const std::uint32_t> rows,
                  std::span<const std::uint32_t> slots, std::size_t row_bytes, std::uint8_t* out);

}  // namespace headrace::ops
