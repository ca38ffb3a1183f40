// How positions of an epoch become batches of one rank.
//
// Global batch g is positions [g * B, (g + 1) * B), B = batch_size * world_size, and ranks cut it among themselves: so what is in
// it depends neither on the world size (for equal B) nor on threads. The last, smaller global batch of R positions is dropped,
// or cut in equal shares: of ceil(R / world_size), those that reach past the end wrapping around to the epoch's start, or, with
// drop_uneven, of floor(R / world_size), the rest being left out. So every rank takes the same number of steps with the same number of
// samples; `valid` says how many of a share's samples no wrapping added.
//
// Plain values; any thread.
#pragma once

#include <algorithm>
#include <cstdint>

#include "headrace/base/bytes.h"

namespace headrace::pipeline {

struct Partition {
  std::uint64_t batch_size = 1;  // samples of one rank's batch
  std::uint64_t rank = 0;
  std::uint64_t world_size = 1;
  bool drop_last = false;    // the whole of it
  bool drop_uneven = false;  // what of it cannot be shared alike

  std::uint64_t global_batch() const { return batch_size * world_size; }
  // Batches from `position` to the end of an epoch of `num_samples`.
  std::uint64_t num_batches(std::uint64_t num_samples, std::uint64_t position) const {
    const std::uint64_t left = num_samples - std::min(num_samples, position);
    const std::uint64_t least = drop_last ? global_batch() : drop_uneven ? world_size : 1;  // of samples, for one step more
    return left / global_batch() + (left % global_batch() >= least ? 1 : 0);
  }
  // This rank's positions in the global batch that starts at `position`: [begin, begin + count), modulo num_samples.
  struct Share {
    std::uint64_t begin = 0;
    std::uint64_t count = 0;
    std::uint64_t valid = 0;  // of them, the first: in the epoch
  };
  Share share(std::uint64_t num_samples, std::uint64_t position) const {
    const std::uint64_t left = num_samples - position;
    const std::uint64_t count = left >= global_batch() ? batch_size : drop_uneven ? left / world_size : ceil_div(left, world_size);
    const std::uint64_t before = std::min(left, rank * count);
    return {position + rank * count, count, std::min(count, left - before)};
  }
};

}  // namespace headrace::pipeline
