#include "headrace/ops/gather.h"

#include <algorithm>
#include <cstring>

#include "headrace/base/multiversion.h"

namespace headrace::ops {
namespace {

constexpr std::size_t kCacheLine = 64;
// Bytes of loads kept in flight. Enough to cover DRAM latency at one core's bandwidth; rows beyond it prefetch themselves.
constexpr std::size_t kAheadBytes = 4096;
constexpr std::size_t kMaxPrefetchedRow = 0;

HR_INLINE void prefetch_row(const std::uint8_t* row, std::size_t row_bytes) {
  // From the line that holds the first byte to the one that holds the last: rows need not be aligned.
  const auto* line = reinterpret_cast<const std::uint8_t*>(reinterpret_cast<std::uintptr_t>(row) & ~(kCacheLine - 1));
  for (; line < row + row_bytes; line += kCacheLine) __builtin_prefetch(line, 0, 3);
}

// kRow > 0 fixes the size at compile time, so that memcpy becomes a few vector moves.
template <std::size_t kRow>
HR_INLINE void gather(std::span<const std::uint8_t* const> rows, std::size_t row_bytes, std::uint8_t* out) {
  const std::size_t size = kRow != 0 ? kRow : row_bytes;
  if (size > kMaxPrefetchedRow) {
    for (const std::uint8_t* row : rows) {
      std::memcpy(out, row, size);
      out += size;
    }
    return;
  }
  const std::size_t ahead = std::clamp<std::size_t>(kAheadBytes / size, 4, 32);
  const std::size_t count = rows.size();
  for (std::size_t i = 0; i < std::min(ahead, count); ++i) prefetch_row(rows[i], size);
  for (std::size_t i = 0; i < count; ++i) {
    if (i + ahead < count) prefetch_row(rows[i + ahead], size);
    std::memcpy(out, rows[i], size);
    out += size;
  }
}

template <std::size_t kRow>
void scatter(const std::uint8_t* base, std::uint32_t first_row, std::span<const std::uint32_t> rows, std::span<const std::uint32_t> slots,
             std::size_t row_bytes, std::uint8_t* out) {
  const std::size_t size = kRow != 0 ? kRow : row_bytes;
  for (std::size_t i = 0; i < rows.size(); ++i)
    std::memcpy(out + slots[i] * size, base + static_cast<std::size_t>(rows[i] - first_row) * size, size);
}

// Wide moves keep more rows in flight: a processor's window counts instructions, not bytes.
HR_MULTIVERSION
void gather_any(std::span<const std::uint8_t* const> rows, std::size_t row_bytes, std::uint8_t* out) {
  switch (row_bytes) {
    case 0: return;
    case 1: return gather<1>(rows, 1, out);
    case 2: return gather<2>(rows, 2, out);
    case 4: return gather<4>(rows, 4, out);
    case 8: return gather<8>(rows, 8, out);
    case 16: return gather<16>(rows, 16, out);
    case 32: return gather<32>(rows, 32, out);
    case 64: return gather<64>(rows, 64, out);
    case 128: return gather<128>(rows, 128, out);
    case 256: return gather<256>(rows, 256, out);
    case 512: return gather<512>(rows, 512, out);
    default: return gather<0>(rows, row_bytes, out);
  }
}

}  // namespace

void gather_rows(std::span<const std::uint8_t* const> rows, std::size_t row_bytes, std::uint8_t* out) { gather_any(rows, row_bytes, out); }

void scatter_rows(const std::uint8_t* base, std::uint32_t first_row, std::span<const std::uint32_t> rows,
                  std::span<const std::uint32_t> slots, std::size_t row_bytes, std::uint8_t* out) {
  switch (row_bytes) {
    case 0: return;
    case 1: return scatter<1>(base, first_row, rows, slots, 1, out);
    case 2: return scatter<2>(base, first_row, rows, slots, 2, out);
    case 4: return scatter<4>(base, first_row, rows, slots, 4, out);
    case 8: return scatter<8>(base, first_row, rows, slots, 8, out);
    case 16: return scatter<16>(base, first_row, rows, slots, 16, out);
    case 32: return scatter<32>(base, first_row, rows, slots, 32, out);
    case 64: return scatter<64>(base, first_row, rows, slots, 64, out);
    default: return scatter<0>(base, first_row, rows, slots, row_bytes, out);
  }
}

}  // namespace headrace::ops
