#include "headrace/ops/gather.h"

#include <algorithm>
#include <cstring>

#include "headrace/base/multiversion.h"

namespace headrace::ops {
namespace {

constexpr std::size_t kAheadBytes = 8192;  // of rows asked for ahead: enough to cover the latency of memory at one core's bandwidth
constexpr std::size_t kMaxAhead = 64;      // rows
constexpr std::size_t kWideRow = 1024;     // bytes: longer rows are copied several at a time

// kRow > 0 fixes the size at compile time, so that memcpy becomes a few vector moves.
template <std::size_t kRow>
HR_INLINE void gather(std::span<const std::uint8_t* const> rows, std::size_t row_bytes, std::uint8_t* out) {
  const std::size_t size = kRow != 0 ? kRow : row_bytes;
  const std::size_t count = rows.size();
  const std::size_t ahead = std::min(count, std::clamp<std::size_t>(kAheadBytes / size, 1, kMaxAhead));
  for (std::size_t i = 0; i < ahead; ++i) prefetch(rows[i], size);
  std::size_t i = 0;
  for (; i + ahead < count; ++i, out += size) {
    prefetch(rows[i + ahead], size);
    std::memcpy(out, rows[i], size);
  }
  for (; i < count; ++i, out += size) std::memcpy(out, rows[i], size);
}

// Several rows side by side: a processor follows each of them by itself, but only up to the end of a page, and one at a time does not keep
// memory busy. Streaming stores are not for this: what the loader saves, whoever reads the batch pays.
HR_INLINE void gather_wide(std::span<const std::uint8_t* const> rows, std::size_t size, std::uint8_t* out) {
  constexpr std::size_t kPart = 128;
  const std::size_t count = rows.size();
  for (std::size_t i = 0, abreast; i < count; i += abreast) {
    abreast = std::min(kRowsAbreast, count - i);
    std::size_t at = 0;
    for (; at + kPart <= size; at += kPart) {
      const std::size_t lead = at + kLeadBytes;
      const bool inside = lead < size;
      for (std::size_t q = 0; q < abreast; ++q) {
        const std::size_t leader = inside ? i + q : i + abreast + q;
        if (leader < count && (inside || lead - size < size)) prefetch(rows[leader] + (inside ? lead : lead - size), kPart);
        std::memcpy(out + (i + q) * size + at, rows[i + q] + at, kPart);
      }
    }
    for (std::size_t q = 0; q < abreast; ++q) std::memcpy(out + (i + q) * size + at, rows[i + q] + at, size - at);
  }
}

template <std::size_t kRow>
void scatter(const std::uint8_t* base, std::uint32_t first_row, std::span<const std::uint32_t> rows, std::span<const std::uint32_t> slots,
             std::size_t row_bytes, std::uint8_t* out) {
  const std::size_t size = kRow != 0 ? kRow : row_bytes;
  for (std::size_t i = 0; i < rows.size(); ++i)
    std::memcpy(out + slots[i] * size, base + static_cast<std::size_t>(rows[i] - first_row) * size, size);
}

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
    default: return row_bytes > kWideRow ? gather_wide(rows, row_bytes, out) : gather<0>(rows, row_bytes, out);
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
