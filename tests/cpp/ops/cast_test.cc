#include "headrace/ops/cast.h"

#include <doctest/doctest.h>

#include <cstring>
#include <limits>
#include <random>
#include <vector>

namespace headrace::ops {
namespace {

using format::DType;

template <typename To, typename From>
std::vector<To> cast_all(DType from, DType to, const std::vector<From>& values) {
  // Neither side aligned.
  std::vector<std::uint8_t> in(values.size() * sizeof(From) + 1), out(values.size() * sizeof(To) + 2, 0xEE);
  if (!values.empty()) std::memcpy(in.data() + 1, values.data(), values.size() * sizeof(From));
  cast(from, to, in.data() + 1, values.size(), out.data() + 1);
  CHECK(out.front() == 0xEE);
  CHECK(out.back() == 0xEE);
  std::vector<To> made(values.size());
  if (!values.empty()) std::memcpy(made.data(), out.data() + 1, values.size() * sizeof(To));
  return made;
}

TEST_CASE("integers keep their values at every length around a vector's") {
  for (std::size_t count = 0; count < 140; ++count) {
    std::vector<std::uint16_t> values(count);
    for (std::size_t i = 0; i < count; ++i) values[i] = static_cast<std::uint16_t>(65535 - i * 467);
    const auto made = cast_all<std::int64_t>(DType::kUInt16, DType::kInt64, values);
    for (std::size_t i = 0; i < count; ++i) REQUIRE(made[i] == values[i]);
  }
}

// Rows at random places, the last bytes of the source among them, against one cast a row.
template <typename From>
void check_rows(DType from, DType to, std::size_t to_bytes, std::size_t count, std::size_t rows) {
  std::mt19937_64 random(count * 100 + rows);
  std::vector<std::uint8_t> source((count * 3 + 7) * sizeof(From));
  for (std::uint8_t& byte : source) byte = static_cast<std::uint8_t>(random() % 2);  // As bools too.
  std::vector<const std::uint8_t*> at;
  for (std::size_t i = 0; i < rows; ++i) at.push_back(source.data() + random() % (source.size() - count * sizeof(From) + 1));
  if (rows > 0) at[rows / 2] = source.data() + source.size() - count * sizeof(From);
  std::vector<std::uint8_t> out(rows * count * to_bytes + 2, 0xEE), expected = out;
  for (std::size_t i = 0; i < rows; ++i) cast(from, to, at[i], count, expected.data() + 1 + i * count * to_bytes);
  cast_rows(from, to, at, count, out.data() + 1);
  REQUIRE(out == expected);
}

TEST_CASE("rows are cast as if one by one, whatever their number and length") {
  for (const std::size_t count : {0u, 1u, 2u, 63u, 64u, 65u, 511u, 512u, 513u, 1000u, 2049u, 5000u}) {
    for (const std::size_t rows : {0u, 1u, 2u, 3u, 4u, 5u, 8u, 9u, 71u}) {
      check_rows<std::uint16_t>(DType::kUInt16, DType::kInt64, 8, count, rows);
      check_rows<std::uint8_t>(DType::kUInt8, DType::kFloat32, 4, count, rows);
      check_rows<double>(DType::kFloat64, DType::kFloat16, 2, count, rows);
      check_rows<std::uint8_t>(DType::kBool, DType::kUInt8, 1, count, rows);  // The same bytes.
    }
  }
}

TEST_CASE("signs are kept") {
  const std::vector<std::int8_t> values{-128, -1, 0, 1, 127};
  CHECK(cast_all<std::int32_t>(DType::kInt8, DType::kInt32, values) == std::vector<std::int32_t>{-128, -1, 0, 1, 127});
  CHECK(cast_all<float>(DType::kInt8, DType::kFloat32, values) == std::vector<float>{-128, -1, 0, 1, 127});
}

TEST_CASE("every half survives the way through a float and back") {
  std::vector<std::uint16_t> halves(1 << 16);
  for (std::size_t i = 0; i < halves.size(); ++i) halves[i] = static_cast<std::uint16_t>(i);
  const auto floats = cast_all<float>(DType::kFloat16, DType::kFloat32, halves);
  const auto doubles = cast_all<double>(DType::kFloat16, DType::kFloat64, halves);
  const auto back = cast_all<std::uint16_t>(DType::kFloat32, DType::kFloat16, floats);
  const auto back_from_double = cast_all<std::uint16_t>(DType::kFloat64, DType::kFloat16, doubles);
  for (std::size_t i = 0; i < halves.size(); ++i) {
    const bool nan = (i & 0x7FFF) > 0x7C00;
    const auto expected = static_cast<std::uint16_t>(nan ? i | 0x200 : i);  // a signalling NaN comes back quiet
    REQUIRE(back[i] == expected);
    REQUIRE(back_from_double[i] == expected);
  }
  CHECK(floats[0x3C00] == 1.0f);
  CHECK(floats[1] == 0x1p-24f);
  CHECK(floats[0xC000] == -2.0f);
}

TEST_CASE("float64 to float16 rounds once") {
  // Just above the middle of 1 and the next half: by way of float32, which drops the last bit, it would round down.
  const std::vector<double> values{1 + 0x1p-11 + 0x1p-40, 1 + 0x1p-11, 65520.0 - 0x1p-30, 0x1p-25 + 0x1p-60};
  CHECK(cast_all<std::uint16_t>(DType::kFloat64, DType::kFloat16, values) == std::vector<std::uint16_t>{0x3C01, 0x3C00, 0x7BFF, 0x0001});
}

TEST_CASE("what would lose integers is not offered") {
  CHECK(can_cast(DType::kUInt8, DType::kInt16));
  CHECK(can_cast(DType::kInt64, DType::kFloat16));
  CHECK(can_cast(DType::kBool, DType::kInt8));
  CHECK_FALSE(can_cast(DType::kInt16, DType::kInt8));
  CHECK_FALSE(can_cast(DType::kInt8, DType::kUInt16));
  CHECK_FALSE(can_cast(DType::kUInt8, DType::kInt8));
  CHECK_FALSE(can_cast(DType::kFloat32, DType::kInt64));
  CHECK_FALSE(can_cast(DType::kUInt8, DType::kBool));
  CHECK_FALSE(can_cast(DType::kComplex64, DType::kComplex128));
  CHECK_FALSE(can_cast(DType::kDateTime64, DType::kInt64));
}

}  // namespace
}  // namespace headrace::ops
