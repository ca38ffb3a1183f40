// Which batches are timed. While one takes only microseconds, the clock would cost a good part of it: then one of n is timed and counts for
// n, at a place among them that follows no pattern. n follows the time from batch to batch: 1 from 50 us on, 8 at most.
//
// Of each kMost batches in a row, weights add up to kMost, whatever n does: it changes between such rows only.
//
// A function of what it is told: no clock, no lock, no allocation. Threads: the consumer's alone.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <utility>

#include "headrace/pipeline/permutation.h"

namespace headrace::pipeline {

class TimedBatches {
 public:
  static constexpr std::uint32_t kMost = 8;          // a power of two
  static constexpr std::uint64_t kLongNs = 50'000;   // from here on each batch is timed
  static constexpr std::uint32_t kToldQuick = 16;    // readings in a row that found time for a larger n

  // How many batches the next one that is launched counts for; 0: it is not timed.
  std::uint32_t next_weight() {
    if (number_ % kMost == 0) in_force_ = one_in_;
    const std::uint64_t number = number_++;
    const std::uint64_t chosen = mix_key(number / in_force_, in_force_) % in_force_;
    return number % in_force_ == chosen ? in_force_ : 0;
  }

  // What lies between two passes, and before the first batch, is no batch's time.
  void begin_pass() { last_ns_ = 0; }
  // `batches` were delivered since the clock was read before.
  void deliver(std::int64_t now_ns, std::uint64_t batches) {
    const std::int64_t before = std::exchange(last_ns_, now_ns);
    if (before == 0 || batches == 0) return;
    const std::uint64_t ns = std::max<std::uint64_t>(1, static_cast<std::uint64_t>(std::max<std::int64_t>(0, now_ns - before)) / batches);
    const auto fit = static_cast<std::uint32_t>(std::bit_floor(std::clamp<std::uint64_t>(2 * kLongNs / ns, 1, kMost)));
    told_quick_ = fit > one_in_ ? told_quick_ + 1 : 0;
    if (fit < one_in_) one_in_ = fit;
    if (told_quick_ < kToldQuick) return;
    one_in_ *= 2;
    told_quick_ = 0;
  }
  std::uint32_t one_in() const { return one_in_; }  // n, for the next row

 private:
  std::uint64_t number_ = 0;  // of batches that were launched
  std::uint32_t in_force_ = 1, one_in_ = 1, told_quick_ = 0;
  std::int64_t last_ns_ = 0;  // 0: none in this pass
};

}  // namespace headrace::pipeline
