#include "headrace/format/statistics.h"

#include <bit>
#include <cmath>
#include <limits>

#include "format/fixture.h"

namespace headrace::format {
namespace {

template <typename T>
MinMax of(const std::string& dtype, const std::vector<T>& values, const Buffer& valid = {}) {
  return min_max(make_field("x", Kind::kTensor, dtype), bytes_of(values), valid);
}
double as_double(std::uint64_t bits) { return std::bit_cast<double>(bits); }

}  // namespace

TEST_CASE("integers keep their sign in 64 bits") {
  const MinMax small = of<std::int8_t>("int8", {3, -128, 127});
  CHECK(static_cast<std::int64_t>(small.min) == -128);
  CHECK(small.max == 127);
  const MinMax wide = of<std::uint64_t>("uint64", {5, std::numeric_limits<std::uint64_t>::max()});
  CHECK(wide.min == 5);
  CHECK(wide.max == std::numeric_limits<std::uint64_t>::max());
  const MinMax lowest = of<std::int64_t>("int64", {std::numeric_limits<std::int64_t>::min()});
  CHECK(lowest.known);
  CHECK(lowest.min == 1ull << 63);
}

TEST_CASE("floats skip NaN and keep infinities") {
  const double nan = std::nan("");
  const MinMax some = of<double>("float64", {nan, 2.5, -INFINITY, nan});
  CHECK(as_double(some.min) == -INFINITY);
  CHECK(as_double(some.max) == 2.5);
  CHECK_FALSE(of<double>("float64", {nan, nan}).known);
  const MinMax single = of<float>("float32", {INFINITY});
  CHECK(as_double(single.min) == INFINITY);
  CHECK(as_double(single.max) == INFINITY);
}

TEST_CASE("both zeros are one number, and other bits are not") {
  const Field real = make_field("x", Kind::kTensor, "float32"), whole = make_field("x", Kind::kTensor, "int64");
  const MinMax plus{true, 0, 0}, minus{true, 1ull << 63, 0}, one{true, std::bit_cast<std::uint64_t>(1.0), 0};
  CHECK(same_min_max(real, plus, minus));
  CHECK_FALSE(same_min_max(whole, plus, minus));
  CHECK_FALSE(same_min_max(real, plus, one));
  CHECK_FALSE(same_min_max(real, plus, {false, 0, 0}));
}

TEST_CASE("half precision: exact values of normal, subnormal, infinite and NaN bits") {
  // 0x3555 = 0.333251953125, 0x0001 = 2^-24, 0xC000 = -2, 0x7C00 = inf, 0x7E00 = NaN
  const MinMax half = of<std::uint16_t>("float16", {0x3555, 0x7E00, 0x0001});
  CHECK(as_double(half.min) == std::ldexp(1.0, -24));
  CHECK(as_double(half.max) == 0.333251953125);
  const MinMax wide = of<std::uint16_t>("float16", {0xC000, 0x7C00});
  CHECK(as_double(wide.min) == -2.0);
  CHECK(as_double(wide.max) == INFINITY);
  const MinMax brain = of<std::uint16_t>("bfloat16", {0x3F80, 0xC040, 0x7FC0});  // 1, -3, NaN
  CHECK(as_double(brain.min) == -3.0);
  CHECK(as_double(brain.max) == 1.0);
}

TEST_CASE("not-a-time and nulls do not count") {
  const MinMax dates = of<std::int64_t>("datetime64[ns]", {std::numeric_limits<std::int64_t>::min(), 7, -3});
  CHECK(static_cast<std::int64_t>(dates.min) == -3);
  CHECK(dates.max == 7);
  const MinMax masked = of<std::int32_t>("int32", {0, 5, 9, 0}, {0, 1, 1, 0});
  CHECK(masked.min == 5);
  CHECK(masked.max == 9);
  CHECK_FALSE(of<std::int32_t>("int32", {0, 0}, {0, 0}).known);
  CHECK_FALSE(of<std::int32_t>("int32", {}).known);
}

TEST_CASE("only scalars of real numbers have statistics") {
  CHECK(has_statistics(make_field("x", Kind::kTensor, "bool")));
  CHECK(has_statistics(make_field("x", Kind::kTensor, "timedelta64[s]")));
  CHECK_FALSE(has_statistics(make_field("x", Kind::kTensor, "float32", {1})));
  CHECK_FALSE(has_statistics(make_field("x", Kind::kRagged, "float32")));
  CHECK_FALSE(has_statistics(make_field("x", Kind::kTensor, "complex64")));
  CHECK_FALSE(has_statistics(make_field("x", Kind::kTensor, "S4")));
}

}  // namespace headrace::format
