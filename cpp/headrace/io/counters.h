// Where the time and the bytes of reading go. Written by many threads, read at any time; each number is exact, a set of them
// read together is not a snapshot.
#pragma once

#include <atomic>
#include <cstdint>
#include <utility>

#include "headrace/base/clock.h"

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

// Adds the time of a scope to a counter.
class ScopedTime {
 public:
  explicit ScopedTime(std::atomic<std::uint64_t>& counter) : ScopedTime(counter, now_ns()) {}
  // From a reading of the clock that the caller has already: of a tiny batch, readings are a good part of the work.
  ScopedTime(std::atomic<std::uint64_t>& counter, std::int64_t start) : counter_(counter), start_(start) {}
  ~ScopedTime() { stop(); }
  ScopedTime(const ScopedTime&) = delete;
  ScopedTime& operator=(const ScopedTime&) = delete;

  // Counts up to now, and no further until start(). Returns the reading; 0 if it was stopped before.
  std::int64_t stop() {
    if (start_ == 0) return 0;
    const std::int64_t now = now_ns();
    counter_.fetch_add(static_cast<std::uint64_t>(now - std::exchange(start_, 0)), std::memory_order_relaxed);
    return now;
  }
  void start() { start_ = now_ns(); }

 private:
  std::atomic<std::uint64_t>& counter_;
  std::int64_t start_;
};

}  // namespace headrace::io
