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
      timed.deliver(now, static_cast<std::int64_t>(std::exchange(untold, 0)));
    }
  }
};

std::uint64_t mixed(std::uint64_t i, std::uint64_t most) { return 1 + mix_key(i, 7) % most; }

}  // namespace

TEST_CASE("long batches are all timed, short ones one in eight") {
  for (const auto& [ns, quick] :
       std::vector<std::pair<std::uint64_t, bool>>{{1'000'000, false}, {50'000, false}, {49'999, true}, {1, true}}) {
    CAPTURE(ns);
    TimedBatches timed;
    Machine machine;
    machine.run(timed, 800, [ns = ns](std::uint64_t) { return ns; });
    CHECK(timed.is_quick() == quick);
    CHECK(machine.counted_ns == machine.true_ns);
    CHECK(machine.readings == (quick ? 24 + 776 / 8 : 800));  // The first reading begins the first row, so the third row is under way.
  }
}

TEST_CASE("of each row of eight batches weights add up to eight, whatever comes") {
  TimedBatches timed;
  Machine machine;
  machine.run(timed, kBatches, [](std::uint64_t i) { return i / 1000 % 3 == 2 ? 400'000 : mixed(i, 60'000); });
  for (std::size_t i = 0; i < kBatches; i += TimedBatches::kRow) {
    std::uint32_t sum = 0;
    for (std::size_t k = 0; k < TimedBatches::kRow; ++k) sum += machine.weights[i + k];
    REQUIRE(sum == TimedBatches::kRow);
  }
}

TEST_CASE("the count is unbiased for a mix of lengths, periodic ones too") {
  // Of 10,000 rows: at the least a thousandth of error for each tenth by which lengths differ.
  for (const std::uint64_t period : {2u, 3u, 4u, 7u, 8u, 16u, 64u}) {
    CAPTURE(period);
    TimedBatches timed;
    Machine machine;
    machine.run(timed, kBatches, [=](std::uint64_t i) { return i % period == 0 ? 40'000 : 5'000; });
    CHECK(timed.is_quick());
    CHECK(machine.readings < kBatches / 7);
    CHECK(std::abs(machine.counted_ns / machine.true_ns - 1) < 0.03);
  }
  TimedBatches timed;
  Machine machine;
  machine.run(timed, kBatches, [](std::uint64_t i) { return mixed(i, 60'000); });
  CHECK(std::abs(machine.counted_ns / machine.true_ns - 1) < 0.03);
}

TEST_CASE("when batches get long in mid-pass, each is timed from the next row on; when they get short again, one in eight") {
  TimedBatches timed;
  Machine machine;
  machine.run(timed, 800, [](std::uint64_t) { return 5'000; });
  CHECK(timed.is_quick());
  const std::uint64_t before = machine.readings;
  machine.run(timed, 80, [](std::uint64_t) { return 2'000'000; });
  CHECK_FALSE(timed.is_quick());
  CHECK(machine.readings - before == 1 + 72);
  machine.run(timed, 800, [](std::uint64_t) { return 5'000; });
  CHECK(timed.is_quick());
}

TEST_CASE("one long batch among quick ones, that is always seen, times all of the next row or two") {
  TimedBatches timed;
  Machine machine;
  machine.run(timed, 800, [](std::uint64_t) { return 5'000; });
  machine.now += 4'000'000;
  timed.deliver(machine.now, static_cast<std::int64_t>(machine.untold));
  machine.untold = 0;
  CHECK_FALSE(timed.is_quick());
  machine.run(timed, 24, [](std::uint64_t) { return 5'000; });
  CHECK(timed.is_quick());
}

TEST_CASE("what lies between passes is no batch's time") {
  TimedBatches timed;
  Machine machine;
  for (int pass = 0; pass < 40; ++pass) {
    timed.begin_pass();
    machine.untold = 0;
    machine.now += 10'000'000;
    machine.run(timed, 25, [](std::uint64_t) { return 5'000; });
  }
  CHECK(timed.is_quick());
}
