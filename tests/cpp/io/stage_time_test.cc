// Times of stages on a clock that moves only when told: what is counted is exact.
#include "headrace/io/stage_time.h"

#include <doctest/doctest.h>

#include <thread>
#include <vector>

using namespace headrace;

namespace {

// Each thread's own time.
struct ToldClock {
  static inline thread_local std::int64_t time = 1000;
  static inline thread_local int readings = 0;
  static std::int64_t now() {
    ++readings;
    return time;
  }
};
using Time = io::BasicStageTime<ToldClock>;

void slow_read(std::int64_t ns) {
  Time::slow(ToldClock::now());
  ToldClock::time += ns;
}

}  // namespace

TEST_CASE("a scope counts for as many as its weight says; one of weight 0 reads no clock") {
  std::atomic<std::uint64_t> counter{0};
  for (const std::uint32_t weight : {1u, 8u}) {
    counter = 0;
    Time time(counter, weight);
    ToldClock::time += 30;
    CHECK(time.stop() == ToldClock::time);
    CHECK(counter == 30 * weight);
    CHECK(time.quick_ns() == 30);
    CHECK(time.stop() == 0);
  }
  counter = 0;
  const int before = ToldClock::readings;
  {
    Time time(counter, 0);
    ToldClock::time += 30;
    CHECK(time.stop() == 0);
  }
  CHECK(ToldClock::readings == before);
  CHECK(counter == 0);
}

TEST_CASE("from something slow on each scope is measured, once, with all scopes around it") {
  for (const std::uint32_t weight : {0u, 1u, 8u}) {
    std::atomic<std::uint64_t> outer_ns{0}, inner_ns{0};
    {
      Time outer(outer_ns, weight);
      ToldClock::time += 5;
      {
        Time inner(inner_ns, weight);
        ToldClock::time += 10;
        slow_read(1000);
        ToldClock::time += 20;
        slow_read(2000);
      }
      ToldClock::time += 7;
      CHECK(outer.stop() == ToldClock::time);
      CHECK(outer.quick_ns() == (weight == 0 ? 0 : 15));
      CHECK(outer.slow_ns() == 3027);
    }
    CHECK(inner_ns == 10 * weight + 3020);
    CHECK(outer_ns == 15 * weight + 3027);
  }
}

TEST_CASE("what a scope pauses for is not in it") {
  std::atomic<std::uint64_t> counter{0};
  {
    Time time(counter, 4);
    ToldClock::time += 10;
    time.stop();
    slow_read(500);
    time.start();
    ToldClock::time += 1;
  }
  CHECK(counter == 44);
}

TEST_CASE("a reading that somebody has is used") {
  std::atomic<std::uint64_t> counter{0};
  const int before = ToldClock::readings;
  {
    Time time(counter, 2, ToldClock::time - 6);
    CHECK(time.since() == ToldClock::time - 6);
  }
  CHECK(counter == 12);
  CHECK(ToldClock::readings == before + 1);
}

TEST_CASE("threads do not see each other's slow things, and their sums are exact") {
  for (const int threads : {1, 2, 8}) {
    std::atomic<std::uint64_t> counter{0};
    std::vector<std::thread> all;
    constexpr std::uint64_t kScopes = 4000;
    for (int t = 0; t < threads; ++t) {
      all.emplace_back([&counter, t, threads] {
        for (std::uint64_t i = static_cast<std::uint64_t>(t); i < kScopes; i += static_cast<std::uint64_t>(threads)) {
          Time time(counter, i % 8 == 3 ? 8 : 0);
          ToldClock::time += 11;
          if (i % 100 == 0) slow_read(5000);
        }
      });
    }
    for (std::thread& thread : all) thread.join();
    CHECK(counter == kScopes * 11 + kScopes / 100 * 5000);
  }
}
