// Which batches are timed, on a clock that moves as the test says.
#include "headrace/pipeline/timed_batches.h"

#include <doctest/doctest.h>

#include <cmath>
#include <functional>
#include <vector>

using namespace headrace::pipeline;

namespace {

constexpr std::uint64_t kBatches = 80'000;

// A loader of one batch at a time whose consumer reads the clock where a batch is timed.
struct Machine {
  std::int64_t now = 1;
  std::uint64_t untold = 0, readings = 0;
  double counted_ns = 0, true_ns = 0;
  std::vector<std::uint32_t> weights = {};

  void run(TimedBatches& timed, std::uint64_t batches, const std::function<std::uint64_t(std::uint64_t)>& length_ns) {
    for (std::uint64_t i = 0; i < batches; ++i) {
      const std::uint64_t ns = length_ns(i);
      const std::uint32_t weight = timed.next_weight();
      now += static_cast<std::int64_t>(ns);
      true_ns += static_cast<double>(ns);
      counted_ns += static_cast<double>(weight) * static_cast<double>(ns);
      weights.push_back(weight);
      ++untold;
      if (weight == 0) continue;
      ++readings;
      timed.deliver(now, std::exchange(untold, 0));
    }
  }
};

std::uint64_t mixed(std::uint64_t i, std::uint64_t most) { return 1 + mix_key(i, 7) % most; }

}  // namespace

TEST_CASE("long batches are all timed, short ones one in n") {
  for (const auto& [ns, one_in] : std::vector<std::pair<std::uint64_t, std::uint32_t>>{
           {1'000'000, 1}, {50'001, 1}, {50'000, 2}, {25'001, 2}, {25'000, 4}, {12'501, 4}, {12'500, 8}, {6'000, 8}, {1, 8}}) {
    CAPTURE(ns);
    TimedBatches timed;
    Machine machine;
    machine.run(timed, 800, [ns = ns](std::uint64_t) { return ns; });
    CHECK(timed.one_in() == one_in);
    CHECK(machine.counted_ns == machine.true_ns);
  }
}

TEST_CASE("the first batches are all timed") {
  TimedBatches timed;
  Machine machine;
  machine.run(timed, TimedBatches::kToldQuick, [](std::uint64_t) { return 5'000; });
  CHECK(machine.readings == TimedBatches::kToldQuick);
}

TEST_CASE("of each row of kMost batches weights add up to kMost, whatever n does") {
  TimedBatches timed;
  Machine machine;
  machine.run(timed, kBatches, [](std::uint64_t i) { return i / 1000 % 3 == 2 ? 400'000 : mixed(i, 40'000); });
  for (std::size_t i = 0; i < kBatches; i += TimedBatches::kMost) {
    std::uint32_t sum = 0;
    for (std::size_t k = 0; k < TimedBatches::kMost; ++k) sum += machine.weights[i + k];
    REQUIRE(sum == TimedBatches::kMost);
  }
}

TEST_CASE("the count is unbiased for a mix of lengths, periodic ones too") {
  // 10,000 rows of eight: the standard error is about a hundredth of the lengths' own spread.
  for (const std::uint64_t period : {2u, 3u, 4u, 7u, 8u, 16u, 64u}) {
    CAPTURE(period);
    TimedBatches timed;
    Machine machine;
    machine.run(timed, kBatches, [=](std::uint64_t i) { return i % period == 0 ? 12'000 : 2'000; });
    CHECK(timed.one_in() == 8);
    CHECK(machine.readings < kBatches / 7);
    CHECK(std::abs(machine.counted_ns / machine.true_ns - 1) < 0.02);
  }
  TimedBatches timed;
  Machine machine;
  machine.run(timed, kBatches, [](std::uint64_t i) { return mixed(i, 12'000); });
  CHECK(std::abs(machine.counted_ns / machine.true_ns - 1) < 0.02);
}

TEST_CASE("when batches get long in mid-pass, each is timed from the next row on; when they get short again, n grows") {
  TimedBatches timed;
  Machine machine;
  machine.run(timed, 800, [](std::uint64_t) { return 5'000; });
  CHECK(timed.one_in() == 8);
  const std::uint64_t before = machine.readings;
  machine.run(timed, 80, [](std::uint64_t) { return 2'000'000; });
  CHECK(timed.one_in() == 1);
  CHECK(machine.readings - before >= 80 - 2 * (TimedBatches::kMost - 1));
  machine.run(timed, 800, [](std::uint64_t) { return 5'000; });
  CHECK(timed.one_in() == 8);
}

TEST_CASE("what lies between passes is no batch's time") {
  TimedBatches timed;
  Machine machine;
  for (int pass = 0; pass < 40; ++pass) {
    timed.begin_pass();
    machine.now += 10'000'000;
    machine.run(timed, 25, [](std::uint64_t) { return 5'000; });
  }
  CHECK(timed.one_in() == 8);
}
