// Decoded blocks, kept while they fit a byte budget, least recently used out first.
//
// Owns:     the blocks. A handle keeps its block alive after it was dropped from the cache.
// Threads:  any. One thread makes a block while others that want it wait (it is decoded once).
// Locks:    one mutex a stripe; never held while a block is made.
// Forking:  a cache made before fork() must not be used in the child (a stripe may be locked for ever).
#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "headrace/base/bytes.h"
#include "headrace/base/status.h"

namespace headrace::io {

struct CachedBlock {
  std::unique_ptr<std::uint8_t[]> data;
  std::size_t size = 0;
  Bytes bytes() const { return {data.get(), size}; }
};
using BlockHandle = std::shared_ptr<const CachedBlock>;

// kIfRoom: only where nothing else has to go. Blocks that come back after everything else did (any order over more than fits) gain
// nothing from pushing each other out: what stays is as good as what comes.
enum class Keep : std::uint8_t { kIfRoom, kEvict };

class BlockCache {
 public:
  explicit BlockCache(std::size_t capacity_bytes);

  // The block under `key`, made by `make` if it is not there. `hit` (if given) says whether it was, or was being made. Who waited for a
  // block gets what its maker got, be it a failure or a block too large to keep; neither is kept.
  Result<BlockHandle> get(std::uint64_t key, const std::function<Status(CachedBlock&)>& make, bool* hit = nullptr);
  // The block under `key` if it is there and made, else null: for who would rather make it in place than wait.
  BlockHandle try_get(std::uint64_t key);
  // Keeps a block that was made elsewhere, unless one is there already, or its room would have to come from others and `keep` says no.
  void put(std::uint64_t key, const BlockHandle& block, Keep keep);
  // Whether put() could keep a block of this size now; so that nobody makes a copy in vain.
  bool would_keep(std::uint64_t key, std::size_t size, Keep keep) const;
  // True if the block is there or being made now (it may go at any moment).
  bool contains(std::uint64_t key) const;

  // Bytes of the blocks kept, and of keeping them; never more than the capacity.
  std::size_t bytes() const;
  std::size_t capacity_bytes() const { return capacity_bytes_.load(std::memory_order_relaxed); }
  // Raises the budget to at least `capacity_bytes`; it never shrinks, since several readers share one cache.
  void reserve(std::size_t capacity_bytes);

 private:
  // A block on its way; its maker and those that wait for it share it.
  struct Making {
    bool done = false;
    Status status;
    BlockHandle block;
  };
  struct Entry {
    BlockHandle block;               // null while being made
    std::shared_ptr<Making> making;  // null once it is made
    std::list<std::uint64_t>::iterator age;
  };
  struct Stripe {
    mutable std::mutex mutex;
    std::condition_variable made;
    std::unordered_map<std::uint64_t, Entry> entries;
    std::list<std::uint64_t> ages;  // most recently used first; only finished blocks
    std::size_t bytes = 0;
  };
  static void finish(Stripe& s, std::uint64_t key, Making& making);
  void keep(Stripe& s, std::uint64_t key, const BlockHandle& block);
  static constexpr std::size_t kStripes = 16;
  // What a block costs beside its bytes: map node, age, control block. So that empty blocks cannot pile up without bound.
  static constexpr std::size_t kEntryBytes = 192;
  static std::size_t cost(const CachedBlock& block) { return block.size + kEntryBytes; }
  Stripe& stripe(std::uint64_t key) const { return stripes_[(key * 0x9E3779B97F4A7C15ull) >> 60]; }
  std::atomic<std::size_t> capacity_bytes_;
  mutable std::array<Stripe, kStripes> stripes_;
};

}  // namespace headrace::io
