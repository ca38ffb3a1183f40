// The part of BlockCache that says which blocks stay: when each is wanted again, and what goes to make room.
#include <algorithm>
#include <new>

#include "headrace/io/block_cache_stripe.h"

namespace headrace::io {
namespace {

constexpr std::uint64_t kFar = CacheReader::kNever;

}  // namespace

// -- when a block is wanted ----------------------------------------------------------------------------------------------------------

BlockCache::Place BlockCache::place_of(std::uint64_t owner, const BlockUse& use) const {
  Place nearest;
  if (use.rows.count == 0) return nearest;
  std::uint64_t best = kFar;
  std::lock_guard lock(readers_mutex_);
  const auto found = readers_.find(owner);
  if (found == readers_.end()) return nearest;
  for (const auto& reader : found->second) {
    const Place place{reader.get(), reader->next_use(use.rows, reader.get() == use.reader ? use.after : reader->now())};
    if (place.next == CacheReader::kUnknown) continue;
    const std::uint64_t far = distance(place);
    if (nearest.reader != nullptr && far >= best) continue;
    nearest = place;
    best = far;
  }
  return nearest;
}

// In bytes. REQUIRES: place.reader is not null.
std::uint64_t BlockCache::distance(const Place& place) const {
  if (place.next == kFar) return kFar;
  const std::uint64_t now = place.reader->now(), clock = clock_.load(std::memory_order_relaxed), used_at = place.reader->used_at();
  const std::uint64_t rest = clock > used_at ? clock - used_at : 0;
  return rest + (place.next <= now
                     ? 0
                     : static_cast<std::uint64_t>(std::min(4e18, static_cast<double>(place.next - now) * place.reader->step_bytes())));
}

// Of a block that comes in.
std::uint64_t BlockCache::distance_of(std::uint64_t owner, const BlockUse& use) const {
  const Place place = place_of(owner, use);
  if (place.reader != nullptr) return distance(place);
  return use.keep == Keep::kEvict ? 0 : kFar;
}

// Files the blocks used lately under the time of their next use. REQUIRES: s.mutex held.
void BlockCache::settle(Stripe& s) {
  for (auto& [reader, times] : s.foretold) {
    // What was foretold and did not happen: a block left out at an epoch's end, or read in another order than foretold.
    const std::uint64_t slack = reader->slack();
    while (!times.empty() && times.begin()->first < kFar - slack && times.begin()->first + slack < reader->now()) {
      Entry& late = *times.begin()->second;
      leave(s, late);
      if (late.use.reader == reader) late.use.after = std::max(late.use.after, reader->now());
      late.enter(Entry::In::kFresh, s.fresh, s.fresh.end());
    }
  }
  while (!s.fresh.empty()) {
    file(s, *s.fresh.back());
  }
}

void BlockCache::file(Stripe& s, Entry& entry) const {
  leave(s, entry);
  try {
    entry.place = place_of(entry.key.owner, entry.use);
    if (entry.place.reader != nullptr) {
      s.foretold[entry.place.reader].emplace(entry.place.next, &entry);
      entry.in = Entry::In::kForetold;
      return;
    }
  } catch (const std::bad_alloc&) {  // Then it ages.
  }
  entry.enter(Entry::In::kAges, s.ages, s.ages.begin());
}

// The settled entry that goes first, or null. REQUIRES: s.mutex held.
BlockCache::Entry* BlockCache::furthest(Stripe& s, std::uint64_t* far) const {
  Entry* out = nullptr;
  if (!s.ages.empty()) {
    out = s.ages.back();
    *far = clock_.load(std::memory_order_relaxed) - out->used_at;
  }
  for (const auto& [reader, times] : s.foretold) {
    if (times.empty()) continue;
    const std::uint64_t its = distance({reader, times.rbegin()->first});
    if (out != nullptr && its <= *far) continue;
    out = times.rbegin()->second;
    *far = its;
  }
  return out;
}

// -- room ----------------------------------------------------------------------------------------------------------------------------

// Drops the block that is wanted last, if that is after `closer`. False if there is none.
bool BlockCache::evict(std::optional<std::uint64_t> closer) {
  Stripe* last = nullptr;
  std::uint64_t most = 0;
  for (Stripe& s : *stripes_) {
    std::lock_guard lock(s.mutex);
    settle(s);
    std::uint64_t far = 0;
    if (furthest(s, &far) == nullptr || (last != nullptr && far <= most)) continue;
    last = &s;
    most = far;
  }
  if (last == nullptr || (closer.has_value() && most <= *closer)) return false;
  BlockHandle dropped;  // Freed after the lock.
  std::lock_guard lock(last->mutex);
  settle(*last);
  Entry* entry = furthest(*last, &most);
  if (entry == nullptr) return true;  // Another thread took it: there is room.
  dropped = std::move(entry->block);
  bytes_.fetch_sub(cost(dropped->size));
  evictions_.fetch_add(1, std::memory_order_relaxed);
  leave(*last, *entry);
  last->entries.erase(BlockKey(entry->key));
  return true;
}

bool BlockCache::take_room(std::size_t wanted, std::uint64_t owner, const BlockUse& use) {
  if (use.reader != nullptr) use.reader->used(clock_.load(std::memory_order_relaxed));  // It does not rest.
  std::optional<std::uint64_t> far;
  std::size_t now = bytes_.load();
  while (true) {
    const std::size_t capacity = capacity_bytes();
    if (wanted > capacity) break;
    if (now <= capacity - wanted) {
      if (bytes_.compare_exchange_weak(now, now + wanted)) return true;
      continue;
    }
    if (!far.has_value()) far = distance_of(owner, use);
    if (*far == kFar || !evict(far)) break;
    now = bytes_.load();
  }
  refusals_.fetch_add(1, std::memory_order_relaxed);
  const std::uint64_t clock = clock_.fetch_add(wanted, std::memory_order_relaxed) + wanted;
  if (use.reader != nullptr) {
    use.reader->come_to(use.after);
    use.reader->used(clock);
  }
  return false;
}

void BlockCache::trim() {
  while (bytes() > capacity_bytes() && evict(std::nullopt)) {
  }
}

void BlockCache::failed() {
  failures_.fetch_add(1, std::memory_order_relaxed);
  {
    std::lock_guard lock(budget_mutex_);
    most_bytes_ = std::min(most_bytes_, bytes() / 2);
  }
  set_budget();
}

Status BlockCache::allocate(CachedBlock& block, std::size_t size) {
  block.data = memory_.allocate(size);
  while (block.data == nullptr && bytes() > 0) {
    failed();
    block.data = memory_.allocate(size);
  }
  if (block.data == nullptr) return {Code::kOutOfMemory, strf("allocate %zu bytes for a decoded block: out of memory", size)};
  block.size = size;
  return Status::ok();
}

std::shared_ptr<CachedBlock> BlockCache::room_for(const BlockKey& key, std::size_t size, const BlockUse& use) {
  if (size > capacity_bytes() || !take_room(cost(size), key.owner, use)) return nullptr;
  std::shared_ptr<CachedBlock> block;
  try {
    block = std::make_shared<CachedBlock>();
    block->data = memory_.allocate(size);
  } catch (const std::bad_alloc&) {
    block = nullptr;
  }
  if (block == nullptr || block->data == nullptr) {
    bytes_.fetch_sub(cost(size));
    failed();
    return nullptr;
  }
  block->size = size;
  block->reserved = cost(size);
  return block;
}

}  // namespace headrace::io
