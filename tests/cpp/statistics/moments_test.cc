#include "headrace/statistics/moments.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

namespace headrace::statistics {
namespace {

using format::DType;

Rows rows_of(const std::vector<double>& values, std::size_t width) {
  return {DType::kFloat64, reinterpret_cast<const std::uint8_t*>(values.data()), values.size() / width, width, nullptr, false};
}

std::vector<double> random_values(std::size_t count, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<double> normal(3, 2);
  std::vector<double> values(count);
  for (double& value : values) value = normal(random);
  return values;
}

// Two passes in long double.
struct Reference {
  long double mean = 0, m2 = 0, m3 = 0;
  Reference(const std::vector<double>& values, std::size_t width, std::size_t column) {
    const std::size_t count = values.size() / width;
    for (std::size_t r = 0; r < count; ++r) mean += values[r * width + column];
    mean /= static_cast<long double>(count);
    for (std::size_t r = 0; r < count; ++r) {
      const long double d = values[r * width + column] - mean;
      m2 += d * d, m3 += d * d * d;
    }
  }
};

TEST_CASE("moments are those of two passes in long double, at every width around a vector's and a panel's") {
  for (const std::size_t width : {1u, 2u, 3u, 5u, 8u, 11u, 16u, 31u, 32u, 33u, 64u, 127u, 128u, 129u, 257u}) {
    for (const std::size_t count : {1u, 2u, 33u, 4096u, 4099u}) {
      const std::vector<double> values = random_values(width * count, width + count);
      Moments moments = *Moments::create(width);
      REQUIRE(moments.update(rows_of(values, width), 0).is_ok());
      const ColumnMoments found = *moments.totals();
      for (const std::size_t c : {std::size_t{0}, width / 2, width - 1}) {
        const Reference expected(values, width, c);
        REQUIRE(found.count[c] == static_cast<std::int64_t>(count));
        REQUIRE(found.nulls[c] == 0);
        REQUIRE(found.infinities[c] == 0);
        REQUIRE(found.mean[c] == doctest::Approx(static_cast<double>(expected.mean)).epsilon(1e-14));
        REQUIRE(found.m2[c] == doctest::Approx(static_cast<double>(expected.m2)).epsilon(1e-12));
        REQUIRE(found.m3[c] == doctest::Approx(static_cast<double>(expected.m3)).epsilon(1e-9));
      }
    }
  }
}

TEST_CASE("first rows that are far from the others, null or infinite lose no digits") {
  constexpr std::size_t kRows = 5000;
  const double nan = std::numeric_limits<double>::quiet_NaN(), inf = std::numeric_limits<double>::infinity();
  std::mt19937_64 random(4);
  std::normal_distribution<double> normal(1e6, 1);
  for (const std::size_t width : {1u, 3u, 40u}) {
    for (const double first : {0.0, -1e9, nan, inf, 1e300}) {
      std::vector<double> values(kRows * width), finite;
      for (double& value : values) value = normal(random);
      std::fill(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(5 * width), first);
      Moments moments = *Moments::create(width);
      REQUIRE(moments.update(rows_of(values, width), 0).is_ok());
      const ColumnMoments found = *moments.totals();
      for (std::size_t r = 0; r < kRows; ++r)
        if (std::isfinite(values[r * width])) finite.push_back(values[r * width]);
      const Reference expected(finite, 1, 0);
      CAPTURE(width);
      CAPTURE(first);
      REQUIRE(found.count[0] == static_cast<std::int64_t>(finite.size()));
      REQUIRE(found.nulls[0] == (std::isnan(first) ? 5 : 0));
      REQUIRE(found.infinities[0] == (std::isinf(first) ? 5 : 0));
      REQUIRE(found.min[0] == *std::min_element(finite.begin(), finite.end()));
      REQUIRE(found.max[0] == *std::max_element(finite.begin(), finite.end()));
      REQUIRE(found.mean[0] == doctest::Approx(static_cast<double>(expected.mean)).epsilon(1e-14).scale(1e6));
      if (first == 1e300) continue;  // Its square is beyond float64.
      REQUIRE(found.m2[0] == doctest::Approx(static_cast<double>(expected.m2)).epsilon(1e-11));
    }
  }
}

TEST_CASE("rows that are wider than any block are counted a row at a time") {
  const std::size_t width = 600'000;
  const std::vector<double> values = random_values(width * 3, 1);
  Moments moments = *Moments::create(width);
  REQUIRE(moments.update(rows_of(values, width), 2).is_ok());
  const ColumnMoments found = *moments.totals();
  for (std::size_t c = 0; c < width; c += 997) {
    REQUIRE(found.mean[c] == doctest::Approx((values[c] + values[width + c] + values[2 * width + c]) / 3).epsilon(1e-14));
    REQUIRE(found.min[c] == std::min({values[c], values[width + c], values[2 * width + c]}));
  }
}

TEST_CASE("neither threads nor the cut change a bit") {
  const std::size_t width = 7;
  std::vector<double> values = random_values(width * 60'000, 2);
  for (std::size_t i = 0; i < values.size(); i += 1001) values[i] = std::numeric_limits<double>::quiet_NaN();
  Moments whole = *Moments::create(width);
  REQUIRE(whole.update(rows_of(values, width), 0).is_ok());
  for (const int threads : {1, 2, 8}) {
    for (const std::size_t step : {60'000u, 4097u, 1u}) {
      Moments cut = *Moments::create(width);
      for (std::size_t row = 0; row < (step == 1 ? 3000 : 60'000); row += step) {
        Rows rows = rows_of(values, width);
        rows.values += row * width * sizeof(double);
        rows.count = std::min<std::size_t>(step, 60'000 - row);
        REQUIRE(cut.update(rows, threads).is_ok());
      }
      if (step == 1) continue;  // A row at a time, of a part only: nothing to compare with but that it runs.
      REQUIRE(*cut.save() == *whole.save());
    }
  }
}

TEST_CASE("spans that are counted apart are what update() makes of the rows") {
  for (const std::size_t width : {1u, 2u, 3u, 7u, 32u, 50u, 128u, 129u, 1000u}) {
    Moments whole = *Moments::create(width), added = *Moments::create(width);
    const std::size_t span = whole.span_rows(), rest = span / 2 + 1, count = 3 * span + rest;
    REQUIRE(std::has_single_bit(span));
    REQUIRE(span <= kMostSpanRows);
    std::vector<double> values = random_values(width * count, width);
    for (std::size_t i = 0; i < values.size(); i += 101) values[i] = std::numeric_limits<double>::quiet_NaN();
    const Rows rows = rows_of(values, width);
    REQUIRE(whole.update(rows, 0).is_ok());
    CountedRows counted;
    for (std::size_t s = 0; s < 3; ++s) {
      counted.spans.emplace_back(width);
      added.count_span(rows, s * span, counted.spans.back());
    }
    counted.rest_rows = rest;
    const std::uint8_t* const behind = rows.values + 3 * span * width * sizeof(double);
    counted.rest.assign(behind, behind + rest * width * sizeof(double));
    REQUIRE(added.add(counted, 0).is_ok());
    CHECK(*added.save() == *whole.save());
    CHECK(added.add(counted, 0).code() == Code::kInvalidArgument);  // The rows before end within a span.
    counted.rest.pop_back();
    CHECK(Moments::create(width)->add(counted, 0).code() == Code::kInvalidArgument);
    CHECK(Moments::create(width + 1)->add(counted, 0).code() == Code::kInvalidArgument);
  }
}

TEST_CASE("nulls by row and by value") {
  const std::vector<double> values{1, 2, 3, 4, 5, 6};
  const std::vector<std::uint8_t> by_row{1, 0, 1}, by_value{1, 1, 0, 1, 1, 0};
  Moments moments = *Moments::create(2);
  Rows rows = rows_of(values, 2);
  rows.valid = by_row.data();
  REQUIRE(moments.update(rows, 0).is_ok());
  ColumnMoments found = *moments.totals();
  CHECK(found.mean == std::vector<double>{3, 4});
  CHECK(found.nulls == std::vector<std::int64_t>{1, 1});
  rows.valid = by_value.data();
  rows.valid_of_values = true;
  REQUIRE(moments.update(rows, 0).is_ok());
  found = *moments.totals();
  CHECK(found.count == std::vector<std::int64_t>{4, 4});
  CHECK(found.mean == std::vector<double>{3, 3.5});
}

TEST_CASE("a state is loaded only if it is whole") {
  Moments moments = *Moments::create(3);
  const std::vector<double> values = random_values(300, 3);
  REQUIRE(moments.update(rows_of(values, 3), 0).is_ok());
  std::vector<std::uint8_t> state = *moments.save();
  CHECK(*Moments::load(state)->save() == state);
  for (std::size_t size = 0; size < state.size(); ++size) REQUIRE(!Moments::load({state.data(), size}).is_ok());
  std::vector<std::uint8_t> wide = state;
  store_le(wide.data() + 4, std::uint64_t{1} << 61);
  CHECK(!Moments::load(wide).is_ok());
  store_le(state.data() + 12, std::int64_t{-1});
  CHECK(!Moments::load(state).is_ok());
  CHECK(Moments::create(0).status().code() == Code::kInvalidArgument);
  CHECK(!moments.merge(*Moments::create(2)).is_ok());
}

}  // namespace
}  // namespace headrace::statistics
