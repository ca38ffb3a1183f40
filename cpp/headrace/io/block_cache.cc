#include "headrace/io/block_cache.h"

#include <algorithm>
#include <new>

#include "headrace/base/cpu.h"
#include "headrace/base/fork.h"

namespace headrace::io {
namespace {

constexpr std::uint64_t kFar = CacheReader::kNever;

struct KeyHash {
  std::size_t operator()(const BlockKey& key) const { return (key.block + key.owner * 0xD1342543DE82EF95ull) * 0x9E3779B97F4A7C15ull; }
};

constexpr std::size_t kNotChosen = ~std::size_t{0};
std::atomic<std::size_t> chosen_bytes{kNotChosen};
constexpr std::size_t kSlackBytes = 16u << 20;  // of regions, beyond the budget: those half empty, and blocks that only handles hold

std::size_t quarter_of_memory() {
  static const std::size_t bytes = available_memory_bytes() / 4;
  return bytes;
}

}  // namespace

std::uint64_t new_owner() {
  static std::atomic<std::uint64_t> next{1};
  return next.fetch_add(1, std::memory_order_relaxed);
}

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
  std::unordered_map<BlockKey, Entry, KeyHash> entries;
  std::list<Entry*> fresh, ages;
  std::unordered_map<const CacheReader*, std::set<std::pair<std::uint64_t, Entry*>>> foretold;
  std::uint64_t hits = 0, misses = 0;
};

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

BlockCache::Stripe& BlockCache::stripe(const BlockKey& key) const { return (*stripes_)[KeyHash()(key) >> 60]; }

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

// -- blocks --------------------------------------------------------------------------------------------------------------------------

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

// -- readers, owners, budget -----------------------------------------------------------------------------------------------------------

void BlockCache::add_reader(std::uint64_t owner, std::shared_ptr<const CacheReader> reader) {
  std::lock_guard lock(readers_mutex_);
  readers_[owner].push_back(std::move(reader));
}

void BlockCache::remove_reader(std::uint64_t owner, const CacheReader* reader) {
  {
    std::lock_guard lock(readers_mutex_);
    const auto found = readers_.find(owner);
    if (found == readers_.end()) return;
    std::erase_if(found->second, [&](const auto& one) { return one.get() == reader; });
    if (found->second.empty()) readers_.erase(found);
  }
  forget(reader);
}

void BlockCache::forget(const CacheReader* reader) {
  for (Stripe& s : *stripes_) {
    std::lock_guard lock(s.mutex);
    for (Entry* entry : s.fresh) {
      if (entry->use.reader == reader) entry->use.reader = nullptr;
    }
    const auto times = s.foretold.find(reader);
    if (times == s.foretold.end()) continue;
    for (const auto& [time, entry] : times->second) {
      entry->enter(Entry::In::kFresh, s.fresh, s.fresh.end());
      entry->use.reader = nullptr;
    }
    s.foretold.erase(times);
  }
}

void BlockCache::reserve(std::uint64_t owner, std::size_t bytes) {
  {
    std::lock_guard lock(budget_mutex_);
    std::size_t& brought = brought_[owner];
    brought = std::max(brought, bytes);
  }
  set_budget();
}

void BlockCache::drop(std::uint64_t owner) {
  for (Stripe& s : *stripes_) {
    std::vector<BlockHandle> dropped;  // Freed after the lock.
    std::lock_guard lock(s.mutex);
    for (auto entry = s.entries.begin(); entry != s.entries.end();) {
      if (entry->first.owner != owner || entry->second.block == nullptr) {
        ++entry;
        continue;
      }
      leave(s, entry->second);
      bytes_.fetch_sub(cost(entry->second.block->size));
      dropped.push_back(std::move(entry->second.block));
      entry = s.entries.erase(entry);
    }
  }
  {
    std::lock_guard lock(budget_mutex_);
    brought_.erase(owner);
  }
  set_budget();
}

void BlockCache::set_capacity(std::optional<std::size_t> bytes) {
  {
    std::lock_guard lock(budget_mutex_);
    fixed_bytes_ = bytes;
    most_bytes_ = ~std::size_t{0};
  }
  set_budget();
}

void BlockCache::set_budget() {
  {
    std::lock_guard lock(budget_mutex_);
    std::size_t all = 0;
    for (const auto& [owner, bytes] : brought_) all = bytes > ~all ? ~std::size_t{0} : all + bytes;
    all = std::min<std::size_t>(all, quarter_of_memory());
    const std::size_t bytes = std::min(most_bytes_, fixed_bytes_.value_or(all));
    capacity_bytes_.store(bytes);
    memory_.set_limit(std::max(bytes, bytes + kSlackBytes));
  }
  trim();
}

BlockCache::Stats BlockCache::stats() const {
  Stats out;
  out.evictions = evictions_.load();
  out.refusals = refusals_.load();
  out.failures = failures_.load();
  for (const Stripe& s : *stripes_) {
    std::lock_guard lock(s.mutex);
    out.hits += s.hits;
    out.misses += s.misses;
    out.blocks += s.fresh.size() + s.ages.size();
    for (const auto& [reader, times] : s.foretold) out.blocks += times.size();
  }
  return out;
}

}  // namespace headrace::io
