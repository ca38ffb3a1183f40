// Which batches are timed: all of them, or, while they take only microseconds and the clock would cost a good part of that, one in each row
// of eight, at a place that follows no pattern; it counts for the eight. So weights of a row add up to eight, whatever comes.
//
// Rows are quick while the readings find less than 50 us from batch to batch, on average over a row. A single long row ends that at once;
// two quick ones in a row bring it back.
//
// A function of what it is told: no clock, no lock, no allocation. Threads: the consumer's alone.
#pragma once

#include <cstdint>
#include <utility>

#include "headrace/pipeline/permutation.h"

namespace headrace::pipeline {

class TimedBatches {
 public:
  static constexpr std::uint32_t kRow = 8;
  static constexpr std::int64_t kLongNs = 50'000;  // from batch to batch
  static constexpr int kQuickRows = 2;

  // How many batches the next one that is launched counts for; 0: it is not timed.
  std::uint32_t next_weight() {
    const std::uint64_t number = launched_++;
    if (number % kRow == 0) row_is_quick_ = is_quick();
    if (!row_is_quick_) return 1;
    return number % kRow == mix_key(number / kRow, kRow) % kRow ? kRow : 0;
  }

  // What lies between two passes, and before the first batch, is no batch's time.
  void begin_pass() {
    last_ns_ = 0;
    seen_ns_ = seen_batches_ = 0;
  }
  // `batches` were delivered since the clock was read before.
  void deliver(std::int64_t now_ns, std::int64_t batches) {
    const std::int64_t before = std::exchange(last_ns_, now_ns);
    if (before == 0) return;
    seen_ns_ += now_ns - before;
    seen_batches_ += batches;
    if (seen_batches_ < kRow && seen_ns_ < kRow * kLongNs) return;
    quick_rows_ = seen_ns_ < seen_batches_ * kLongNs ? quick_rows_ + (is_quick() ? 0 : 1) : 0;
    seen_ns_ = seen_batches_ = 0;
  }
  bool is_quick() const { return quick_rows_ == kQuickRows; }

 private:
  std::uint64_t launched_ = 0;
  bool row_is_quick_ = false;  // of batches that are launched now
  int quick_rows_ = 0;         // in a row, kQuickRows at most
  std::int64_t last_ns_ = 0;   // 0: none in this pass
  std::int64_t seen_ns_ = 0, seen_batches_ = 0;
};

}  // namespace headrace::pipeline
