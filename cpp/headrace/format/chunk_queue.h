// Sealed chunks on their way to disk: encoded on the pool, written in order into one shard after the other.
//
// Owns:     the open ShardWriter and the names of all files it made. Which shard a chunk belongs to is decided when it is
//           pushed, by the decoded bytes before it, so that no result depends on the timing of threads.
// Memory:   at most `threads + 2` chunks at a time; push() blocks while there are as many.
// Threads:  one caller at a time; tasks of ThreadPool::shared() encode, and whichever of them finishes the next chunk in
//           sequence writes it.
// Locks:    mutex_ guards all members below it; never held while encoding, writing or submitting.
// Forking:  not in a child: leak it there.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "headrace/base/status.h"
#include "headrace/base/thread_pool.h"
#include "headrace/format/shard_writer.h"

namespace headrace::format {

class ChunkQueue {
 public:
  ChunkQueue(std::string directory, int threads, std::uint64_t shard_bytes, const Limits& limits);
  ~ChunkQueue();  // Waits for tasks that run. Files already published stay; see remove_files().
  ChunkQueue(const ChunkQueue&) = delete;
  ChunkQueue& operator=(const ChunkQueue&) = delete;

  // Schema and samples a chunk of everything that is pushed from now on. Once, before the first push().
  void start(Schema schema, Dictionaries dictionaries, std::uint32_t chunk_samples);
  // Only the last chunk may hold fewer than chunk_samples. Errors: the first failure of any chunk, again and again.
  Status push(std::vector<ColumnChunk> columns, std::uint32_t num_samples);
  // Waits for all chunks and ends the open shard.
  Result<std::vector<ShardEntry>> finish();
  // Stops all work and removes every file that this queue made. Best effort: what cannot be removed is in no manifest.
  void remove_files();

  // Columns of a chunk that is encoded, for their memory; empty if there are none.
  std::vector<ColumnChunk> take_spare();
  std::uint64_t stored_bytes() const;
  std::uint64_t finished_shards() const;

 private:
  struct Job {
    std::uint64_t sequence = 0;
    codec::Uuid uuid{};
    std::uint64_t chunk = 0;  // in its shard
    bool ends_shard = false;
    std::uint32_t num_samples = 0;
    std::vector<ColumnChunk> columns;
  };
  struct Encoded {
    codec::Uuid uuid{};
    std::uint64_t chunk = 0;
    bool ends_shard = false;
    EncodedChunk bytes;
  };

  void encode(Job& job);
  void write_ready();
  Status write(Encoded chunk);
  Status end_shard();
  void fail(const Status& status);

  const std::string directory_;
  const std::uint64_t shard_bytes_;
  const Limits limits_;
  const int max_chunks_;
  Schema schema_;
  Dictionaries dictionaries_;
  std::uint32_t chunk_samples_ = 1;

  // Touched by the caller only: where the next chunk goes.
  codec::Uuid next_uuid_{};
  std::uint64_t next_chunk_ = 0, next_sequence_ = 0, shard_raw_bytes_ = 0;

  // Touched by the one thread that writes (or by the caller, once nobody does).
  std::unique_ptr<ShardWriter> shard_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::uint64_t, Encoded> ready_;
  std::vector<std::vector<ColumnChunk>> spare_;
  std::vector<std::string> files_;
  std::vector<ShardEntry> entries_;
  std::uint64_t next_write_ = 0;
  std::uint64_t finished_bytes_ = 0, open_bytes_ = 0;
  int chunks_ = 0;  // pushed and not written
  bool writing_ = false;
  Status error_;

  TaskGroup group_;  // Last: its tasks use all of the above.
};

}  // namespace headrace::format
