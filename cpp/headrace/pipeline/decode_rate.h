// What the codec alone can do: the limit that a loader of compressed data is held against. A bare loop over the same stored blocks.
//
// Owns:     its threads and buffers, for the time of the call. Borrows the dataset.
// Threads:  any; starts `threads` of its own beside the pool's, so nothing else should run.
#pragma once

#include <cstdint>
#include <span>

#include "headrace/base/status.h"
#include "headrace/pipeline/dataset.h"

namespace headrace::pipeline {

struct DecodeRate {
  double seconds = 0;               // of the loop alone, from the first thread's start to the last one's end
  std::uint64_t decoded_bytes = 0;  // made by the loop
  std::uint64_t stored_bytes = 0;   // read by it
  std::uint64_t blocks = 0;
};

// Decodes the values blocks of `field` that hold `samples`, batch by batch, each block once a batch, into one buffer a thread that
// every batch overwrites. Places are looked up, pages populated and checksums compared before the clock. `with_filters` reverts the
// filters as well; without, frames are decoded and no more.
// Errors: those of reading; kInvalidArgument (not mapped; a sample or field that is not there; no threads).
Result<DecodeRate> measure_decode_rate(const Dataset& dataset, std::uint32_t field, std::span<const std::uint64_t> samples,
                                       std::uint64_t batch_size, int threads, bool with_filters);

}  // namespace headrace::pipeline
