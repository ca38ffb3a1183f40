// What a BlockCache keeps of its blocks: entries in stripes, each with a mutex of its own. Only for the cache's sources.
//
// Locks: all of a Stripe, its entries too, is under its mutex; so is a Making that waits in it.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <set>
#include <unordered_map>
#include <utility>

#include "headrace/base/status.h"
#include "headrace/io/block_cache.h"

namespace headrace::io {

struct BlockKeyHash {
  std::size_t operator()(const BlockKey& key) const { return (key.block + key.owner * 0xD1342543DE82EF95ull) * 0x9E3779B97F4A7C15ull; }
};

// A block on its way; its maker and those that wait for it share it.
struct BlockCache::Making {
  bool done = false;
  Status status;
  BlockHandle block;
};

struct BlockCache::Entry {
  BlockKey key;
  BlockHandle block;               // null while being made
  std::shared_ptr<Making> making;  // null once it is made
  BlockUse use;                    // the latest
  Place place;
  std::uint64_t used_at = 0;  // on clock_
  enum class In { kNothing, kFresh, kAges, kForetold } in = In::kNothing;
  // Its one node: in the stripe's fresh or ages, else here. So moving it allocates nothing and cannot fail.
  std::list<Entry*> node;
  std::list<Entry*>::iterator at;

  void enter(In where, std::list<Entry*>& list, std::list<Entry*>::iterator before) {
    list.splice(before, node);
    in = where;
  }
};

// fresh: used since it was last looked at. ages: next use not known; most recently used first. foretold: by reader, by time.
// A hit only moves an entry to `fresh`: its next use is worked out when room is wanted, so it costs nothing where all fits.
struct BlockCache::Stripe {
  mutable std::mutex mutex;
  std::condition_variable made;
  std::unordered_map<BlockKey, Entry, BlockKeyHash> entries;
  std::list<Entry*> fresh, ages;
  std::unordered_map<const CacheReader*, std::set<std::pair<std::uint64_t, Entry*>>> foretold;
  std::uint64_t hits = 0, misses = 0;
};

}  // namespace headrace::io
