// How long each next() waited for its batch, as counts in buckets an eighth of their value wide: percentiles of any number of batches, and
// of several loaders together, in 2.5 KiB.
//
// Threads:  one adds; any may read meanwhile, and sees each batch at once or a little later.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace headrace::pipeline {

class WaitCounts {
 public:
  static constexpr unsigned kStepBits = 3;  // 8 buckets of each power of two
  static constexpr unsigned kMaxBits = 43;  // 2.4 hours; what is longer counts as that
  static constexpr std::size_t kBuckets = std::size_t{kMaxBits - kStepBits + 1} << kStepBits;

  // `weight`: how many batches it counts for.
  void add(std::uint64_t ns, std::uint32_t weight = 1) {
    std::atomic<std::uint64_t>& count = counts_[bucket(ns)];
    count.store(count.load(std::memory_order_relaxed) + weight, std::memory_order_relaxed);
    if (ns > longest_.load(std::memory_order_relaxed)) longest_.store(ns, std::memory_order_relaxed);
  }
  std::uint64_t count(std::size_t i) const { return counts_[i].load(std::memory_order_relaxed); }
  std::uint64_t longest_ns() const { return longest_.load(std::memory_order_relaxed); }

  static std::size_t bucket(std::uint64_t ns) {
    if (ns >= std::uint64_t{1} << kMaxBits) return kBuckets - 1;
    if (ns < 1u << kStepBits) return static_cast<std::size_t>(ns);
    const auto shift = static_cast<unsigned>(std::bit_width(ns)) - 1 - kStepBits;  // leaves 8 to 15
    return (std::size_t{shift} << kStepBits) + static_cast<std::size_t>(ns >> shift);
  }
  // What the values of a bucket begin with; one more than the last bucket is the end of it.
  static std::uint64_t begin_ns(std::size_t i) {
    if (i < 1u << kStepBits) return i;
    const std::size_t shift = (i >> kStepBits) - 1;
    return ((std::uint64_t{1} << kStepBits) + (i & ((1u << kStepBits) - 1))) << shift;
  }

 private:
  std::array<std::atomic<std::uint64_t>, kBuckets> counts_{};
  std::atomic<std::uint64_t> longest_{0};
};

}  // namespace headrace::pipeline
