#include "headrace/statistics/keys.h"

#include <algorithm>
#include <cstring>

#include "headrace/codec/checksum.h"

namespace headrace::statistics {
namespace {

using format::DType;

constexpr std::uint64_t kNullHash = 0x9E3779B97F4A7C15ull;
constexpr std::size_t kAtOnce = 512;

template <typename T>
void whole_keys(const std::uint8_t* values, std::size_t count, std::uint64_t* keys) {
  for (std::size_t i = 0; i < count; ++i) keys[i] = static_cast<std::uint64_t>(load_le<T>(values + i * sizeof(T)));
}

void float_keys(const Rows& rows, std::size_t first, std::size_t count, std::uint64_t* keys, std::uint8_t* present) {
  double values[kAtOnce];
  for (std::size_t done = 0; done < count; done += kAtOnce) {
    const std::size_t now = std::min(kAtOnce, count - done);
    load_tile({rows.dtype, rows.values, rows.count, 1, nullptr, false}, first + done, now, 0, 1, values);
    for (std::size_t i = 0; i < now; ++i) {
      const double value = values[i] + 0.0;  // -0.0 becomes 0.0
      std::memcpy(keys + done + i, &value, sizeof value);
      present[done + i] = value == value;
    }
  }
}

}  // namespace

KeyKind key_kind(DType dtype) {
  switch (dtype) {
    case DType::kFloat16:
    case DType::kBFloat16:
    case DType::kFloat32:
    case DType::kFloat64: return KeyKind::kFloat;
    case DType::kUInt64: return KeyKind::kUnsigned;
    default: return number_bytes(dtype) > 0 ? KeyKind::kSigned : KeyKind::kNone;
  }
}

Status check_offsets(const std::int64_t* offsets, std::size_t count, std::size_t size) {
  for (std::size_t i = 0; i <= count; ++i) {
    const std::int64_t least = i == 0 ? 0 : offsets[i - 1];
    if (offsets[i] >= least && static_cast<std::size_t>(offsets[i]) <= size) continue;
    return {Code::kInvalidArgument, strf("offsets[%zu] is %lld; expected %lld to %zu: offsets must not fall, nor leave the values", i,
                                         static_cast<long long>(offsets[i]), static_cast<long long>(least), size)};
  }
  return {};
}

void load_keys(const Rows& rows, std::size_t first, std::size_t count, std::uint64_t* keys, std::uint8_t* present) {
  const std::uint8_t* values = rows.values + first * number_bytes(rows.dtype);
  std::memset(present, 1, count);
  switch (rows.dtype) {
    case DType::kBool:
    case DType::kUInt8: whole_keys<std::uint8_t>(values, count, keys); break;
    case DType::kInt8: whole_keys<std::int8_t>(values, count, keys); break;
    case DType::kInt16: whole_keys<std::int16_t>(values, count, keys); break;
    case DType::kUInt16: whole_keys<std::uint16_t>(values, count, keys); break;
    case DType::kInt32: whole_keys<std::int32_t>(values, count, keys); break;
    case DType::kUInt32: whole_keys<std::uint32_t>(values, count, keys); break;
    case DType::kInt64:
    case DType::kUInt64: whole_keys<std::uint64_t>(values, count, keys); break;
    default: float_keys(rows, first, count, keys, present); break;
  }
  if (rows.valid == nullptr) return;
  for (std::size_t i = 0; i < count; ++i) present[i] = present[i] != 0 && rows.valid[first + i] != 0;
}

void mix_rows(const Rows& rows, std::uint64_t* hashes) {
  const Rows flat{rows.dtype, rows.values, rows.count * rows.width, 1, nullptr, false};
  std::uint64_t keys[kAtOnce];
  std::uint8_t present[kAtOnce];
  for (std::size_t done = 0; done < flat.count; done += kAtOnce) {
    const std::size_t now = std::min(kAtOnce, flat.count - done);
    load_keys(flat, done, now, keys, present);
    for (std::size_t i = 0; i < now; ++i) {
      const std::size_t row = (done + i) / rows.width;
      const bool here = present[i] != 0 && !rows.is_null(row, (done + i) % rows.width);
      hashes[row] = spread(hashes[row] + kNullHash) ^ (here ? spread(keys[i] ^ 0x5851F42D4C957F2Dull) : kNullHash);
    }
  }
}

void mix_texts(const Texts& texts, std::uint64_t* hashes) {
  for (std::size_t i = 0; i < texts.count; ++i) {
    hashes[i] = spread(hashes[i] + kNullHash) ^ (texts.is_null(i) ? kNullHash : codec::hash(texts.at(i), 0));
  }
}

}  // namespace headrace::statistics
