#include "headrace/format/statistics.h"

#include <bit>
#include <limits>

namespace headrace::format {
namespace {

constexpr std::int64_t kNotATime = std::numeric_limits<std::int64_t>::min();

struct Half {  // decodes itself; std::float16_t is C++23
  std::uint16_t bits;
  operator float() const {
    const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000u) << 16;
    const std::uint32_t exponent = bits >> 10 & 0x1Fu;
    const std::uint32_t fraction = bits & 0x3FFu;
    if (exponent == 0) {  // zero or subnormal: fraction * 2^-24
      const float magnitude = static_cast<float>(fraction) * 0x1p-24f;
      return sign != 0 ? -magnitude : magnitude;
    }
    const std::uint32_t widened = exponent == 31 ? 255 : exponent + 112;
    return std::bit_cast<float>(sign | widened << 23 | fraction << 13);
  }
};

struct BFloat {
  std::uint16_t bits;
  operator float() const { return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16); }
};

// Two selects an element and no branch, so that it runs at memory speed. NaN fails both comparisons.
template <typename Stored, typename Value, bool kDates, bool kMasked>
MinMax scan(Bytes values, Bytes valid) {
  constexpr bool kFloat = std::numeric_limits<Value>::has_infinity;
  Value low = kFloat ? std::numeric_limits<Value>::infinity() : std::numeric_limits<Value>::max();
  Value high = kFloat ? -std::numeric_limits<Value>::infinity() : std::numeric_limits<Value>::lowest();
  const std::size_t count = values.size() / sizeof(Stored);
  bool any = false;
  for (std::size_t i = 0; i < count; ++i) {
    const auto value = static_cast<Value>(load_le<Stored>(values.data() + i * sizeof(Stored)));
    bool counts = value == value;
    if constexpr (kMasked) counts = counts && valid[i] != 0;
    if constexpr (kDates) counts = counts && value != static_cast<Value>(kNotATime);
    any |= counts;
    low = counts && value < low ? value : low;
    high = counts && value > high ? value : high;
  }
  if (!any) return {};
  if constexpr (kFloat) {
    return {true, std::bit_cast<std::uint64_t>(static_cast<double>(low)), std::bit_cast<std::uint64_t>(static_cast<double>(high))};
  } else {
    return {true, static_cast<std::uint64_t>(low), static_cast<std::uint64_t>(high)};  // sign-extended where signed
  }
}

template <typename Stored, typename Value = Stored, bool kDates = false>
MinMax scan(Bytes values, Bytes valid) {
  return valid.empty() ? scan<Stored, Value, kDates, false>(values, valid) : scan<Stored, Value, kDates, true>(values, valid);
}

}  // namespace

bool has_statistics(const Field& field) {
  const bool real = field.dtype <= DType::kFloat64 || field.dtype == DType::kDateTime64 || field.dtype == DType::kTimeDelta64;
  return field.kind == Kind::kTensor && field.shape.empty() && real;
}

MinMax min_max(const Field& field, Bytes values, Bytes valid) {
  if (!has_statistics(field)) return {};
  switch (field.dtype) {
    case DType::kBool:
    case DType::kUInt8: return scan<std::uint8_t>(values, valid);
    case DType::kInt8: return scan<std::int8_t>(values, valid);
    case DType::kInt16: return scan<std::int16_t>(values, valid);
    case DType::kUInt16: return scan<std::uint16_t>(values, valid);
    case DType::kInt32: return scan<std::int32_t>(values, valid);
    case DType::kUInt32: return scan<std::uint32_t>(values, valid);
    case DType::kInt64: return scan<std::int64_t>(values, valid);
    case DType::kUInt64: return scan<std::uint64_t>(values, valid);
    case DType::kFloat16: return scan<Half, float>(values, valid);
    case DType::kBFloat16: return scan<BFloat, float>(values, valid);
    case DType::kFloat32: return scan<float>(values, valid);
    case DType::kFloat64: return scan<double>(values, valid);
    case DType::kDateTime64:
    case DType::kTimeDelta64: return scan<std::int64_t, std::int64_t, true>(values, valid);
    default: return {};
  }
}

bool same_min_max(const Field& field, const MinMax& a, const MinMax& b) {
  if (a.known != b.known) return false;
  const bool floats = field.dtype >= DType::kFloat16 && field.dtype <= DType::kFloat64;
  const auto same = [&](std::uint64_t x, std::uint64_t y) {
    return x == y || (floats && std::bit_cast<double>(x) == std::bit_cast<double>(y));
  };
  return same(a.min, b.min) && same(a.max, b.max);
}

}  // namespace headrace::format
