// The order of an epoch that gives each class of a label its number of positions: which sample stands at a position, by arithmetic.
//
// A class is walked in a keyed bijection of its samples: each once, then again in another one, until its positions are filled; so of a
// class with fewer positions than samples each epoch takes others. Where the classes stand: in any order (a bijection of all positions), or
// fixed, so that each block of positions holds every class in its share (proportion.h).
//
// Memory:   8 bytes a sample, and 8 a position where blocks are in proportion.
// Threads:  immutable; any. tests/sampling/test_strata.py has its twin in numpy.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "headrace/base/status.h"

namespace headrace::pipeline {

class Strata {
 public:
  static constexpr std::uint64_t kMaxSamples = 1ull << 31;
  static constexpr std::uint64_t kNever = ~std::uint64_t{0};

  // classes[i]: the class of sample i. quotas[k]: positions of class k in an epoch. block: 0 for any order of the positions; else the size
  // of blocks in proportion. Errors: kInvalidArgument (a class without quota or samples, no positions), kLimitExceeded, kOutOfMemory.
  static Result<std::shared_ptr<const Strata>> create(std::span<const std::uint32_t> classes, std::vector<std::uint64_t> quotas,
                                                      std::uint64_t block);

  std::uint64_t num_samples() const { return place_.size(); }
  std::uint64_t size() const { return first_position_.back(); }  // positions of an epoch
  // Equal for equal classes, quotas and blocks.
  std::uint64_t fingerprint() const { return fingerprint_; }

  // out[i] = sample at position begin + i, under a key of (seed, epoch). REQUIRES: begin + out.size() <= size().
  void fill(std::uint64_t key, std::uint64_t begin, std::span<std::uint64_t> out) const;
  // The first position >= from at which one of the samples [first, first + count) stands, of those that `mine` (optional) is true for.
  // REQUIRES: first + count <= num_samples().
  std::uint64_t next_use(std::uint64_t key, std::uint64_t first, std::uint64_t count, std::uint64_t from,
                         const std::function<bool(std::uint64_t)>& mine) const;
  // A sample of the same class, drawn by a key.
  std::uint64_t another(std::uint64_t sample, std::uint64_t key) const;

 private:
  Strata() = default;
  struct Turn {
    std::uint64_t taken;  // positions of its class before
    std::size_t at;       // of `out`
  };
  struct Singles;  // turns that are walked together, whatever their class
  void fill_class(std::uint64_t key, std::size_t k, std::span<Turn> turns, Singles& singles, std::span<std::uint64_t> out) const;
  std::size_t class_at(std::uint64_t place) const;
  std::vector<std::uint64_t> first_place_, first_position_;  // samples, and positions, of all classes before each; one more than classes
  std::vector<std::uint32_t> sample_;                        // samples, class by class
  std::vector<std::uint32_t> place_;                         // of each sample in sample_
  // With blocks: the how many-th position of its class, counted over all classes, stands at each position; and the inverse.
  std::vector<std::uint32_t> slot_, position_;
  std::uint64_t fingerprint_ = 0;
};

}  // namespace headrace::pipeline
