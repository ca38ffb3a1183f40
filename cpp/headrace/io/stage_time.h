// The time of a stage, where reading the clock would cost a good part of it: measured for one scope in n, which then counts n times.
//
// What is slow is measured always, and counts once: from the first thing that is worth a reading of its own (a read, a check, a decode, a
// wait), the rest of the scope is measured, of all stages that this thread is in. So a sum is true on average whatever the mix, and one
// slow scope among quick ones is in it, and only once.
//
// Owns:     nothing; the counter must outlive it. It lies on the stack: scopes of a thread end in the opposite order.
// Threads:  the one that made it.
#pragma once

#include <atomic>
#include <cstdint>
#include <utility>

#include "headrace/base/clock.h"

namespace headrace::io {

struct MonotonicClock {
  static std::int64_t now() { return now_ns(); }
};

template <typename Clock>
class BasicStageTime {
 public:
  // `weight`: how many scopes it counts for; 0: only what is slow is measured. `now`: a reading that the caller has, 0 if none.
  BasicStageTime(std::atomic<std::uint64_t>& counter, std::uint32_t weight, std::int64_t now = 0)
      : counter_(counter), weight_(weight), outer_(std::exchange(innermost_, this)) {
    start(now);
  }
  ~BasicStageTime() {
    stop();
    innermost_ = outer_;
  }
  BasicStageTime(const BasicStageTime&) = delete;
  BasicStageTime& operator=(const BasicStageTime&) = delete;

  void start(std::int64_t now = 0) {
    is_running_ = true;
    if (weight_ > 0 || is_slow_) since_ = now != 0 ? now : Clock::now();
  }
  // Counts up to now, and no further until start(). Returns the reading; 0 if there was none.
  std::int64_t stop() {
    if (!std::exchange(is_running_, false) || since_ == 0) return 0;
    const std::int64_t now = Clock::now();
    pass_to(now);
    since_ = 0;
    counter_.fetch_add(std::exchange(unwritten_, 0), std::memory_order_relaxed);
    return now;
  }
  // Something slow begins on this thread.
  static void slow(std::int64_t now) {
    for (BasicStageTime* stage = innermost_; stage != nullptr; stage = stage->outer_) stage->be_slow(now);
  }

  // When it was started, by the clock; 0 if nobody looked.
  std::int64_t since() const { return since_; }
  // Nanoseconds so far, each once: before something slow (0 where not measured), and from there on.
  std::uint64_t quick_ns() const { return quick_ns_; }
  std::uint64_t slow_ns() const { return slow_ns_; }

 private:
  void be_slow(std::int64_t now) {
    if (!is_running_ || is_slow_) return;
    if (since_ != 0) pass_to(now);
    since_ = now;
    is_slow_ = true;
  }
  void pass_to(std::int64_t now) {
    const auto ns = static_cast<std::uint64_t>(now - since_);
    (is_slow_ ? slow_ns_ : quick_ns_) += ns;
    unwritten_ += is_slow_ ? ns : ns * weight_;
  }

  std::atomic<std::uint64_t>& counter_;
  const std::uint32_t weight_;
  bool is_running_ = false, is_slow_ = false;
  std::int64_t since_ = 0;  // 0: not measured now
  std::uint64_t quick_ns_ = 0, slow_ns_ = 0, unwritten_ = 0;
  BasicStageTime* const outer_;
  static inline constinit thread_local BasicStageTime* innermost_ = nullptr;
};

using StageTime = BasicStageTime<MonotonicClock>;

}  // namespace headrace::io
