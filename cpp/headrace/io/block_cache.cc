#include "headrace/io/block_cache.h"

#include <algorithm>
#include <new>

#include "headrace/base/fork.h"
#include "headrace/io/block_cache_stripe.h"

namespace headrace::io {
namespace {

constexpr std::size_t kNotChosen = ~std::size_t{0};
std::atomic<std::size_t> chosen_bytes{kNotChosen};

}  // namespace

std::uint64_t new_owner() {
  static std::atomic<std::uint64_t> next{1};
  return next.fetch_add(1, std::memory_order_relaxed);
}

BlockCache::BlockCache() : stripes_(std::make_unique<std::array<Stripe, kStripes>>()) { set_budget(); }

void BlockCache::set_shared_capacity(std::optional<std::size_t> bytes) {
  chosen_bytes.store(bytes.value_or(kNotChosen));
  shared().set_capacity(bytes);
}

std::optional<std::size_t> BlockCache::chosen_capacity() {
  const std::size_t bytes = chosen_bytes.load();
  return bytes == kNotChosen ? std::nullopt : std::optional<std::size_t>(bytes);
}

BlockCache::BlockCache(std::size_t capacity_bytes) : BlockCache() { set_capacity(capacity_bytes); }

BlockCache::~BlockCache() = default;

struct BlockCache::Made {
  std::uint64_t generation;
  BlockCache cache;
};

BlockCache& BlockCache::shared() {
  static std::atomic<Made*> made{nullptr};
  Made* seen = made.load(std::memory_order_acquire);
  while (seen == nullptr || seen->generation != fork_generation()) {
    auto* fresh = new Made{fork_generation(), {}};
    if (const std::size_t bytes = chosen_bytes.load(); bytes != kNotChosen) fresh->cache.set_capacity(bytes);
    if (made.compare_exchange_strong(seen, fresh, std::memory_order_acq_rel)) return fresh->cache;
    delete fresh;
  }
  return seen->cache;
}

BlockCache::Stripe& BlockCache::stripe(const BlockKey& key) const { return (*stripes_)[BlockKeyHash()(key) >> 60]; }

// REQUIRES: s.mutex held.
void BlockCache::leave(Stripe& s, Entry& entry) {
  if (entry.in == Entry::In::kFresh) entry.node.splice(entry.node.begin(), s.fresh, entry.at);
  if (entry.in == Entry::In::kAges) entry.node.splice(entry.node.begin(), s.ages, entry.at);
  if (entry.in == Entry::In::kForetold) s.foretold.find(entry.place.reader)->second.erase({entry.place.next, &entry});
  entry.in = Entry::In::kNothing;
}

// REQUIRES: s.mutex held, the entry holds a block.
void BlockCache::touch(Stripe& s, Entry& entry, const BlockUse& use) {
  entry.used_at = clock_.fetch_add(entry.block->size, std::memory_order_relaxed) + entry.block->size;
  const std::uint64_t after = use.reader == entry.use.reader ? std::max(use.after, entry.use.after) : use.after;
  entry.use = use;
  entry.use.after = after;
  if (use.reader != nullptr) {
    use.reader->come_to(after);
    use.reader->used(entry.used_at);
  }
  if (entry.in == Entry::In::kFresh) {
    s.fresh.splice(s.fresh.begin(), s.fresh, entry.at);
    return;
  }
  leave(s, entry);
  entry.enter(Entry::In::kFresh, s.fresh, s.fresh.begin());
}

Result<BlockHandle> BlockCache::get(const BlockKey& key, const BlockUse& use, const std::function<Status(CachedBlock&)>& make, bool* hit) {
  Stripe& s = stripe(key);
  std::unique_lock lock(s.mutex);
  const auto found = s.entries.find(key);
  if (hit != nullptr) *hit = found != s.entries.end();
  ++(found != s.entries.end() ? s.hits : s.misses);
  if (found != s.entries.end()) {
    if (found->second.block != nullptr) {
      touch(s, found->second, use);
      return found->second.block;
    }
    const std::shared_ptr<Making> making = found->second.making;
    s.made.wait(lock, [&] { return making->done; });
    if (!making->status.is_ok()) return making->status;
    return making->block;
  }
  const auto making = std::make_shared<Making>();
  auto block = std::make_shared<CachedBlock>();
  Entry& entry = s.entries[key];
  entry.key = key;
  entry.making = making;
  lock.unlock();

  try {
    making->status = make(*block);
  } catch (...) {  // Out of memory, as a rule: the others must not wait for ever.
    making->status = Status(Code::kOutOfMemory, "make a block: it was given up by the thread that made it");
    lock.lock();
    finish(s, key, *making);
    throw;
  }
  if (making->status.is_ok()) making->block = std::move(block);
  lock.lock();
  finish(s, key, *making);
  lock.unlock();
  if (!making->status.is_ok()) return making->status;
  put(key, making->block, use);
  return making->block;
}

void BlockCache::finish(Stripe& s, const BlockKey& key, Making& making) {
  making.done = true;
  s.entries.erase(key);
  s.made.notify_all();
}

BlockHandle BlockCache::try_get(const BlockKey& key, const BlockUse& use) {
  Stripe& s = stripe(key);
  std::lock_guard lock(s.mutex);
  const auto found = s.entries.find(key);
  const bool hit = found != s.entries.end() && found->second.block != nullptr;
  ++(hit ? s.hits : s.misses);
  if (!hit) return nullptr;
  touch(s, found->second, use);
  return found->second.block;
}

void BlockCache::put(const BlockKey& key, const BlockHandle& block, const BlockUse& use) {
  if (block->reserved == 0) {
    if (block->size > capacity_bytes() || contains(key) || !take_room(cost(block->size), key.owner, use)) return;
  }
  keep(key, block, use);
}

// REQUIRES: its cost was added to bytes_.
void BlockCache::keep(const BlockKey& key, const BlockHandle& block, const BlockUse& use) {
  Stripe& s = stripe(key);
  std::unique_lock lock(s.mutex);
  bool kept = false;
  try {
    const auto [place, added] = s.entries.try_emplace(key);
    kept = added;
    Entry& entry = place->second;
    if (added) {
      entry.node.push_back(&entry);
      entry.at = entry.node.begin();
      entry.key = key;
      entry.block = block;
      touch(s, entry, use);
    }
  } catch (const std::bad_alloc&) {
    if (kept) s.entries.erase(key);
    kept = false;
    failures_.fetch_add(1, std::memory_order_relaxed);
  }
  if (!kept) bytes_.fetch_sub(cost(block->size));
}

bool BlockCache::contains(const BlockKey& key) const {
  const Stripe& s = stripe(key);
  std::lock_guard lock(s.mutex);
  return s.entries.contains(key);
}

void BlockCache::erase(const BlockKey& key) {
  BlockHandle dropped;  // Freed after the lock.
  Stripe& s = stripe(key);
  std::lock_guard lock(s.mutex);
  const auto found = s.entries.find(key);
  if (found == s.entries.end() || found->second.block == nullptr) return;
  dropped = std::move(found->second.block);
  bytes_.fetch_sub(cost(dropped->size));
  leave(s, found->second);
  s.entries.erase(found);
}

bool BlockCache::lend(std::size_t bytes) {
  std::size_t now = bytes_.load();
  while (bytes <= capacity_bytes() && now <= capacity_bytes() - bytes) {
    if (bytes_.compare_exchange_weak(now, now + bytes)) return true;
  }
  return false;
}

}  // namespace headrace::io
