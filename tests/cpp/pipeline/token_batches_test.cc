#include "headrace/pipeline/token_batches.h"

#include <doctest/doctest.h>

#include <numeric>
#include <vector>

namespace headrace::pipeline {

TEST_CASE("groups hold as many samples as their longest lets them") {
  const std::vector<std::uint64_t> lengths = {0, 0, 0, 1, 1, 2, 2, 3, 5, 5, 8, 10};
  CHECK(cut_by_longest(lengths, 10, 1) == std::vector<std::uint64_t>{5, 3, 2, 1, 1});
  CHECK(cut_by_longest(lengths, 10, 2) == std::vector<std::uint64_t>{4, 1, 1});
  CHECK(cut_by_longest(lengths, 10, 12) == std::vector<std::uint64_t>{1});
  CHECK(cut_by_longest(lengths, 10, 13).empty());
  CHECK(cut_by_longest({}, 10, 1).empty());
  CHECK(cut_by_longest(std::vector<std::uint64_t>{1ull << 62, 1ull << 62}, 1ull << 62, 1) == std::vector<std::uint64_t>{1, 1});
}

TEST_CASE("samples go into the fullest bin that has room") {
  CHECK(pack_best_fit(std::vector<std::uint64_t>{7, 6, 4, 3, 3, 0}, 10) == std::vector<std::uint64_t>{0, 1, 1, 0, 2, 2});
  CHECK(pack_best_fit(std::vector<std::uint64_t>{10, 10}, 10) == std::vector<std::uint64_t>{0, 1});
  CHECK(pack_best_fit({}, 10).empty());
}

}  // namespace headrace::pipeline
