#include "headrace/pipeline/mixture.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <set>
#include <vector>

namespace headrace::pipeline {
namespace {

std::vector<std::uint64_t> draw(const Mixture& mixture, std::uint64_t key, std::uint64_t begin, std::size_t count) {
  std::vector<std::uint64_t> out(count);
  mixture.fill(key, begin, out);
  return out;
}

std::shared_ptr<const Mixture> made(std::vector<MixedSource> sources) {
  auto mixture = Mixture::create(std::move(sources));
  REQUIRE_MESSAGE(mixture.is_ok(), mixture.status().message());
  return std::move(mixture).value();
}

// Samples 0, 2, ..., 98 three times in eight, and 200 to 206 five times in eight.
std::shared_ptr<const Mixture> two_sources() { return made({{0, 50, 2, 3}, {150, 10, 1, 0}, {200, 7, 1, 5}}); }

}  // namespace

TEST_CASE("each cycle of a mixture holds its sources in their shares") {
  const auto mixture = two_sources();
  CHECK(mixture->end() == 207);
  const auto samples = draw(*mixture, 1, 0, 8 * 200);
  for (std::size_t cycle = 0; cycle < 200; ++cycle) {
    const auto first = samples.begin() + static_cast<std::ptrdiff_t>(8 * cycle);
    CHECK(std::count_if(first, first + 8, [](std::uint64_t s) { return s >= 200; }) == 5);
  }
}

TEST_CASE("a source gives each of its samples before any comes again") {
  const auto samples = draw(*two_sources(), 9, 0, 8 * 200);
  std::vector<std::uint64_t> small, even;
  for (const std::uint64_t s : samples) (s >= 200 ? small : even).push_back(s);
  for (std::size_t round = 0; round + 7 <= small.size(); round += 7)
    CHECK(
        std::set<std::uint64_t>(small.begin() + static_cast<std::ptrdiff_t>(round), small.begin() + static_cast<std::ptrdiff_t>(round + 7))
            .size() == 7);
  CHECK(std::set<std::uint64_t>(even.begin(), even.begin() + 50).size() == 50);
  CHECK(std::all_of(even.begin(), even.end(), [](std::uint64_t s) { return s % 2 == 0 && s < 100; }));
}

TEST_CASE("a position of a mixture is the same however it is asked for") {
  for (const auto& mixture : {two_sources(), made({{0, 5, 3, 0}, {100, 300, 1, 0}})}) {
    const auto whole = draw(*mixture, 5, 0, 1000);
    for (std::uint64_t begin = 0; begin + 13 <= whole.size(); begin += 13) {
      const auto part = draw(*mixture, 5, begin, 13);
      CHECK(std::equal(part.begin(), part.end(), whole.begin() + static_cast<std::ptrdiff_t>(begin)));
    }
    CHECK(draw(*mixture, 6, 0, 1000) != whole);
    CHECK(draw(*mixture, 6, 0, 0).empty());
  }
}

TEST_CASE("without shares every sample of all sources comes once") {
  auto samples = draw(*made({{10, 3, 5, 0}, {100, 0, 1, 0}, {200, 4, 1, 0}}), 3, 0, 7);
  std::sort(samples.begin(), samples.end());
  CHECK(samples == std::vector<std::uint64_t>{10, 15, 20, 200, 201, 202, 203});
}

TEST_CASE("mixtures that cannot be drawn from are refused") {
  const std::vector<std::vector<MixedSource>> bad = {{},
                                                     {{0, 0, 1, 0}},
                                                     {{0, 0, 1, 1}},
                                                     {{0, 1, 1, 4097}},
                                                     {{0, 1, 1, 4096}, {1, 1, 1, 1}},
                                                     {{0, 2, 0, 1}},
                                                     {{0, 1ull << 48, 2, 1}},
                                                     {{~0ull, 2, ~0ull, 1}}};
  for (const auto& sources : bad) {
    const auto mixture = Mixture::create(sources);
    REQUIRE(!mixture.is_ok());
    CHECK(mixture.status().code() == Code::kInvalidArgument);
  }
}

}  // namespace headrace::pipeline
