// Random draws of one operation on one sample: a function of (seed and epoch, sample, operation) alone, never of a thread.
//
// Plain value; one thread at a time.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <numbers>

#include "headrace/base/philox.h"

namespace headrace::ops {

struct DrawKey {
  std::uint64_t pass = 0;  // of seed and epoch
  std::uint64_t sample = 0;
};

class Draws {
 public:
  Draws(const DrawKey& key, std::uint32_t operation) : philox_{{key.pass, key.sample}}, counter_(std::uint64_t{operation} << 40) {}

  std::uint64_t word() {
    if (at_ == block_.size()) {
      block_ = philox_.block(counter_++);
      at_ = 0;
    }
    return block_[at_++];
  }
  // In [0, 1), 53 bits.
  double unit() { return static_cast<double>(word() >> 11) * 0x1.0p-53; }
  double uniform(double low, double high) { return low + (high - low) * unit(); }
  // In [0, bound). REQUIRES: bound > 0.
  std::uint32_t below(std::uint32_t bound) { return static_cast<std::uint32_t>(static_cast<unsigned __int128>(word()) * bound >> 64); }
  double normal() { return std::sqrt(-2.0 * std::log(1.0 - unit())) * std::cos(2.0 * std::numbers::pi * unit()); }

 private:
  Philox philox_;
  std::uint64_t counter_;
  std::array<std::uint64_t, 4> block_{};
  std::size_t at_ = 4;
};

}  // namespace headrace::ops
