// Decoded blocks of all datasets of the process, kept while they fit one byte budget. What is needed furthest in the future goes first.
//
// Blocks of a reader whose order is known (io/cache_reader.h) are compared by the bytes that it reads before it comes back to them
// (Belady's rule; of several readers of one dataset the nearest counts), and those that others read since it last read any: a loader that
// rests is expected to rest as long again. A block that comes back later than everything kept is not taken in. Blocks whose next use nobody
// knows are expected after as many bytes as they have been unused: least recently used first.
//
// Budget:   set_capacity(), or else what reserve() was given for each owner, a fourth of the memory at most.
// Owns:     the blocks. A handle keeps its block alive after it was dropped from the cache. An owner's blocks go with drop().
// Threads:  any. One thread makes a block while others that want it wait (it is decoded once).
// Locks:    one mutex a stripe, never held while a block is made, nor with another stripe's; under it that of the readers' list.
// Memory:   a block that cannot be allocated halves the budget for good and is counted in Stats::failures; nobody gets an error for it.
// Forking:  a cache made before fork() must not be used in the child (a stripe may be locked for ever); shared() makes a new one there.
#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <unordered_map>
#include <utility>
#include <vector>

#include "headrace/base/bytes.h"
#include "headrace/base/status.h"
#include "headrace/io/cache_reader.h"
#include "headrace/storage/block_memory.h"

namespace headrace::io {

struct CachedBlock {
  storage::BlockMemory::Memory data;
  const std::uint8_t* shared = nullptr;  // in place of data: memory that others hold as well (NodeCache)
  std::size_t size = 0;
  std::size_t reserved = 0;  // bytes of the budget that room_for() took for it
  Bytes bytes() const { return {shared != nullptr ? shared : data.get(), size}; }
};
using BlockHandle = std::shared_ptr<const CachedBlock>;

class BlockCache {
 public:
  // This process's; never destroyed.
  static BlockCache& shared();
  // A cache of its own, of a fixed capacity.
  explicit BlockCache(std::size_t capacity_bytes);
  ~BlockCache();
  // The budget of this process and of children that it forks from now on; none: what reserve() brings.
  static void set_shared_capacity(std::optional<std::size_t> bytes);
  static std::optional<std::size_t> chosen_capacity();  // as it was set

  // The block under `key`, made by `make` if it is not there. `hit` (if given) says whether it was, or was being made. Who waited for a
  // block gets what its maker got, be it a failure or a block that is not kept.
  Result<BlockHandle> get(const BlockKey& key, const BlockUse& use, const std::function<Status(CachedBlock&)>& make, bool* hit = nullptr);
  // The block under `key` if it is there and made, else null: for who would rather make it in place than wait.
  BlockHandle try_get(const BlockKey& key, const BlockUse& use);
  // Memory for a block that is worth keeping, or null. Fill it, then put() it.
  std::shared_ptr<CachedBlock> room_for(const BlockKey& key, std::size_t size, const BlockUse& use);
  // Keeps a block that was made elsewhere, if there is room for it and none under this key.
  void put(const BlockKey& key, const BlockHandle& block, const BlockUse& use);
  // True if the block is there or being made now (it may go at any moment).
  bool contains(const BlockKey& key) const;

  // The block under `key`, if there is one, goes.
  void erase(const BlockKey& key);
  // Takes bytes of the budget for what is kept elsewhere, if they are free; they count until they are given back, whatever the budget is.
  bool lend(std::size_t bytes);
  void give_back(std::size_t bytes) { bytes_.fetch_sub(bytes); }

  // Memory for a block; drops what is kept and tries again where the system has none. Errors: kOutOfMemory.
  Status allocate(CachedBlock& block, std::size_t size);

  // A reader of an owner's blocks, from add to remove (which waits for no one: no use of it may follow).
  void add_reader(std::uint64_t owner, std::shared_ptr<const CacheReader> reader);
  void remove_reader(std::uint64_t owner, const CacheReader* reader);
  // What was foretold for this reader's blocks holds no longer: its order is another one now.
  void forget(const CacheReader* reader);

  // Raises what an owner brings to the budget to at least `bytes`.
  void reserve(std::uint64_t owner, std::size_t bytes);
  // An owner is gone: its blocks and what it brought.
  void drop(std::uint64_t owner);
  // A fixed budget, or none: then what reserve() brings. Blocks go until the rest fits.
  void set_capacity(std::optional<std::size_t> bytes);

  // Bytes of the blocks kept, and of keeping them; and of what was lent; never more than the capacity, but after it shrank below what is
  // lent.
  std::size_t bytes() const { return bytes_.load(std::memory_order_relaxed); }
  std::size_t capacity_bytes() const { return capacity_bytes_.load(std::memory_order_relaxed); }
  struct Stats {
    std::uint64_t hits = 0, misses = 0;  // of get() and try_get()
    std::uint64_t evictions = 0;         // blocks that went for others, or for a smaller budget
    std::uint64_t refusals = 0;          // blocks not taken in: too far in the future, or too large
    std::uint64_t failures = 0;          // allocations that failed
    std::uint64_t blocks = 0;
  };
  Stats stats() const;
  // What a block costs beside its bytes: map node, places in lists, control block. So that empty blocks cannot pile up without bound.
  static constexpr std::size_t kEntryBytes = 320;

 private:
  BlockCache();
  struct Made;
  struct Making;
  struct Entry;
  struct Stripe;
  struct Place {  // of a block in time: nobody's, or when its reader wants it
    const CacheReader* reader = nullptr;
    std::uint64_t next = 0;  // on the reader's clock
  };
  static constexpr std::size_t kStripes = 16;
  static std::size_t cost(std::size_t size) { return storage::BlockMemory::taken_bytes(size) + kEntryBytes; }
  Stripe& stripe(const BlockKey& key) const;
  void file(Stripe& s, Entry& entry) const;
  Place place_of(std::uint64_t owner, const BlockUse& use) const;
  std::uint64_t distance(const Place& place) const;
  std::uint64_t distance_of(std::uint64_t owner, const BlockUse& use) const;
  bool take_room(std::size_t bytes, std::uint64_t owner, const BlockUse& use);
  bool evict(std::optional<std::uint64_t> closer);
  void settle(Stripe& s);
  Entry* furthest(Stripe& s, std::uint64_t* distance) const;
  void keep(const BlockKey& key, const BlockHandle& block, const BlockUse& use);
  void touch(Stripe& s, Entry& entry, const BlockUse& use);
  static void leave(Stripe& s, Entry& entry);
  static void finish(Stripe& s, const BlockKey& key, Making& making);
  void failed();
  void set_budget();
  void trim();

  std::atomic<std::size_t> bytes_{0}, capacity_bytes_{0};
  std::atomic<std::uint64_t> clock_{0};  // bytes of all blocks that were used
  std::atomic<std::uint64_t> evictions_{0}, refusals_{0}, failures_{0};
  mutable std::mutex readers_mutex_;  // guards readers_
  std::unordered_map<std::uint64_t, std::vector<std::shared_ptr<const CacheReader>>> readers_;
  std::mutex budget_mutex_;  // guards what follows; never held with another
  std::optional<std::size_t> fixed_bytes_;
  std::unordered_map<std::uint64_t, std::size_t> brought_;
  std::size_t most_bytes_ = ~std::size_t{0};
  storage::BlockMemory memory_;
  std::unique_ptr<std::array<Stripe, kStripes>> stripes_;
};

}  // namespace headrace::io
