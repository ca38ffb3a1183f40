#include "headrace/pipeline/alias_table.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <string>
#include <vector>

namespace headrace::pipeline {
namespace {

using Table = std::shared_ptr<const AliasTable>;

template <typename T>
Weights view(const std::vector<T>& weights) {
  Weights out;
  if constexpr (std::is_same_v<T, float>) {
    out.floats = weights.data();
  } else {
    out.doubles = weights.data();
  }
  out.count = weights.size();
  return out;
}

template <typename T>
Table build(const std::vector<T>& weights, int threads = 0) {
  auto table = AliasTable::build(view(weights), threads);
  REQUIRE_MESSAGE(table.is_ok(), table.status().message());
  return std::move(table).value();
}

// Weights of many shapes: light and heavy in every mixture.
std::vector<double> weights_of(int shape, std::size_t count) {
  std::mt19937_64 random(static_cast<std::uint64_t>(shape) * 1000 + count);
  std::uniform_real_distribution<double> uniform(0, 1);
  std::vector<double> out(count);
  for (std::size_t i = 0; i < count; ++i) {
    switch (shape) {
      case 0: out[i] = 1; break;
      case 1: out[i] = uniform(random); break;
      case 2: out[i] = std::pow(uniform(random), -2.0); break;         // a few hold nearly all
      case 3: out[i] = uniform(random) < 0.5 ? 0 : 1; break;           // many are never drawn
      case 4: out[i] = i + 1 == count ? 1 : 0; break;                  // one holds all
      case 5: out[i] = i < count / 2 ? 1e-3 : 1e3; break;              // all light ones first
      case 6: out[i] = static_cast<double>(i % 7) * 0x1p-1070; break;  // denormal
      default: out[i] = 1e305 * (1 + uniform(random)); break;          // their sum is beyond a double
    }
  }
  if (std::all_of(out.begin(), out.end(), [](double w) { return w == 0; })) out[count / 2] = 1;
  return out;
}

// The reference: shares by long double arithmetic.
void check_shares(const std::vector<double>& weights, const AliasTable& table) {
  const double largest = *std::max_element(weights.begin(), weights.end());
  long double sum = 0;
  for (const double weight : weights) sum += static_cast<long double>(weight) / largest;
  const std::vector<std::uint64_t> masses = table.masses();
  std::uint64_t all = 0;
  int wrong = 0;
  const long double bins = static_cast<long double>(weights.size()) * static_cast<long double>(AliasTable::kBin);
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const long double expected = static_cast<long double>(weights[i]) / largest / sum * bins;
    // One unit, and what a double rounds off.
    if (std::abs(expected - static_cast<long double>(masses[i])) > 2 + expected * 1e-15L + (weights[i] == largest ? bins * 1e-15L : 0))
      ++wrong;
    if (weights[i] == 0 && masses[i] != 0) ++wrong;
    all += masses[i];
  }
  CHECK(wrong == 0);
  CHECK(all == weights.size() * AliasTable::kBin);
}

TEST_CASE("each sample's mass is its weight's share, and a weight of 0 has none") {
  for (int shape = 0; shape < 8; ++shape) {
    for (const std::size_t count : {1, 2, 3, 7, 63, 64, 65, 1000, 4095, 4096, 4097, 20000, 150000}) {
      CAPTURE(shape);
      CAPTURE(count);
      const std::vector<double> weights = weights_of(shape, count);
      check_shares(weights, *build(weights));
    }
  }
}

TEST_CASE("the table does not depend on the number of threads") {
  for (int shape = 0; shape < 8; ++shape) {
    const std::vector<double> weights = weights_of(shape, 1'000'003);
    const Table alone = build(weights, 0);
    for (const int threads : {1, 2, 8}) {
      const Table table = build(weights, threads);
      CHECK(std::ranges::equal(table->entries(), alone->entries()));
      CHECK(table->fingerprint() == alone->fingerprint());
    }
  }
}

TEST_CASE("float and double weights of equal values, and of a common factor, give equal tables; others do not") {
  std::vector<float> floats(10000);
  std::vector<double> doubles, doubled;
  for (std::size_t i = 0; i < floats.size(); ++i) {
    floats[i] = static_cast<float>(i % 31) * 0.37f;
    doubles.push_back(static_cast<double>(floats[i]));
    doubled.push_back(2 * doubles.back());
  }
  CHECK(build(floats)->fingerprint() == build(doubles)->fingerprint());
  CHECK(build(doubled)->fingerprint() == build(doubles)->fingerprint());
  std::swap(doubles[3], doubles[4]);
  CHECK(build(doubled)->fingerprint() != build(doubles)->fingerprint());
}

TEST_CASE("classes stand for the weights of their samples") {
  const std::vector<std::uint32_t> classes = {0, 0, 1, 2, 1, 0};
  const std::vector<double> of_class = {1.0 / 3, 1.0 / 2, 1.0};
  Weights weights;
  weights.classes = classes.data();
  weights.of_class = of_class.data();
  weights.count = classes.size();
  const auto table = AliasTable::build(weights, 0);
  REQUIRE(table.is_ok());
  CHECK((*table)->fingerprint() == build(std::vector<double>{1.0 / 3, 1.0 / 3, 0.5, 1, 0.5, 1.0 / 3})->fingerprint());
}

TEST_CASE("any range of draws is that range of the whole stream") {
  const Table table = build(weights_of(2, 5000));
  std::vector<std::uint64_t> whole(1000);
  table->draw(7, 0, whole);
  for (const std::size_t begin : {0, 1, 2, 31, 32, 33, 500, 999}) {
    for (const std::size_t count : {1, 2, 3, 31, 32, 33, 64, 65}) {
      if (begin + count > whole.size()) continue;
      std::vector<std::uint64_t> part(count);
      table->draw(7, begin, part);
      CHECK(std::equal(part.begin(), part.end(), whole.begin() + static_cast<std::ptrdiff_t>(begin)));
    }
  }
  std::vector<std::uint64_t> other(1000);
  table->draw(8, 0, other);
  CHECK(other != whole);
}

TEST_CASE("draws follow the masses") {
  const std::vector<double> weights = {1, 2, 3, 0, 10, 0.5};
  const Table table = build(weights);
  std::vector<std::uint64_t> draws(1'000'000);
  table->draw(1, 1ull << 40, draws);
  std::vector<double> seen(weights.size());
  for (const std::uint64_t sample : draws) seen.at(sample) += 1;
  const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
  double chi_square = 0;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const double expected = weights[i] / sum * static_cast<double>(draws.size());
    if (expected > 0) chi_square += (seen[i] - expected) * (seen[i] - expected) / expected;
  }
  CHECK(seen[3] == 0);
  CHECK(chi_square < 23.5);  // 4 degrees of freedom: p = 1e-4; the key is fixed, so it holds for ever or never
}

TEST_CASE("what is no weight is named") {
  const auto message = [](const std::vector<double>& weights) {
    const auto table = AliasTable::build(view(weights), 2);
    REQUIRE_FALSE(table.is_ok());
    CHECK(table.status().code() == Code::kInvalidArgument);
    return table.status().message();
  };
  std::vector<double> many(300'000, 1);
  many[299'999] = -3;
  many[200'000] = -2;
  many[100'001] = -0.5;
  CHECK(message(many).find("weights[100001] is -0.5") != std::string::npos);
  CHECK(message({1, std::nan(""), 1}).find("weights[1] is ") != std::string::npos);
  CHECK(message({1, 2, std::numeric_limits<double>::infinity()}).find("weights[2] is inf") != std::string::npos);
  CHECK(message({0, 0}).find("all 2 weights are 0") != std::string::npos);
  CHECK(message({}).find("no weights") != std::string::npos);
}

TEST_CASE("a table made of entries is the same; entries that point outside are refused") {
  const Table table = build(weights_of(1, 1000));
  const auto again = AliasTable::from_entries(table->entries(), 0);
  REQUIRE(again.is_ok());
  CHECK((*again)->fingerprint() == table->fingerprint());
  std::vector<std::uint64_t> entries(table->entries().begin(), table->entries().end());
  entries[500] = 1000;
  CHECK_FALSE(AliasTable::from_entries(entries, 0).is_ok());
  CHECK_FALSE(AliasTable::from_entries({}, 0).is_ok());
}

}  // namespace
}  // namespace headrace::pipeline
