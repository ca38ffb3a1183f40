// Where the time and the bytes of reading go. Written by many threads, read at any time; each number is exact, a set of them
// read together is not a snapshot.
#pragma once

#include <atomic>
#include <cstdint>
#include <utility>

#include "headrace/base/clock.h"
#include "headrace/io/stage_time.h"

namespace headrace::io {

struct Counters {
  std::atomic<std::uint64_t> read_ns{0};        // waiting for bytes: populate, pread, io_uring
  std::atomic<std::uint64_t> verify_ns{0};      // hashing
  std::atomic<std::uint64_t> decode_ns{0};      // codec and filter
  std::atomic<std::uint64_t> stored_bytes{0};   // asked of the file (first touch of mapped blocks, every positional read)
  std::atomic<std::uint64_t> decoded_bytes{0};  // made by codecs and filters
  std::atomic<std::uint64_t> blocks_read{0};
  std::atomic<std::uint64_t> cache_hits{0};    // blocks found decoded
  std::atomic<std::uint64_t> read_retries{0};  // reads that the device failed and that were tried once more
  std::atomic<std::uint64_t> cache_misses{0};  // blocks looked for in vain, and so decoded
};

// Adds the time of a scope to a counter: of something slow, which is always measured.
class ScopedTime {
 public:
  explicit ScopedTime(std::atomic<std::uint64_t>& counter) : counter_(counter), start_(now_ns()) { StageTime::slow(start_); }
  ~ScopedTime() { stop(); }
  ScopedTime(const ScopedTime&) = delete;
  ScopedTime& operator=(const ScopedTime&) = delete;

  // Counts up to now, and no further until start().
  void stop() {
    if (start_ == 0) return;
    counter_.fetch_add(static_cast<std::uint64_t>(now_ns() - std::exchange(start_, 0)), std::memory_order_relaxed);
  }
  void start() { start_ = now_ns(); }

 private:
  std::atomic<std::uint64_t>& counter_;
  std::int64_t start_;
};

}  // namespace headrace::io
