// How fast blocks of files arrive through one of the readers, with a constant number of reads in flight.
//
// What it measures is the readers' own path: ReadQueue, or for mmap: advise ahead, then populate. Nothing is decoded or kept.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "headrace/base/status.h"
#include "headrace/io/read_engine.h"
#include "headrace/pipeline/latency_histogram.h"

namespace headrace::pipeline {

struct ReadBenchmarkOptions {
  std::vector<std::string> paths;
  std::uint64_t block_bytes = 1 << 20;
  unsigned depth = 32;  // reads in flight of each thread
  io::ReaderKind reader = io::ReaderKind::kUring;
  bool random = false;  // else blocks in the order of the files
  double seconds = 10;  // at most, but one block is always read
  int threads = 1;      // uring, direct: rings, each with a thread; pread, mmap: threads that share the depth
  std::uint64_t seed = 0;
  bool loop = false;                             // begin again when each block was read once; else that is the end
  const std::atomic<bool>* cancelled = nullptr;  // ends the run early when it turns true
};

struct ReadBenchmarkResult {
  std::uint64_t bytes = 0, operations = 0, blocks = 0;  // blocks: in all files
  double seconds = 0;
  // Of single reads, from submission to answer. For mmap: from the advice to the end of populating.
  LatencyHistogram latency;
  std::int64_t device_bytes = -1;                  // that the kernel read from devices for this process meanwhile; -1: it does not say
  io::ReaderKind reader = io::ReaderKind::kUring;  // what served, after any fallback
  std::string fallback;                            // why that is not what was asked for
};

// Errors: kInvalidArgument (naming the option; files with no whole block), kNotFound, kIoError, kOutOfMemory, kTruncated.
Result<ReadBenchmarkResult> read_benchmark(const ReadBenchmarkOptions& options);

}  // namespace headrace::pipeline
