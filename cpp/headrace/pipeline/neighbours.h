// The automatic loaders of this process that deliver at the same time: they share its cores, so each judges a setting by what all of them
// deliver, and one at a time compares.
//
// Owns:     a table of the process, whose seats are taken and left; a loader that finds none free is tuned as if it were alone.
// Threads:  a seat is its loader's consumer's alone. The table is atomics: no lock, and no seat is waited for.
// Forking:  the child has a table of its own; a seat taken before the fork is none there.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace headrace::pipeline {

// What a tuner asks of the others.
class Neighbours {
 public:
  static constexpr std::size_t kMost = 16;  // of those beyond, nothing is heard
  struct Progress {
    std::size_t count = 0;
    std::array<std::uint64_t, kMost> loader;   // no two the same, also in turn
    std::array<std::uint64_t, kMost> batches;  // delivered so far
    std::size_t consumers = 1;                 // threads that take these loaders' batches, the caller's and its loader's among them
  };

  virtual ~Neighbours() = default;
  // Of the others, those that delivered within the second before.
  virtual Progress others(std::int64_t now_ns) const = 0;
  // Whether this loader may compare settings: no other that still delivers does, or asked before and still asks.
  virtual bool claim_search(std::int64_t now_ns) = 0;
  // It does no longer, or no longer asks.
  virtual void release_search() = 0;
};

class LoaderSeat final : public Neighbours {
 public:
  LoaderSeat();
  ~LoaderSeat() override;
  LoaderSeat(const LoaderSeat&) = delete;
  LoaderSeat& operator=(const LoaderSeat&) = delete;

  // A pass begins, or batches were delivered.
  void deliver(std::int64_t now_ns, std::uint64_t batches);
  Progress others(std::int64_t now_ns) const override;
  bool claim_search(std::int64_t now_ns) override;
  void release_search() override;

 private:
  struct Table;
  bool is_seated() const;
  Table& table_;
  std::size_t seat_ = 0;
  std::uint64_t loader_ = 0;  // 0: no seat was free
};

}  // namespace headrace::pipeline
