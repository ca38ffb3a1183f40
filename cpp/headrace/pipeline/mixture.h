// Several sources mixed in fixed shares: which sample stands at a position, by arithmetic.
//
// Positions come in cycles, in each of which every source has its number of slots, shuffled by a key of the cycle. So how many samples a
// source gave before a cycle is a product, and within one it is counted: a cycle has at most kMaxCycle slots. A source is walked in a keyed
// bijection of its samples: each once, then again in another one. Without shares, the samples of all sources are in one bijection.
//
// Immutable; any thread. tests/sampling/test_mixing.py has its twin in numpy.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "headrace/base/status.h"

namespace headrace::pipeline {

struct MixedSource {
  std::uint64_t begin = 0;  // its first sample, as a number of the dataset that holds all sources
  std::uint64_t size = 0;   // samples
  std::uint64_t step = 1;   // from one of its samples to the next
  std::uint64_t slots = 0;  // of a cycle; 0: not drawn, unless all are 0
};

class Mixture {
 public:
  static constexpr std::uint64_t kMaxCycle = 4096;

  // Errors: kInvalidArgument (no samples, a source with slots and none, too many slots, samples beyond 2^48).
  static Result<std::shared_ptr<const Mixture>> create(std::vector<MixedSource> sources);

  std::uint64_t end() const { return end_; }  // beyond every sample that may be drawn
  // out[i] = sample at position begin + i, under a key of (seed, epoch). Costs about 5 ns a slot of a cycle beside what it costs a sample.
  // REQUIRES: begin + out.size() <= 2^48.
  void fill(std::uint64_t key, std::uint64_t begin, std::span<std::uint64_t> out) const;

 private:
  explicit Mixture(std::vector<MixedSource> sources);
  void fill_by_size(std::uint64_t key, std::uint64_t begin, std::span<std::uint64_t> out) const;
  void shuffle_slots(std::uint64_t cycle_key, std::vector<std::uint32_t>& owners) const;
  std::vector<MixedSource> sources_;
  std::vector<std::uint64_t> first_;  // samples before each source, and all of them
  std::uint64_t cycle_ = 0;           // slots
  std::uint64_t end_ = 0;
};

}  // namespace headrace::pipeline
