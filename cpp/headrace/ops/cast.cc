#include "headrace/ops/cast.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <type_traits>

#include "headrace/base/multiversion.h"
#include "headrace/ops/gather.h"

namespace headrace::ops {
namespace {

using format::DType;

constexpr std::size_t kShortRow = 1024;    // bytes
constexpr std::size_t kAheadBytes = 8192;  // of short rows

struct Half {
  std::uint16_t bits;
};
struct BFloat {
  std::uint16_t bits;
};

// All without branches, so that loops over them run on vectors, and without denormal operands, which a trainer may have told its thread to
// flush.
HR_INLINE float widen(Half half) {
  const std::uint32_t sign = static_cast<std::uint32_t>(half.bits & 0x8000u) << 16;
  const std::uint32_t rest = half.bits & 0x7FFFu;
  const std::uint32_t normal = (rest << 13) + ((127u - 15u) << 23);
  const std::uint32_t special = (rest << 13) | 0x7F800000u | (rest > 0x7C00u ? 0x400000u : 0u);
  const float small = std::bit_cast<float>((rest << 13) + ((127u - 14u) << 23)) - std::bit_cast<float>((127u - 14u) << 23);
  const std::uint32_t magnitude = rest >= 0x7C00u ? special : rest < 0x400u ? std::bit_cast<std::uint32_t>(small) : normal;
  return std::bit_cast<float>(sign | magnitude);
}

HR_INLINE float widen(BFloat value) { return std::bit_cast<float>(static_cast<std::uint32_t>(value.bits) << 16); }

HR_INLINE Half to_half(float value) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t sign = bits >> 16 & 0x8000u;
  const std::uint32_t x = bits & 0x7FFFFFFFu;
  const std::uint32_t normal = (x - ((127u - 15u) << 23) + 0xFFFu + (x >> 13 & 1u)) >> 13;
  // The sum's last bits are the half's, rounded by the addition.
  const std::uint32_t small = std::bit_cast<std::uint32_t>(std::bit_cast<float>(x) + 0.5f) - std::bit_cast<std::uint32_t>(0.5f);
  const std::uint32_t special = x > 0x7F800000u ? 0x7E00u | (x >> 13 & 0x3FFu) : 0x7C00u;
  const std::uint32_t magnitude = x >= 0x47800000u ? special : x < 0x38800000u ? small : normal;
  return {static_cast<std::uint16_t>(sign | magnitude)};
}

// Rounded once: float64 to float32 first drops bits into a sticky last one ("to odd"), which the second step rounds correctly.
HR_INLINE Half to_half(double value) {
  const std::uint64_t bits = std::bit_cast<std::uint64_t>(value);
  const auto sign = static_cast<std::uint32_t>(bits >> 32 & 0x80000000u);
  const std::uint64_t x = bits & 0x7FFFFFFFFFFFFFFFull;
  const auto sticky = static_cast<std::uint32_t>((x & 0x1FFFFFFFull) != 0);
  const auto odd = static_cast<std::uint32_t>((x >> 29) - (std::uint64_t{1023 - 127} << 23)) | sticky;
  const std::uint32_t special = x > 0x7FF0000000000000ull ? 0x7FC00000u | odd : 0x7F800000u;
  const std::uint32_t magnitude = x >= (std::uint64_t{1023 + 127} << 52) ? special : x < (std::uint64_t{1023 - 100} << 52) ? 0u : odd;
  return to_half(std::bit_cast<float>(sign | magnitude));
}

HR_INLINE BFloat to_bfloat(float value) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t rounded = (bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16;
  const bool nan = (bits & 0x7FFFFFFFu) > 0x7F800000u;
  return {static_cast<std::uint16_t>(nan ? bits >> 16 | 0x40u : rounded)};
}

template <typename T>
constexpr bool kIsSmallFloat = std::is_same_v<T, Half> || std::is_same_v<T, BFloat>;

template <typename To, typename From>
HR_INLINE To convert(From value) {
  if constexpr (std::is_same_v<To, From>) {
    return value;
  } else if constexpr (kIsSmallFloat<From>) {
    return convert<To>(widen(value));
  } else if constexpr (std::is_same_v<To, Half>) {
    if constexpr (std::is_same_v<From, double>)
      return to_half(value);
    else
      return to_half(static_cast<float>(value));
  } else if constexpr (std::is_same_v<To, BFloat>) {
    return to_bfloat(static_cast<float>(value));
  } else {
    return static_cast<To>(value);
  }
}

template <typename To, typename From>
HR_INLINE void convert_part(const std::uint8_t* __restrict in, std::size_t count, std::uint8_t* __restrict out) {
  for (std::size_t i = 0; i < count; ++i) {
    From value;
    std::memcpy(&value, in + i * sizeof(From), sizeof(From));
    const To made = convert<To>(value);
    std::memcpy(out + i * sizeof(To), &made, sizeof(To));
  }
}

struct Rows {
  std::span<const std::uint8_t* const> at;
  std::size_t count;  // elements of each
};

template <typename To, typename From>
HR_INLINE void convert_all(const Rows& rows, std::uint8_t* out) {
  constexpr std::size_t kPart = 128 / sizeof(From);
  const std::size_t bytes = rows.count * sizeof(From), all = rows.at.size();
  // Short rows are asked for as a whole, many rows ahead.
  const std::size_t ahead = bytes > kShortRow ? 0 : std::clamp<std::size_t>(kAheadBytes / std::max<std::size_t>(1, bytes), 4, 64);
  for (std::size_t i = 0, abreast; i < all; i += abreast) {
    abreast = ahead != 0 ? 1 : std::min(kRowsAbreast, all - i);
    if (ahead != 0 && i + ahead < all) prefetch(rows.at[i + ahead], bytes);
    const std::size_t part = abreast == 1 ? std::max<std::size_t>(1, rows.count) : kPart;
    for (std::size_t k = 0; k < rows.count; k += part) {
      const std::size_t lead = k * sizeof(From) + kLeadBytes;
      for (std::size_t q = 0; q < abreast; ++q) {
        const std::size_t leader = lead < bytes ? i + q : i + abreast + q;
        const std::size_t lead_at = lead < bytes ? lead : lead - bytes;
        if (abreast > 1 && leader < all && lead_at < bytes) prefetch(rows.at[leader] + lead_at, 128);
        convert_part<To, From>(rows.at[i + q] + k * sizeof(From), std::min(part, rows.count - k),
                               out + ((i + q) * rows.count + k) * sizeof(To));
      }
    }
  }
}

template <typename From>
HR_INLINE void convert_from(DType to, const Rows& rows, std::uint8_t* out) {
  constexpr bool whole = std::is_integral_v<From>;
  // Wider: a wider type of the same sign, or a wider signed one.
  constexpr auto wider = [](std::size_t size, bool is_signed) {
    return whole && sizeof(From) < size && (is_signed || !std::is_signed_v<From>);
  };
  switch (to) {
    case DType::kInt16:
      if constexpr (wider(2, true)) return convert_all<std::int16_t, From>(rows, out);
      return;
    case DType::kUInt16:
      if constexpr (wider(2, false)) return convert_all<std::uint16_t, From>(rows, out);
      return;
    case DType::kInt32:
      if constexpr (wider(4, true)) return convert_all<std::int32_t, From>(rows, out);
      return;
    case DType::kUInt32:
      if constexpr (wider(4, false)) return convert_all<std::uint32_t, From>(rows, out);
      return;
    case DType::kInt64:
      if constexpr (wider(8, true)) return convert_all<std::int64_t, From>(rows, out);
      return;
    case DType::kUInt64:
      if constexpr (wider(8, false)) return convert_all<std::uint64_t, From>(rows, out);
      return;
    case DType::kFloat16: return convert_all<Half, From>(rows, out);
    case DType::kBFloat16: return convert_all<BFloat, From>(rows, out);
    case DType::kFloat32: return convert_all<float, From>(rows, out);
    case DType::kFloat64: return convert_all<double, From>(rows, out);
    default: return;
  }
}

HR_MULTIVERSION
void cast_any(DType from, DType to, const Rows& rows, std::uint8_t* out) {
  switch (from) {
    case DType::kBool:
    case DType::kUInt8: return convert_from<std::uint8_t>(to, rows, out);
    case DType::kInt8: return convert_from<std::int8_t>(to, rows, out);
    case DType::kInt16: return convert_from<std::int16_t>(to, rows, out);
    case DType::kUInt16: return convert_from<std::uint16_t>(to, rows, out);
    case DType::kInt32: return convert_from<std::int32_t>(to, rows, out);
    case DType::kUInt32: return convert_from<std::uint32_t>(to, rows, out);
    case DType::kInt64: return convert_from<std::int64_t>(to, rows, out);
    case DType::kUInt64: return convert_from<std::uint64_t>(to, rows, out);
    case DType::kFloat16: return convert_from<Half>(to, rows, out);
    case DType::kBFloat16: return convert_from<BFloat>(to, rows, out);
    case DType::kFloat32: return convert_from<float>(to, rows, out);
    case DType::kFloat64: return convert_from<double>(to, rows, out);
    default: return;
  }
}

struct Shape {
  enum class Class : std::uint8_t { kBool, kSigned, kUnsigned, kFloat, kOther } kind;
  std::size_t bytes;
};

Shape shape_of(DType dtype) {
  using Class = Shape::Class;
  switch (dtype) {
    case DType::kBool: return {Class::kBool, 1};
    case DType::kInt8: return {Class::kSigned, 1};
    case DType::kInt16: return {Class::kSigned, 2};
    case DType::kInt32: return {Class::kSigned, 4};
    case DType::kInt64: return {Class::kSigned, 8};
    case DType::kUInt8: return {Class::kUnsigned, 1};
    case DType::kUInt16: return {Class::kUnsigned, 2};
    case DType::kUInt32: return {Class::kUnsigned, 4};
    case DType::kUInt64: return {Class::kUnsigned, 8};
    case DType::kFloat16:
    case DType::kBFloat16: return {Class::kFloat, 2};
    case DType::kFloat32: return {Class::kFloat, 4};
    case DType::kFloat64: return {Class::kFloat, 8};
    default: return {Class::kOther, 0};
  }
}

// Whether the bytes stay as they are.
bool same_bytes(DType from, DType to) {
  const Shape a = shape_of(from), b = shape_of(to);
  return from == to || (a.bytes == 1 && b.bytes == 1);  // bool to an integer: stored as 0 and 1
}

}  // namespace

bool can_cast(DType from, DType to) {
  using Class = Shape::Class;
  if (from == to) return true;
  const Shape a = shape_of(from), b = shape_of(to);
  if (a.kind == Class::kOther || b.kind == Class::kOther || b.kind == Class::kBool) return false;
  if (b.kind == Class::kFloat || a.kind == Class::kBool) return true;
  if (a.kind == Class::kFloat) return false;
  return b.bytes > a.bytes && (b.kind == Class::kSigned || a.kind == Class::kUnsigned);
}

void cast(DType from, DType to, const std::uint8_t* in, std::size_t count, std::uint8_t* out) {
  if (same_bytes(from, to)) {
    std::memcpy(out, in, count * shape_of(from).bytes);
  } else {
    cast_any(from, to, {{&in, 1}, count}, out);
  }
}

void cast_rows(DType from, DType to, std::span<const std::uint8_t* const> rows, std::size_t count, std::uint8_t* out) {
  if (same_bytes(from, to)) {
    gather_rows(rows, count * shape_of(from).bytes, out);
  } else {
    cast_any(from, to, {rows, count}, out);
  }
}

}  // namespace headrace::ops
