// Decoded blocks shared by the processes of one user on one machine: what one has decoded, the others find.
//
// Each process copies blocks that it decodes into segments of sealed memory (storage/sealed_memory.h) and hands their descriptors round.
// One of the processes listens on a socket without a file (an abstract name of user and group); the others connect; whoever finds nobody
// listening begins to. When the listener ends, however it does, the others find that out and one of them takes its place.
//
// Trust:    peers of another user are turned away. A segment is mapped only if it is sealed for good and as long as said; its index is
//           checked against its size; a block is hashed before its first use. What fails is dropped, and counted in Stats::rejected.
// Memory:   own segments count in the BlockCache's budget while the process has any dataset that shares; those of others in theirs.
//           Nothing is evicted: where the budget is full, no more is shared. Over random orders a fixed share of the blocks finds as much.
// Threads:  find() and offer() from any; neither waits for a peer. One service thread, from shared() until the last holder lets go.
// Locks:    one for the index, one for the segment being filled; neither is held with another.
// Forking:  the child's shared() makes its own; descriptors are closed there.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "headrace/base/bytes.h"
#include "headrace/codec/checksum.h"
#include "headrace/io/block_cache.h"

namespace headrace::io {

class NodeCache {
 public:
  // The process's, made if no one holds it. `group` separates those who do not share. Null where the system cannot share.
  static std::shared_ptr<NodeCache> shared(BlockCache& cache, const std::string& group);
  ~NodeCache();
  NodeCache(const NodeCache&) = delete;
  NodeCache& operator=(const NodeCache&) = delete;

  // A block that any process has shared, null if there is none of this size.
  BlockHandle find(const codec::Uuid& shard, std::uint64_t block, std::size_t size);
  // Copies a decoded block for the others, if there is room. `key` is its place in the BlockCache, given up once it is shared.
  void offer(const codec::Uuid& shard, std::uint64_t block, Bytes bytes, const BlockKey& key);

  struct Stats {
    std::uint64_t segments = 0, blocks = 0;  // known
    std::uint64_t shared_bytes = 0;          // of own segments
    std::uint64_t hits = 0;                  // blocks found
    std::uint64_t rejected = 0;              // messages, segments and blocks that were not what they should be
    std::uint64_t peers = 0;                 // connected now
    bool listens = false;
  };
  Stats stats() const;

 private:
  struct State;
  explicit NodeCache(std::shared_ptr<State> state);
  std::shared_ptr<State> state_;  // with the service thread
};

}  // namespace headrace::io
