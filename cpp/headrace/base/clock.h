// Time in nanoseconds.
#pragma once

#include <time.h>

#include <chrono>
#include <cstdint>

namespace headrace {

// Monotonic.
inline std::int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// The same as of the kernel's latest tick, 1 to 10 ms ago, for a third of the price. Not to be compared with now_ns().
inline std::int64_t coarse_now_ns() {
#ifdef CLOCK_MONOTONIC_COARSE
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return now.tv_sec * std::int64_t{1'000'000'000} + now.tv_nsec;
#else
  return now_ns();
#endif
}

// What the calling thread itself has run: not slowed by whoever else wants the core.
inline std::int64_t thread_cpu_ns() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return now.tv_sec * std::int64_t{1'000'000'000} + now.tv_nsec;
}

}  // namespace headrace
