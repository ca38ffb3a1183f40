// What a loader did and waited for. Written by its threads, read at any time. Times are summed over threads.
#pragma once

#include <atomic>
#include <cstdint>

#include "headrace/io/counters.h"
#include "headrace/pipeline/wait_counts.h"

namespace headrace::pipeline {

struct Counters {
  io::Counters io;
  std::atomic<std::uint64_t> plan_ns{0};        // order, places, lengths, layout
  std::atomic<std::uint64_t> assemble_ns{0};    // copying into slabs, with the reading and decoding that it met on its way
  std::atomic<std::uint64_t> image_ns{0};       // decoding images and preparing them
  std::atomic<std::uint64_t> field_plan_ns{0};  // making fields of others
  std::atomic<std::uint64_t> batches{0};        // delivered
  std::atomic<std::uint64_t> samples{0};        // delivered
  std::atomic<std::uint64_t> bytes{0};          // delivered
  std::atomic<std::uint64_t> stall_ns{0};       // consumer inside next()
  std::atomic<std::uint64_t> errors{0};         // samples that failed
  WaitCounts waits;                             // of each batch, or error of one: consumer inside next()
};

}  // namespace headrace::pipeline
