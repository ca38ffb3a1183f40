// Which reader serves files that do not fit into memory, found out while passes run: what the page cache saves against what it costs
// depends on the device, on the order and on who else is there, so it is measured.
//
// Another reader is compared in turn with the present one, in slices of at least 100 ms, five pairs; it is taken where it delivered at
// least 5 % more in four of them. Two pairs that both lost a tenth end it early. Then it rests, 2 s first, and twice as long, up to 64 s,
// each time that nothing was better. Batches that were planned before a slice began do not count. Less than 2 % of waiting: nothing to
// gain.
//
// A function of what it is told: no clock, no lock, no allocation. Threads: the consumer's alone.
#pragma once

#include <array>
#include <cstdint>

#include "headrace/io/read_engine.h"

namespace headrace::pipeline {

class ReaderTuner {
 public:
  // REQUIRES: present is not kMmap.
  explicit ReaderTuner(io::ReaderKind present) : present_(present) {}

  // Time between passes does not count.
  void begin_pass(std::int64_t now_ns);
  // Batches were delivered since the call before, the last at now_ns, after their consumer had waited for them; `under_way` were planned
  // and not delivered. Returns the reader for batches that are planned from now on.
  io::ReaderKind deliver(std::int64_t now_ns, std::uint64_t waited_ns, std::uint64_t samples, std::uint64_t under_way,
                         std::uint64_t batches = 1);
  io::ReaderKind present() const { return present_; }
  bool is_comparing() const { return is_comparing_; }
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
  void settle(bool better);
  bool is_other_slice() const { return slice_ % 2 == 1; }

  io::ReaderKind present_, other_ = io::ReaderKind::kPread;
  bool is_comparing_ = false;
  unsigned tried_ = 0;      // candidates so far
  int slice_ = 0;           // of a comparison: present, other, present, ...
  std::uint64_t skip_ = 0;  // batches that another reader's plan made
  Slice slice_now_;
  double rate_before_ = 0;  // of the present reader's slice in this pair
  int won_ = 0, lost_ = 0, lost_clearly_ = 0;
  std::int64_t last_ns_ = 0;
  std::uint64_t rested_ns_ = 0, rest_ns_ = 500'000'000;  // the first comparison comes soon
  std::uint64_t next_rest_ns_ = 2'000'000'000;
};

}  // namespace headrace::pipeline
