#include "headrace/pipeline/latency_histogram.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

namespace headrace::pipeline {
namespace {

using H = LatencyHistogram;

TEST_CASE("every value falls into a bucket whose middle is within 1/64 of it") {
  std::size_t last = 0;
  for (std::uint64_t ns = 0; ns < 1'000'000; ++ns) {
    const std::size_t bucket = H::bucket(ns);
    CHECK_FALSE((bucket < last || bucket > last + 1));
    last = bucket;
    const auto error = std::abs(static_cast<double>(H::middle(bucket)) - static_cast<double>(ns));
    CHECK_FALSE(error > static_cast<double>(ns) / 64);
  }
}

TEST_CASE("the longest values share the last bucket") {
  CHECK(H::bucket((std::uint64_t{1} << H::kMaxBits) - 1) == H::kBuckets - 1);
  CHECK(H::bucket(std::uint64_t{1} << H::kMaxBits) == H::kBuckets - 1);
  CHECK(H::bucket(~std::uint64_t{0}) == H::kBuckets - 1);
}

TEST_CASE("percentiles are those of the sorted values, to 1/64") {
  H histogram;
  std::vector<std::uint64_t> values;
  std::mt19937_64 random(7);
  std::lognormal_distribution<double> spread(11, 2);
  for (int i = 0; i < 100'000; ++i) {
    values.push_back(static_cast<std::uint64_t>(spread(random)));
    histogram.add(values.back());
  }
  std::sort(values.begin(), values.end());
  CHECK(histogram.total() == 100'000);
  CHECK(histogram.max() == values.back());
  for (const double share : {0.0, 0.5, 0.9, 0.99, 0.999}) {
    const auto exact = static_cast<double>(values[static_cast<std::size_t>(share * 100'000)]);
    CHECK(static_cast<double>(histogram.percentile(share)) == doctest::Approx(exact).epsilon(1.0 / 64));
  }
  CHECK(histogram.percentile(1.0) == values.back());
}

TEST_CASE("no value has no percentile, one value is all of them") {
  H histogram;
  CHECK(histogram.percentile(0.5) == 0);
  histogram.add(1'000'003);
  CHECK(histogram.percentile(0.5) == 1'000'003);
  CHECK(histogram.percentile(1.0) == 1'000'003);
}

}  // namespace
}  // namespace headrace::pipeline
