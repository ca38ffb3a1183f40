// Which reader serves files that do not fit into memory, found out while passes run: what the page cache saves against what it costs
// depends on the device, on the order and on who else is there, so it is measured.
//
// Another reader is compared in turn with the present one, in slices of at least 100 ms, five pairs; it is taken where it delivered at
// least 5 % more in four of them, or half as much again in two in a row. Two pairs that both lost a tenth end it early, as does one that
// lost half; a slice that takes twice as long as the one before is not seen to its end, but for two batches. Each of the others is asked
// within the first seconds, with rests of half a second; then it rests, 4 s first, and twice as long, up to 64 s, each time that none of
// them was better. Batches that were planned before a slice began do not count. Less than 2 % of waiting: nothing to gain. A mapping is one
// of the readers: its reads are page faults, which no counter of ours sees, but batches a second tell. While it is tried, few batches
// should be under way (is_trying_map()), so that a mapping that thrashes costs no more than those.
//
// A function of what it is told: no clock, no lock, no allocation. Threads: the consumer's alone.
#pragma once

#include <array>
#include <cstdint>

#include "headrace/io/read_engine.h"

namespace headrace::pipeline {

class ReaderTuner {
 public:
  // `period`: samples after which an order does the same again, such as those of a window, whose first ones wait for all its chunks. A
  // slice has as many, if it can within a second.
  explicit ReaderTuner(io::ReaderKind present, std::uint64_t period = 0) : present_(present), period_(period) {}

  // Time between passes does not count.
  void begin_pass(std::int64_t now_ns);
  // Batches were delivered since the call before, the last at now_ns, after their consumer had waited for them; `under_way` were planned
  // and not delivered. Returns the reader for batches that are planned from now on.
  io::ReaderKind deliver(std::int64_t now_ns, std::uint64_t waited_ns, std::uint64_t samples, std::uint64_t under_way,
                         std::uint64_t batches = 1);
  io::ReaderKind present() const { return present_; }
  bool is_comparing() const { return is_comparing_; }
  bool is_trying_map() const { return is_comparing_ && other_ == io::ReaderKind::kMmap && is_other_slice(); }
  // Somebody else chose: goes on from there.
  void set_present(io::ReaderKind present);

 private:
  static constexpr int kPairs = 5;
  struct Slice {
    std::uint64_t ns = 0, waited_ns = 0, samples = 0, batches = 0;
  };
  io::ReaderKind next_candidate();
  void begin_slice(std::uint64_t under_way);
  void end_slice(std::uint64_t under_way);
  bool slice_is_over() const;
  void settle(bool better);
  bool is_other_slice() const { return slice_ % 2 == 1; }

  io::ReaderKind present_, other_ = io::ReaderKind::kPread;
  std::uint64_t period_ = 0;
  bool is_comparing_ = false;
  unsigned tried_ = 0;      // candidates so far
  unsigned refused_ = 0;    // of them, since one was taken
  int slice_ = 0;           // of a comparison: present, other, present, ...
  std::uint64_t skip_ = 0;  // batches that another reader's plan made
  Slice slice_now_;
  std::uint64_t ns_before_ = 0;
  double rate_before_ = 0;  // of the present reader's slice in this pair
  int won_ = 0, won_clearly_ = 0, lost_ = 0, lost_clearly_ = 0;
  std::int64_t last_ns_ = 0;
  std::uint64_t rested_ns_ = 0, rest_ns_ = 500'000'000;  // the first comparisons come soon
  std::uint64_t next_rest_ns_ = 4'000'000'000;
};

}  // namespace headrace::pipeline
