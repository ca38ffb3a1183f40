#include "headrace/io/block_cache.h"

#include <utility>

namespace headrace::io {

BlockCache::BlockCache(std::size_t capacity_bytes) : capacity_bytes_(capacity_bytes) {}

Result<BlockHandle> BlockCache::get(std::uint64_t key, const std::function<Status(CachedBlock&)>& make, bool* hit) {
  Stripe& s = stripe(key);
  std::unique_lock lock(s.mutex);
  const auto found = s.entries.find(key);
  if (hit != nullptr) *hit = found != s.entries.end();
  if (found != s.entries.end()) {
    if (found->second.block != nullptr) {
      s.ages.splice(s.ages.begin(), s.ages, found->second.age);
      return found->second.block;
    }
    const std::shared_ptr<Making> making = found->second.making;
    s.made.wait(lock, [&] { return making->done; });
    if (!making->status.is_ok()) return making->status;
    return making->block;
  }
  const auto making = std::make_shared<Making>();
  auto block = std::make_shared<CachedBlock>();
  s.entries.emplace(key, Entry{nullptr, making, {}});
  lock.unlock();

  try {
    making->status = make(*block);
  } catch (...) {  // Out of memory, as a rule: the others must not wait for ever.
    making->status = Status(Code::kOutOfMemory, "make a block: it was given up by the thread that made it");
    lock.lock();
    finish(s, key, *making);
    throw;
  }
  lock.lock();
  if (making->status.is_ok()) making->block = std::move(block);
  finish(s, key, *making);
  if (!making->status.is_ok()) return making->status;
  keep(s, key, making->block);
  return making->block;
}

void BlockCache::finish(Stripe& s, std::uint64_t key, Making& making) {
  making.done = true;
  s.entries.erase(key);
  s.made.notify_all();
}

void BlockCache::keep(Stripe& s, std::uint64_t key, const BlockHandle& block) {
  // A block that outgrows its stripe's share is handed out and not kept.
  const std::size_t share = capacity_bytes() / kStripes;
  if (block->size > share || cost(*block) > share) return;
  while (s.bytes + cost(*block) > share) {
    const auto oldest = s.entries.find(s.ages.back());
    s.bytes -= cost(*oldest->second.block);
    s.entries.erase(oldest);
    s.ages.pop_back();
  }
  s.ages.push_front(key);
  s.entries.emplace(key, Entry{block, nullptr, s.ages.begin()});
  s.bytes += cost(*block);
}

BlockHandle BlockCache::try_get(std::uint64_t key) {
  Stripe& s = stripe(key);
  std::lock_guard lock(s.mutex);
  const auto found = s.entries.find(key);
  if (found == s.entries.end() || found->second.block == nullptr) return nullptr;
  s.ages.splice(s.ages.begin(), s.ages, found->second.age);
  return found->second.block;
}

bool BlockCache::would_keep(std::uint64_t key, std::size_t size, Keep keep) const {
  const std::size_t share = capacity_bytes() / kStripes;
  if (size > share || size + kEntryBytes > share) return false;
  if (keep == Keep::kEvict) return true;
  const Stripe& s = stripe(key);
  std::lock_guard lock(s.mutex);
  return s.bytes + size + kEntryBytes <= share;
}

void BlockCache::put(std::uint64_t key, const BlockHandle& block, Keep keep) {
  if (!would_keep(key, block->size, keep)) return;
  Stripe& s = stripe(key);
  std::lock_guard lock(s.mutex);
  if (s.entries.contains(key)) return;
  if (keep == Keep::kIfRoom && s.bytes + cost(*block) > capacity_bytes() / kStripes) return;
  this->keep(s, key, block);
}

bool BlockCache::contains(std::uint64_t key) const {
  const Stripe& s = stripe(key);
  std::lock_guard lock(s.mutex);
  return s.entries.contains(key);
}

void BlockCache::reserve(std::size_t capacity_bytes) {
  std::size_t now = capacity_bytes_.load(std::memory_order_relaxed);
  while (now < capacity_bytes && !capacity_bytes_.compare_exchange_weak(now, capacity_bytes, std::memory_order_relaxed)) {
  }
}

std::size_t BlockCache::bytes() const {
  std::size_t total = 0;
  for (const Stripe& s : stripes_) {
    std::lock_guard lock(s.mutex);
    total += s.bytes;
  }
  return total;
}

}  // namespace headrace::io
