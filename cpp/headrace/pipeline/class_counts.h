// Counts the samples of each value of a label field, in one pass, and weighs every sample so that all values are drawn alike.
//
// Memory:   4 bytes a sample, and some 50 a class; at most kMaxClasses.
// Threads:  one at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "headrace/base/status.h"
#include "headrace/pipeline/alias_table.h"
#include "headrace/pipeline/batch.h"

namespace headrace::pipeline {

class ClassCounts {
 public:
  static constexpr std::size_t kMaxClasses = std::size_t{1} << 24;

  ClassCounts();
  // Counts the samples of a batch, which follow those added before; field 0 is the label: whole numbers or booleans without dimensions,
  // strings or bytes. Errors: kInvalidArgument (another kind of field, a null label), kLimitExceeded (more than kMaxClasses), kOutOfMemory.
  Status add(const Batch& batch);

  // Samples of each class, in the order in which the classes were met.
  const std::vector<std::uint64_t>& counts() const { return counts_; }
  // Weight 1 / (samples of its class) for every sample added.
  Result<std::shared_ptr<const AliasTable>> balanced(int threads) const;

 private:
  std::uint32_t class_of(std::uint64_t key);
  std::uint32_t new_class();
  std::vector<std::uint32_t> small_;  // class of each key below its size
  std::unordered_map<std::uint64_t, std::uint32_t> large_;
  std::vector<std::uint32_t> classes_;  // of each sample
  std::vector<std::uint64_t> counts_;
};

}  // namespace headrace::pipeline
