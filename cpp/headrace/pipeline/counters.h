// What a loader did and waited for. Written by its threads, read at any time. Times are summed over threads; those of plan, assemble, field
// plan, stall and waits are of the batches that TimedBatches chose, and of all that was slow (io/stage_time.h). All else is exact.
#pragma once

#include <atomic>
#include <cstdint>

#include "headrace/io/counters.h"
#include "headrace/pipeline/wait_counts.h"

namespace headrace::pipeline {

// Of a counter that only the calling thread writes: a fifth of what fetch_add() takes.
inline void add_alone(std::atomic<std::uint64_t>& counter, std::uint64_t more) {
  counter.store(counter.load(std::memory_order_relaxed) + more, std::memory_order_relaxed);
}

struct Counters {
  io::Counters io;
  std::atomic<std::uint64_t> plan_ns{0};        // order, places, lengths, layout
  std::atomic<std::uint64_t> assemble_ns{0};    // copying into slabs, with the reading and decoding that it met on its way
  std::atomic<std::uint64_t> image_ns{0};       // decoding images and preparing them
  std::atomic<std::uint64_t> field_plan_ns{0};  // making fields of others
  std::atomic<std::uint64_t> errors{0};         // samples that failed
  // Written by the consumer alone, on lines of its own.
  alignas(64) std::atomic<std::uint64_t> batches{0};  // delivered
  std::atomic<std::uint64_t> samples{0};              // delivered
  std::atomic<std::uint64_t> bytes{0};                // delivered
  std::atomic<std::uint64_t> stall_ns{0};             // consumer inside next()
  WaitCounts waits;                                   // of each batch, or error of one: consumer inside next()
};

}  // namespace headrace::pipeline
