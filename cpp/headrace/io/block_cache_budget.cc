// The part of BlockCache that knows its readers, its owners and its budget.
#include <algorithm>

#include "headrace/base/cpu.h"
#include "headrace/io/block_cache_stripe.h"

namespace headrace::io {
namespace {

constexpr std::size_t kSlackBytes = 16u << 20;  // of regions, beyond the budget: those half empty, and blocks that only handles hold

std::size_t quarter_of_memory() {
  static const std::size_t bytes = available_memory_bytes() / 4;
  return bytes;
}

}  // namespace

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
