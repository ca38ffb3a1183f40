// Counts of durations in buckets that are at most 1/64 of their value wide, so that percentiles of any number of reads need 30 KiB and
// the counts of several runs can be added.
//
// Threads:  one at a time.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace headrace::pipeline {

class LatencyHistogram {
 public:
  static constexpr unsigned kSteps = 64;    // buckets of each power of two
  static constexpr unsigned kMaxBits = 43;  // 2.4 hours; what is longer counts as that
  static constexpr std::size_t kBuckets = (kMaxBits - 5) * kSteps;

  void add(std::uint64_t ns) {
    ++counts_[bucket(ns)];
    ++total_;
    if (ns > max_) max_ = ns;
  }

  std::uint64_t total() const { return total_; }
  std::uint64_t max() const { return max_; }
  std::uint64_t count(std::size_t i) const { return counts_[i]; }

  // The middle of the bucket that holds the value below which `share` of all values lie, at most max(); 0 if there is none.
  std::uint64_t percentile(double share) const {
    if (total_ == 0) return 0;
    const double wanted = share * static_cast<double>(total_);
    std::uint64_t seen = 0;
    for (std::size_t i = 0; i < kBuckets; ++i) {
      seen += counts_[i];
      if (static_cast<double>(seen) > wanted) return middle(i) < max_ ? middle(i) : max_;
    }
    return max_;
  }

  static std::size_t bucket(std::uint64_t ns) {
    if (ns >= std::uint64_t{1} << kMaxBits) return kBuckets - 1;
    if (ns < 2 * kSteps) return static_cast<std::size_t>(ns);
    const auto shift = static_cast<unsigned>(std::bit_width(ns)) - 7;  // leaves 64 to 127
    return std::size_t{shift} * kSteps + static_cast<std::size_t>(ns >> shift);
  }
  static std::uint64_t middle(std::size_t i) {
    if (i < 2 * kSteps) return i;
    const std::size_t shift = i / kSteps - 1;
    return ((kSteps + i % kSteps) << shift) + (std::uint64_t{1} << shift >> 1);
  }

 private:
  std::array<std::uint64_t, kBuckets> counts_{};
  std::uint64_t total_ = 0, max_ = 0;
};

}  // namespace headrace::pipeline
