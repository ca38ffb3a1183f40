#include "headrace/pipeline/proportion.h"

#include <algorithm>

#include "headrace/base/bytes.h"

namespace headrace::pipeline {
namespace {

constexpr std::uint64_t kMaxPositions = 1ull << 31;  // products of two numbers up to this fit 64 bits
constexpr std::uint64_t kMaxSteps = 1ull << 32;

// A class as a task of weight part / whole: it is due `part` times in `whole` blocks, once a block at most.
struct Task {
  std::uint32_t number;
  std::uint64_t part, done = 0;
  // Of its next time:
  std::uint64_t release = 0, deadline = 0, group_deadline = 0;
  bool overlaps = false;  // whether the time after it may come before this one's deadline

  void plan(std::uint64_t whole) {
    const std::uint64_t next = done + 1;
    release = done * whole / part;
    deadline = ceil_div(next * whole, part);
    overlaps = next * whole % part != 0;
    // Heavy tasks leave no room: up to here one late time would push all others.
    group_deadline = 2 * part < whole ? 0 : ceil_div(ceil_div(deadline * (whole - part), whole) * whole, whole - part);
  }
  bool operator<(const Task& other) const {  // comes first
    if (deadline != other.deadline) return deadline < other.deadline;
    if (overlaps != other.overlaps) return overlaps;
    if (overlaps && group_deadline != other.group_deadline) return group_deadline > other.group_deadline;
    return number < other.number;
  }
};

struct Place {
  double at;  // from 0 to 1 in its block
  std::uint32_t number;
  bool operator<(const Place& other) const { return at != other.at ? at < other.at : number < other.number; }
};

// Appends a block of so many positions of each class, spread evenly.
void spread(std::span<const std::uint64_t> counts, std::vector<Place>& places, std::vector<std::uint32_t>& out) {
  places.clear();
  for (std::uint32_t k = 0; k < counts.size(); ++k) {
    const auto count = static_cast<double>(counts[k]);
    for (std::uint64_t j = 0; j < counts[k]; ++j) places.push_back({(static_cast<double>(j) + 0.5) / count, k});
  }
  std::sort(places.begin(), places.end());
  for (const Place& place : places) out.push_back(place.number);
}

// How many positions of each class the blocks have, one block after the other.
class Schedule {
 public:
  Schedule(std::span<const std::uint64_t> quotas, std::uint64_t block, std::uint64_t all) : all_(all), extra_(block) {
    for (std::uint32_t k = 0; k < quotas.size(); ++k) {
      whole_.push_back(block * quotas[k] / all);
      extra_ -= whole_.back();
      if (const std::uint64_t part = block * quotas[k] % all; part > 0) {
        waiting_.push_back({k, part});
        waiting_.back().plan(all);
      }
    }
  }
  // Of the next block.
  std::span<const std::uint64_t> next() {
    counts_ = whole_;
    const auto ready = std::partition(waiting_.begin(), waiting_.end(), [&](const Task& task) { return task.release <= number_; });
    const auto chosen = waiting_.begin() + static_cast<std::ptrdiff_t>(extra_);
    if (chosen < ready) std::nth_element(waiting_.begin(), chosen, ready);
    for (auto task = waiting_.begin(); task != chosen; ++task) {
      ++counts_[task->number];
      ++task->done;
      task->plan(all_);
    }
    ++number_;
    return counts_;
  }

 private:
  const std::uint64_t all_;
  std::uint64_t extra_;  // places of a block beyond the whole parts; there are never fewer tasks ready
  std::uint64_t number_ = 0;
  std::vector<std::uint64_t> whole_, counts_;
  std::vector<Task> waiting_;
};

}  // namespace

Result<std::vector<std::uint32_t>> proportional(std::span<const std::uint64_t> quotas, std::uint64_t block) {
  if (block == 0) return Status(Code::kInvalidArgument, "batches in proportion: a batch of 0 samples");
  std::uint64_t all = 0;
  for (const std::uint64_t quota : quotas) {
    if (quota > kMaxPositions || (all += quota) > kMaxPositions)
      return Status(Code::kLimitExceeded, "batches in proportion: more than 2^31 samples an epoch");
  }
  const std::uint64_t blocks = all / block;
  if (!quotas.empty() && blocks > kMaxSteps / quotas.size()) {
    return Status(Code::kLimitExceeded,
                  strf("batches in proportion: %llu batches of %zu classes are more than 2^32 shares; are these labels?",
                       static_cast<unsigned long long>(blocks), quotas.size()));
  }
  std::vector<std::uint64_t> left(quotas.begin(), quotas.end());
  std::vector<std::uint32_t> out;
  out.reserve(all);
  std::vector<Place> places;
  if (blocks > 0) {
    Schedule schedule(quotas, block, all);
    for (std::uint64_t number = 0; number < blocks; ++number) {
      const std::span<const std::uint64_t> counts = schedule.next();
      for (std::size_t k = 0; k < counts.size(); ++k) left[k] -= counts[k];
      spread(counts, places, out);
    }
  }
  spread(left, places, out);
  return out;
}

}  // namespace headrace::pipeline
