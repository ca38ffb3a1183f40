// Reads whole chunks before the batches that need them, where the order takes one window of chunks after the other.
//
// Positional readers: a chunk's pages come in one read each, into memory of their own (a ChunkImage), which batches share until the window
// is over. Mapped ones: the kernel is told in time what will be needed, unless the files do not fit into memory (Dataset::stays_in_memory).
//
// Owns:     images of the chunks of the windows under way, and of those that follow, within a budget; a batch holds what it uses.
// Threads:  expect() by the consumer; all else by any. Images get ready on a thread of the ReadQueue.
// Locks:    one mutex for the books, one an image for who waits; none is held while reading or calling back.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <utility>
#include <vector>

#include "headrace/io/stored_bytes.h"
#include "headrace/pipeline/dataset.h"
#include "headrace/pipeline/order.h"

namespace headrace::pipeline {

// Calls `then` when done() was called as often as `count` says; on the thread of the last call.
class Countdown {
 public:
  Countdown(std::size_t count, std::function<void()> then) : left_(count), then_(std::move(then)) {}
  void done() {
    if (left_.fetch_sub(1, std::memory_order_acq_rel) == 1) then_();
  }

 private:
  std::atomic<std::size_t> left_;
  std::function<void()> then_;
};

// The pages of one chunk, of some fields, as stored.
class ChunkImage {
 public:
  ChunkImage(std::shared_ptr<std::atomic<std::uint64_t>> live_bytes, std::size_t fields);
  ~ChunkImage();
  ChunkImage(const ChunkImage&) = delete;
  ChunkImage& operator=(const ChunkImage&) = delete;

  // Calls countdown->done() when the bytes are there or have failed: now, or on the thread that brings them.
  void when_ready(const std::shared_ptr<Countdown>& countdown);
  const io::StoredBytes& bytes() const { return bytes_; }  // group 0; once ready
  // Whether the block table of a field (by its place in the pipeline's list) was checked in these bytes.
  std::atomic<bool>& table_checked(std::size_t out_field) { return tables_checked_[out_field]; }

 private:
  friend class ChunkAhead;
  void set_ready();
  io::StoredBytes bytes_;
  std::shared_ptr<std::atomic<std::uint64_t>> live_bytes_;
  std::uint64_t counted_bytes_ = 0;
  std::unique_ptr<std::atomic<bool>[]> tables_checked_;
  std::mutex mutex_;  // guards what follows
  bool ready_ = false;
  std::vector<std::shared_ptr<Countdown>> waiting_;
};

class ChunkAhead {
 public:
  // `order` takes_chunks(), `fields` are of `dataset`, which has no view of several rows; `slabs` outlives this.
  ChunkAhead(std::shared_ptr<const Dataset> dataset, std::vector<std::uint32_t> fields, std::shared_ptr<const Order> order,
             storage::SlabPool* slabs, std::shared_ptr<io::Counters> counters, std::uint64_t budget_bytes);

  // Null where that is not so, or two windows of `window_chunks` do not fit the budget.
  static std::shared_ptr<ChunkAhead> make(const std::shared_ptr<const Dataset>& dataset, const std::vector<std::uint32_t>& fields,
                                          const std::shared_ptr<const Order>& order, std::uint64_t window_chunks, storage::SlabPool* slabs,
                                          std::shared_ptr<io::Counters> counters, std::uint64_t budget_bytes);

  // Stored bytes of a window's chunks, of `fields`, about: from the first shard's index.
  static std::uint64_t window_bytes(const Dataset& dataset, const std::vector<std::uint32_t>& fields, std::uint64_t window_chunks);

  // A batch of these positions will be planned. Steps come in order. Cheap.
  void expect(std::uint64_t step, std::uint64_t begin, std::uint64_t count);
  // Starts reading what that batch needs, and what follows it as the budget allows. Never waits for a read of samples.
  void start(std::uint64_t step);
  // The image of a chunk, ready or not; null where there is none: who wants it reads by himself.
  std::shared_ptr<ChunkImage> find(std::uint32_t shard, std::uint64_t chunk);
  // The batch has taken its images: those that no later one needs are let go.
  void taken(std::uint64_t step);
  std::uint64_t live_bytes() const { return live_bytes_->load(std::memory_order_relaxed); }

 private:
  using Starting = std::vector<std::pair<std::shared_ptr<ChunkImage>, io::ShardSource*>>;  // to be read once unlocked
  void plan(std::uint64_t step, Starting& starting);                                       // under mutex_
  struct Expected {
    std::uint64_t step, first_slot, end_slot;
  };
  struct Started {
    std::uint64_t slot, key, bytes;
  };
  struct Chunk {
    io::ShardSource* source = nullptr;
    std::uint64_t chunk = 0, key = 0;
  };
  static std::uint64_t key_of(std::uint32_t shard, std::uint64_t chunk) { return static_cast<std::uint64_t>(shard) << 40 | chunk; }
  Chunk chunk_at(std::uint64_t slot) const;
  std::uint64_t advise(const Chunk& chunk) const;
  std::shared_ptr<ChunkImage> make_image(const Chunk& chunk);
  void read(const std::shared_ptr<ChunkImage>& image, const io::ShardSource& source);

  std::shared_ptr<const Dataset> dataset_;
  std::vector<std::uint32_t> fields_;
  std::shared_ptr<const Order> order_;
  storage::SlabPool* slabs_;
  std::shared_ptr<io::Counters> counters_;  // with reads under way
  std::uint64_t budget_bytes_;
  std::shared_ptr<std::atomic<std::uint64_t>> live_bytes_ = std::make_shared<std::atomic<std::uint64_t>>(0);     // of images
  std::shared_ptr<std::atomic<std::uint64_t>> pending_bytes_ = std::make_shared<std::atomic<std::uint64_t>>(0);  // of those under way
  std::mutex mutex_;                                                                                             // guards what follows
  std::deque<Expected> expected_;
  std::deque<Started> started_;  // by slot
  std::unordered_map<std::uint64_t, std::shared_ptr<ChunkImage>> images_;
  std::uint64_t first_slot_ = 0, next_slot_ = 0, end_slot_ = 0;  // in use from; to start next; wanted by batches up to
  std::uint64_t started_bytes_ = 0;
};

}  // namespace headrace::pipeline
