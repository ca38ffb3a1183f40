#include "headrace/pipeline/proportion.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "headrace/pipeline/permutation.h"

namespace headrace::pipeline {
namespace {

std::vector<std::uint32_t> laid_out(const std::vector<std::uint64_t>& quotas, std::uint64_t block) {
  auto made = proportional(quotas, block);
  REQUIRE_MESSAGE(made.is_ok(), made.status().message());
  return std::move(made).value();
}

// Each block holds each class in its share rounded up or down, and so, to less than one position, does what comes before any block.
void check_shares(const std::vector<std::uint64_t>& quotas, std::uint64_t block) {
  const auto classes = laid_out(quotas, block);
  const std::uint64_t all = std::accumulate(quotas.begin(), quotas.end(), std::uint64_t{0});
  REQUIRE(classes.size() == all);
  std::vector<std::uint64_t> before(quotas.size());
  for (std::uint64_t begin = 0; begin < all; begin += block) {
    const std::uint64_t end = std::min(begin + block, all);
    std::vector<std::uint64_t> here(quotas.size());
    for (std::uint64_t at = begin; at < end; ++at) ++here[classes[at]];
    for (std::size_t k = 0; k < quotas.size(); ++k) {
      const std::uint64_t share = (end - begin) * quotas[k];  // times 1 / all
      CHECK_MESSAGE((here[k] * all > share ? here[k] * all - share : share - here[k] * all) < all, "block at ", begin, " class ", k);
      before[k] += here[k];
      const std::uint64_t due = end * quotas[k];
      CHECK((before[k] * all > due ? before[k] * all - due : due - before[k] * all) < all);
    }
  }
  CHECK(before == quotas);
}

}  // namespace

TEST_CASE("every block holds each class in its share, rounded up or down") {
  check_shares({60, 30, 10}, 10);
  check_shares({1, 1, 1, 1, 1}, 2);
  check_shares({97, 2, 1}, 7);
  check_shares({5, 0, 3}, 3);
  check_shares({50, 50}, 1);
  check_shares({3, 4}, 100);  // One block, and not a whole one.
  check_shares({7}, 3);
  std::uint64_t key = 1;
  for (int trial = 0; trial < 400; ++trial) {
    std::vector<std::uint64_t> quotas(1 + mix_key(++key, 0) % 12);
    for (std::uint64_t& quota : quotas) quota = mix_key(++key, 1) % (trial % 3 == 0 ? 5 : 200);
    check_shares(quotas, 1 + mix_key(++key, 2) % 40);
  }
}

TEST_CASE("classes of a block are spread evenly") {
  const auto classes = laid_out({80, 20}, 100);
  for (std::size_t begin = 0; begin < 100; begin += 10) CHECK(std::count(classes.begin() + begin, classes.begin() + begin + 10, 1u) == 2);
}

TEST_CASE("what is no label, or no block, is refused") {
  CHECK(proportional(std::vector<std::uint64_t>{1}, 0).status().code() == Code::kInvalidArgument);
  CHECK(proportional(std::vector<std::uint64_t>{1ull << 40}, 5).status().code() == Code::kLimitExceeded);
  CHECK(proportional(std::vector<std::uint64_t>(100'000, 20'000), 2).status().code() == Code::kLimitExceeded);
}

}  // namespace headrace::pipeline
