// Reads under way without a thread that waits for each: ranges are queued by any thread, and a callback runs when a group is there.
//
// uring, direct: one thread with one ring of `depth` reads in flight, whoever queued them: so the device sees depth even where each batch
// is small. pread, and where rings are refused: `threads` threads; of the first `depth` reads that wait the kernel is told to start now.
//
// Owns:     its threads, started when first needed and retired after 30 s without work; the ring. Files are shared, memory is borrowed
//           until the callback.
// Threads:  any thread may call anything. Callbacks run on the queue's threads: they must be short and must neither block nor throw.
// Locks:    one mutex around what waits; not held while reading or calling back.
// Forking:  shared() in a child is a new queue; the parent's is abandoned.
// Exit:     shared() is never destroyed, so nothing joins at exit.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "headrace/base/bytes.h"
#include "headrace/base/status.h"
#include "headrace/io/read_engine.h"
#include "headrace/storage/file.h"

namespace headrace::io {

// One range of one file.
struct RangeRead {
  std::shared_ptr<const storage::File> file;
  std::uint64_t offset = 0;
  MutableBytes out;
  std::size_t needed = 0;  // leading bytes of `out` that must be there; the file may end in the rest
  bool direct = false;     // the file was opened with O_DIRECT: offset, length and memory are multiples of kDirectAlign
  Status status;           // when done
  bool retried = false;    // EIO was met once, and the second try counted
};

class ReadQueue {
 public:
  using Done = std::function<void(std::span<RangeRead>)>;
  static constexpr unsigned kDepth = 128;
  static constexpr int kThreads = 8;
  static constexpr unsigned kMaxDepth = 1024;

  // REQUIRES: kind is not kMmap; 1 <= depth <= kMaxDepth; 1 <= threads <= 1024.
  ReadQueue(ReaderKind kind, unsigned depth, int threads);
  ~ReadQueue();  // Finishes what is queued. Only queues of tests and benchmarks are ever destroyed.
  ReadQueue(const ReadQueue&) = delete;
  ReadQueue& operator=(const ReadQueue&) = delete;

  // The process's queue for a kind and a device (of stat()): so what hangs on one device holds up nothing on another. Of more than
  // kDevices of them, some share.
  static constexpr std::size_t kDevices = 8;
  static ReadQueue& shared(ReaderKind kind, std::uint64_t device);

  // Reads all ranges, first in first out, and calls `done` with them. Where the system refuses the queue its thread, both happen here.
  // Throws std::bad_alloc, and `done` is not called, where there is no memory for it.
  void submit(std::vector<RangeRead> ranges, Done done);
  // errno with which the system refuses rings, if this queue wanted one; else 0. Some refuse only once there is something to read.
  int refusal() const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace headrace::io
