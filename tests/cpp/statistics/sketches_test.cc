#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <random>

#include "headrace/statistics/distinct.h"
#include "headrace/statistics/frequencies.h"
#include "headrace/statistics/quantiles.h"
#include "headrace/statistics/sort_values.h"

namespace headrace::statistics {
namespace {

using format::DType;

template <typename T>
Rows rows_of(DType dtype, const std::vector<T>& values, std::size_t width = 1) {
  return {dtype, reinterpret_cast<const std::uint8_t*>(values.data()), values.size() / width, width, nullptr, false};
}

TEST_CASE("a sketch holds its rank error, and its weights add up, at every length around a compaction") {
  std::mt19937_64 random(1);
  std::vector<double> values(300'000);
  for (double& value : values) value = static_cast<double>(random() % 1'000'000);
  QuantileSketch sketch(QuantileSketch::capacity_for(0.01), 1, 3, 4);
  std::size_t added = 0;
  for (std::size_t step = 1; added < values.size(); step = step * 3 / 2 + 1) {
    const std::size_t now = std::min(step, values.size() - added);
    sketch.add(values.data() + added, now);
    added += now;
    REQUIRE(sketch.count() == added);
    REQUIRE(sketch.points().back().at_most == added);
    std::vector<double> sorted(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(added));
    std::sort(sorted.begin(), sorted.end());
    for (const double q : {0.0, 0.1, 0.5, 0.9, 1.0}) {
      double found = 0;
      sketch.quantiles(&q, 1, &found);
      const auto low = std::lower_bound(sorted.begin(), sorted.end(), found) - sorted.begin();
      const auto high = std::upper_bound(sorted.begin(), sorted.end(), found) - sorted.begin();
      REQUIRE(static_cast<double>(low) <= (q + 0.01) * static_cast<double>(added) + 1);
      REQUIRE(static_cast<double>(high) >= (q - 0.01) * static_cast<double>(added) - 1);
    }
  }
  ByteWriter out;
  sketch.save(out);
  QuantileSketch again(QuantileSketch::capacity_for(0.01), 1, 3, 4);
  for (std::size_t size = 0; size + 8 < out.bytes().size(); size += 101) {
    QuantileSketch broken = again;
    ByteReader part({out.bytes().data(), size});
    REQUIRE(!broken.load(part));
  }
  ByteReader in(out.bytes());
  REQUIRE(again.load(in));
  sketch.add(values.data(), values.size());
  again.add(values.data(), values.size());
  ByteWriter a, b;
  sketch.save(a), again.save(b);
  CHECK(a.bytes() == b.bytes());
}

TEST_CASE("values are sorted as by comparing, at lengths around where bytes are counted") {
  std::mt19937_64 random(2);
  const double ends[] = {0.0,
                         -1.5,
                         std::numeric_limits<double>::max(),
                         std::numeric_limits<double>::lowest(),
                         std::numeric_limits<double>::denorm_min(),
                         std::numeric_limits<double>::infinity(),
                         -std::numeric_limits<double>::infinity()};
  for (const std::size_t count : {0u, 1u, 2u, 255u, 256u, 257u, 5000u, 70'000u}) {
    for (const int kind : {0, 1, 2}) {
      std::vector<double> values(count), scratch(count);
      for (double& value : values) {
        const double whole = static_cast<double>(static_cast<std::int64_t>(random()));
        value = kind == 0 ? whole * 1e-9 : kind == 1 ? static_cast<double>(static_cast<float>(whole)) : ends[random() % std::size(ends)];
      }
      std::vector<double> expected = values;
      std::sort(expected.begin(), expected.end());
      sort_values(values.data(), count, scratch.data());
      REQUIRE(values == expected);
    }
  }
}

TEST_CASE("quantiles do not depend on threads") {
  std::mt19937_64 random(2);
  std::vector<float> values(20 * 40'000);
  for (float& value : values) value = static_cast<float>(random() % 10'000);
  std::vector<std::uint8_t> state;
  for (const int threads : {0, 1, 2, 8}) {
    Quantiles found = *Quantiles::create(20, 0.05, 9);
    for (int i = 0; i < 6; ++i) REQUIRE(found.update(rows_of(DType::kFloat32, values, 20), threads).is_ok());
    if (state.empty()) state = *found.save();
    REQUIRE(*found.save() == state);
  }
  CHECK(*Quantiles::load(state)->save() == state);
}

TEST_CASE("counts are within their bound, and exact below the limit") {
  std::mt19937_64 random(3);
  std::vector<std::int64_t> values(100'000);
  for (std::int64_t& value : values) value = static_cast<std::int64_t>(random() % (1 + random() % 5000)) - 100;
  std::map<std::int64_t, std::int64_t> truth;
  for (const std::int64_t value : values) ++truth[value];
  for (const std::size_t limit : {2u, 3u, 64u, 1000u, 10'000u}) {
    Frequencies found = *Frequencies::create(limit);
    REQUIRE(found.update(rows_of(DType::kInt64, values)).is_ok());
    REQUIRE(found.size() <= limit);
    REQUIRE(found.is_exact() == (truth.size() <= limit));
    std::map<std::int64_t, std::int64_t> listed;
    const std::vector<Frequencies::Item> items = *found.items(limit);
    for (const auto& item : items) listed[static_cast<std::int64_t>(item.key)] = item.count;
    for (const auto& [value, count] : truth) {
      const std::int64_t counted = listed.contains(value) ? listed[value] : 0;
      REQUIRE(counted <= count);
      REQUIRE(counted >= count - found.error());
    }
    const std::vector<std::uint8_t> state = *found.save();
    REQUIRE(*Frequencies::load(state)->save() == state);
    for (std::size_t size = 0; size < state.size(); size += 37) REQUIRE(!Frequencies::load({state.data(), size}).is_ok());
  }
}

TEST_CASE("texts are bounded by their bytes too") {
  const std::size_t each = std::size_t{1} << 20, count = 80;  // 80 MiB of different texts, some of them often
  std::vector<std::uint8_t> bytes(each * count, 'x');
  for (std::size_t i = 0; i < count; ++i) bytes[i * each] = static_cast<std::uint8_t>(i);
  std::vector<std::int64_t> offsets(count + 1);
  for (std::size_t i = 0; i <= count; ++i) offsets[i] = static_cast<std::int64_t>(i * each);
  Frequencies found = *Frequencies::create(1000);
  for (int i = 0; i < 5; ++i) REQUIRE(found.update(Texts{bytes.data() + 3 * each, offsets.data(), 1, nullptr}).is_ok());
  REQUIRE(found.update(Texts{bytes.data(), offsets.data(), count, nullptr}).is_ok());
  CHECK(!found.is_exact());
  const std::vector<Frequencies::Item> items = *found.items(1);
  CHECK(items[0].text[0] == 3);
  CHECK(items[0].count + found.error() >= 6);
  CHECK(found.count() == static_cast<std::int64_t>(count) + 5);
}

TEST_CASE("sampled keys are forgotten as if they had never come") {
  std::vector<std::uint64_t> values(1000);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = i % 100;
  Frequencies found = *Frequencies::create(1000);
  REQUIRE(found.update(rows_of(DType::kUInt64, values)).is_ok());
  REQUIRE(found.keep_up_to(9).is_ok());
  CHECK(found.size() == 10);
  CHECK(found.count() == 100);
  REQUIRE(found.update(rows_of(DType::kUInt64, values)).is_ok());
  CHECK(found.size() == 100);
  CHECK((*found.items(1))[0].count == 20);
}

TEST_CASE("distinct: registers are those of any order and any threads") {
  std::vector<std::uint32_t> values(500'000);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<std::uint32_t>(i % 123'457);
  std::vector<std::uint8_t> state;
  for (const int threads : {0, 1, 2, 8}) {
    Distinct found = *Distinct::create(14);
    REQUIRE(found.update(rows_of(DType::kUInt32, values), threads).is_ok());
    CHECK(std::abs(found.estimate() / 123'457 - 1) < 4 * found.relative_error());
    if (state.empty()) state = *found.save();
    CHECK(*found.save() == state);
    std::reverse(values.begin(), values.end());
  }
  CHECK(Distinct::create(14)->estimate() == 0);
  state[6] = 60;  // more zeros than 50 bits have
  CHECK(!Distinct::load(state).is_ok());
}

TEST_CASE("kinds of values are not mixed") {
  const std::vector<double> floats{1, 2};
  const std::vector<std::int32_t> whole{1, 2};
  Frequencies frequencies = *Frequencies::create(10);
  REQUIRE(frequencies.update(rows_of(DType::kInt32, whole)).is_ok());
  CHECK(frequencies.update(rows_of(DType::kFloat64, floats)).code() == Code::kInvalidArgument);
  Distinct distinct = *Distinct::create(10);
  REQUIRE(distinct.update(rows_of(DType::kFloat64, floats), 0).is_ok());
  CHECK(distinct.update(rows_of(DType::kInt32, whole), 0).code() == Code::kInvalidArgument);
}

}  // namespace
}  // namespace headrace::statistics
