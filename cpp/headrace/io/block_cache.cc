#include "headrace/io/block_cache.h"

namespace headrace::io {

BlockCache::BlockCache(std::size_t capacity_bytes) : capacity_bytes_(capacity_bytes) {}

Result<BlockHandle> BlockCache::get(std::uint64_t key, const std::function<Status(CachedBlock&)>& make, bool* hit) {
  Stripe& s = stripe(key);
  std::unique_lock lock(s.mutex);
  if (hit != nullptr) *hit = true;
  while (true) {
    const auto found = s.entries.find(key);
    if (found == s.entries.end()) break;
    if (found->second.block != nullptr) {
      s.ages.splice(s.ages.begin(), s.ages, found->second.age);
      return found->second.block;
    }
    s.made.wait(lock);  // Then look again: making may have failed, or the block may be gone already.
  }
  if (hit != nullptr) *hit = false;
  s.entries.emplace(key, Entry{});
  lock.unlock();

  auto block = std::make_shared<CachedBlock>();
  Status status = make(*block);

  lock.lock();
  s.made.notify_all();
  if (!status.is_ok()) {
    s.entries.erase(key);
    return status;
  }
  BlockHandle handle = std::move(block);
  // A block that outgrows its stripe's share is handed out and not kept.
  const std::size_t share = capacity_bytes() / kStripes;
  if (handle->size > share) {
    s.entries.erase(key);
    return handle;
  }
  while (s.bytes + handle->size > share) {
    const auto oldest = s.entries.find(s.ages.back());
    s.bytes -= oldest->second.block->size;
    s.entries.erase(oldest);
    s.ages.pop_back();
  }
  s.bytes += handle->size;
  s.ages.push_front(key);
  Entry& entry = s.entries[key];
  entry.block = handle;
  entry.age = s.ages.begin();
  return handle;
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
