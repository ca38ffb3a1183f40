#include "headrace/pipeline/strata.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <set>
#include <vector>

#include "headrace/pipeline/permutation.h"

namespace headrace::pipeline {
namespace {

std::vector<std::uint32_t> labels(std::size_t count) {
  std::vector<std::uint32_t> out(count);
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint64_t word = mix_key(i, 77) % 10;
    out[i] = word < 6 ? 0 : word < 9 ? 1 : 2;
  }
  return out;
}

std::vector<std::uint64_t> counts_of(const std::vector<std::uint32_t>& classes) {
  std::vector<std::uint64_t> counts(3);
  for (const std::uint32_t k : classes) ++counts[k];
  return counts;
}

std::shared_ptr<const Strata> made(const std::vector<std::uint32_t>& classes, std::vector<std::uint64_t> quotas, std::uint64_t block) {
  auto strata = Strata::create(classes, std::move(quotas), block);
  REQUIRE_MESSAGE(strata.is_ok(), strata.status().message());
  return std::move(strata).value();
}

std::vector<std::uint64_t> drawn(const Strata& strata, std::uint64_t key, std::uint64_t begin, std::size_t count) {
  std::vector<std::uint64_t> out(count);
  strata.fill(key, begin, out);
  return out;
}

}  // namespace

TEST_CASE("batches in proportion hold every sample once") {
  const auto classes = labels(503);
  const auto strata = made(classes, counts_of(classes), 16);
  REQUIRE(strata->size() == 503);
  const auto samples = drawn(*strata, 5, 0, 503);
  CHECK(std::set<std::uint64_t>(samples.begin(), samples.end()).size() == 503);
  CHECK(drawn(*strata, 6, 0, 503) != samples);
  for (std::uint64_t begin = 0; begin + 13 <= 503; begin += 13) {
    const auto part = drawn(*strata, 5, begin, 13);
    CHECK(std::equal(part.begin(), part.end(), samples.begin() + static_cast<std::ptrdiff_t>(begin)));
  }
}

TEST_CASE("every class has its quota, each of its samples as often as any other to one") {
  const auto classes = labels(200);
  for (const std::uint64_t block : {0u, 8u}) {
    const auto strata = made(classes, {20, 100, 70}, block);
    const auto samples = drawn(*strata, 9, 0, strata->size());
    std::map<std::uint64_t, int> times;
    std::vector<std::uint64_t> of_class(3);
    for (const std::uint64_t sample : samples) {
      ++times[sample];
      ++of_class[classes[sample]];
    }
    CHECK(of_class == std::vector<std::uint64_t>{20, 100, 70});
    for (std::uint32_t k = 0; k < 3; ++k) {
      int least = 1 << 20, most = 0;
      for (std::size_t i = 0; i < classes.size(); ++i) {
        if (classes[i] != k) continue;
        least = std::min(least, times[i]);
        most = std::max(most, times[i]);
      }
      CHECK(most - least <= 1);
    }
  }
}

TEST_CASE("where a sample stands next is what a walk through the order finds") {
  const auto classes = labels(120);
  for (const std::uint64_t block : {0u, 7u}) {
    const auto strata = made(classes, {30, 90, 40}, block);
    const auto samples = drawn(*strata, 3, 0, strata->size());
    const auto odd = [](std::uint64_t position) { return position % 2 == 1; };
    for (std::uint64_t first = 0; first < 120; first += 5) {
      for (const std::uint64_t from : {0u, 50u, 150u}) {
        std::uint64_t nearest = Strata::kNever, nearest_odd = Strata::kNever;
        for (std::uint64_t at = samples.size(); at-- > from;) {
          if (samples[at] < first || samples[at] >= first + 5) continue;
          nearest = at;
          if (odd(at)) nearest_odd = at;
        }
        CHECK(strata->next_use(3, first, 5, from, nullptr) == nearest);
        CHECK(strata->next_use(3, first, 5, from, odd) == nearest_odd);
      }
    }
  }
}

TEST_CASE("another sample is of the same class") {
  const auto classes = labels(60);
  const auto strata = made(classes, {1, 1, 1}, 0);
  std::set<std::uint64_t> seen;
  for (std::uint64_t key = 0; key < 500; ++key) {
    const std::uint64_t other = strata->another(7, key);
    CHECK(classes[other] == classes[7]);
    seen.insert(other);
  }
  CHECK(seen.size() == counts_of(classes)[classes[7]]);
}

TEST_CASE("classes that do not fit their quotas are refused") {
  CHECK(Strata::create(std::vector<std::uint32_t>{0, 3}, {1, 1}, 0).status().message().find("the class of sample 1 is 3") !=
        std::string::npos);
  CHECK(Strata::create(std::vector<std::uint32_t>{0, 0}, {1, 5}, 0).status().message().find("class 1 is to have 5") != std::string::npos);
  CHECK(Strata::create(std::vector<std::uint32_t>{0}, {0}, 0).status().code() == Code::kInvalidArgument);
  CHECK(Strata::create(std::vector<std::uint32_t>{0}, {1ull << 40}, 0).status().code() == Code::kLimitExceeded);
  const auto one = made({0, 1}, {1, 1}, 2), same = made({0, 1}, {1, 1}, 2), other = made({1, 0}, {1, 1}, 2),
             wider = made({0, 1}, {1, 1}, 1);
  CHECK(one->fingerprint() == same->fingerprint());
  CHECK(one->fingerprint() != other->fingerprint());
  CHECK(one->fingerprint() != wider->fingerprint());
}

}  // namespace headrace::pipeline
