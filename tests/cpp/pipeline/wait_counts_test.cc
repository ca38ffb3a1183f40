// Every duration lies in the bucket whose bounds hold it, and buckets are as narrow as they promise.
#include "headrace/pipeline/wait_counts.h"

#include <doctest/doctest.h>

#include <algorithm>

namespace headrace::pipeline {
namespace {

TEST_CASE("a duration lies in a bucket at most an eighth of it wide") {
  for (unsigned bits = 0; bits < WaitCounts::kMaxBits; ++bits) {
    for (const std::int64_t step : {-1, 0, 1, 12345}) {
      const std::uint64_t ns = (std::uint64_t{1} << bits) + static_cast<std::uint64_t>(std::max<std::int64_t>(step, bits == 0 ? 0 : step));
      if (ns >= std::uint64_t{1} << WaitCounts::kMaxBits) continue;
      const std::size_t i = WaitCounts::bucket(ns);
      REQUIRE(i < WaitCounts::kBuckets);
      CHECK(WaitCounts::begin_ns(i) <= ns);
      CHECK(ns < WaitCounts::begin_ns(i + 1));
      CHECK((WaitCounts::begin_ns(i + 1) - WaitCounts::begin_ns(i)) * 8 <= std::max<std::uint64_t>(ns, 8));
    }
  }
  CHECK(WaitCounts::bucket(~std::uint64_t{0}) == WaitCounts::kBuckets - 1);
}

TEST_CASE("counts and the longest") {
  WaitCounts counts;
  for (const std::uint64_t ns : {0ull, 7ull, 7ull, 1000ull, ~0ull}) counts.add(ns);
  CHECK(counts.count(0) == 1);
  CHECK(counts.count(7) == 2);
  CHECK(counts.count(WaitCounts::bucket(1000)) == 1);
  CHECK(counts.count(WaitCounts::kBuckets - 1) == 1);
  CHECK(counts.longest_ns() == ~std::uint64_t{0});
}

}  // namespace
}  // namespace headrace::pipeline
