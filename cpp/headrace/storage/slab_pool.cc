#include "headrace/storage/slab_pool.h"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cerrno>
#include <limits>
#include <map>
#include <new>
#include <set>
#include <utility>
#include <vector>

#include "headrace/base/bytes.h"
#include "headrace/base/fork.h"
#include "headrace/base/placement.h"
#include "headrace/storage/kernel.h"

namespace headrace::storage {
namespace {

constexpr std::size_t kHugePageBytes = std::size_t{2} << 20;
constexpr std::size_t kMaxSlabBytes = std::numeric_limits<std::size_t>::max() / 4;

// Eight sizes an octave, so that a slab is at most an eighth larger than what was asked for, or one page.
std::size_t size_class(std::size_t bytes) {
  const std::size_t step = std::max(page_bytes(), std::bit_floor(std::max<std::size_t>(bytes, 1)) / 8);
  return round_up(std::max<std::size_t>(bytes, 1), step);
}

// Largest slab that serves a request: the next size up may be reused too, but at most a quarter is wasted, or one page.
std::size_t largest_fit(std::size_t bytes) { return std::max(size_class(bytes), bytes + bytes / 4); }

Status out_of_memory(std::size_t bytes) {
  return {Code::kOutOfMemory, strf("map a slab of %zu bytes: the system has no memory left; use smaller batches or less prefetch", bytes),
          ENOMEM};
}

// Maps `bytes` so that they start at a multiple of `alignment`, a multiple of a page; null if the system refuses.
void* map_aligned(std::size_t bytes, std::size_t alignment) {
  const std::size_t padded = bytes + alignment - page_bytes();
  void* whole = ::mmap(nullptr, padded, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (whole == MAP_FAILED) return nullptr;
  const auto begin = reinterpret_cast<std::uintptr_t>(whole);
  const std::uintptr_t aligned = round_up(begin, alignment);
  if (aligned != begin) ::munmap(whole, aligned - begin);
  if (aligned + bytes != begin + padded) ::munmap(reinterpret_cast<void*>(aligned + bytes), begin + padded - aligned - bytes);
  return reinterpret_cast<void*>(aligned);
}

}  // namespace

Result<std::unique_ptr<Slab>> Slab::allocate(std::size_t bytes) {
  if (bytes > kMaxSlabBytes) return out_of_memory(bytes);
  const std::size_t capacity = round_up(std::max<std::size_t>(bytes, 1), page_bytes());
  const bool huge = capacity >= kHugePageBytes;
  std::unique_ptr<Slab> slab(new Slab());
  slab->generation_ = fork_generation();
  void* data = map_aligned(capacity, huge ? kHugePageBytes : page_bytes());
  if (data == nullptr) return out_of_memory(capacity);
  if (huge) prefer_huge_pages(data, capacity);
  current_placement().apply_to_memory(data, capacity);
  slab->data_ = static_cast<std::uint8_t*>(data);
  slab->capacity_ = capacity;
  return slab;
}

Slab::~Slab() {
  if (data_ == nullptr) return;
  // A device runtime does not survive a fork: the child only drops its copy of the mapping.
  if (lock_.is_locked() && generation_ == fork_generation()) lock_.unlock(data_);
  ::munmap(data_, capacity_);
}

bool Slab::lock_pages() {
  std::lock_guard lock(lock_mutex_);
  if (lock_.is_locked()) return true;
  if (generation_ != fork_generation() || !lock_.lock(data_, capacity_)) return false;
  page_locked_.store(true);
  return true;
}

struct SlabPool::State {
  const std::uint64_t generation = fork_generation();
  mutable std::mutex mutex;
  std::atomic<std::size_t> total_bytes = 0;
  std::size_t keep_bytes = 0;
  std::size_t keep_locked_bytes = 0;
  std::size_t free_bytes = 0;
  std::uint64_t next_return = 0;
  std::map<std::uint64_t, std::unique_ptr<Slab>> by_return;     // oldest first
  std::set<std::pair<std::size_t, std::uint64_t>> by_capacity;  // (capacity, key of by_return)
  Counters counts;

  bool forked() const { return generation != fork_generation(); }

  // Of free slabs, so many bytes may stay. REQUIRES: mutex held.
  std::size_t kept_bytes() const {
    const std::size_t total = total_bytes.load();
    return std::max(keep_bytes, total > counts.leased_bytes ? total - counts.leased_bytes : 0);
  }

  // Takes the slab that fits best, the latest returned among equals (its bytes may still be in a cache); null if none fits.
  // REQUIRES: mutex held.
  std::unique_ptr<Slab> take(std::size_t bytes) {
    const auto fit = by_capacity.lower_bound({bytes, 0});
    if (fit == by_capacity.end() || fit->first > largest_fit(bytes)) return nullptr;
    const auto latest = std::prev(by_capacity.upper_bound({fit->first, std::numeric_limits<std::uint64_t>::max()}));
    auto node = by_return.extract(latest->second);
    by_capacity.erase(latest);
    free_bytes -= node.mapped()->capacity();
    return std::move(node.mapped());
  }

  // Removes the oldest free slabs until the rest fit kept_bytes(). REQUIRES: mutex held. The caller destroys them unlocked.
  std::vector<std::unique_ptr<Slab>> surplus() {
    std::vector<std::unique_ptr<Slab>> out;
    while (free_bytes > kept_bytes() && !by_return.empty()) {
      const auto oldest = by_return.begin();
      const std::size_t capacity = oldest->second->capacity();
      try {
        out.push_back(std::move(oldest->second));
      } catch (const std::bad_alloc&) {  // Unmapped below, under the lock: slower, and no worse.
      }
      by_capacity.erase({capacity, oldest->first});
      by_return.erase(oldest);
      free_bytes -= capacity;
      counts.bytes -= capacity;
    }
    return out;
  }

  // Puts a slab on the free list. False if there is no memory for the list itself. REQUIRES: mutex held.
  bool put(std::unique_ptr<Slab>& slab) {
    const std::size_t capacity = slab->capacity();
    const std::uint64_t key = next_return++;
    try {
      by_return.emplace(key, nullptr);
      by_capacity.emplace(capacity, key);
    } catch (const std::bad_alloc&) {
      by_return.erase(key);
      return false;
    }
    by_return[key] = std::move(slab);
    free_bytes += capacity;
    return true;
  }
};

// Ends a lease. Holds a share of the state, so the pool may be gone by then.
struct SlabPool::Return {
  std::shared_ptr<State> state;

  void operator()(Slab* raw) const {
    if (state->forked()) return;  // Leaked: the parent's lock may be held for ever in this process.
    std::unique_ptr<Slab> slab(raw);
    std::vector<std::unique_ptr<Slab>> dropped;
    std::lock_guard lock(state->mutex);  // Released before `dropped` and `slab` unmap their memory.
    state->counts.leased_bytes -= slab->capacity();
    if (slab->page_locked()) state->keep_bytes = std::max(state->keep_bytes, state->keep_locked_bytes);
    if (slab->capacity() > state->kept_bytes() || !state->put(slab)) {
      state->counts.bytes -= slab->capacity();
      return;
    }
    dropped = state->surplus();
  }
};

SlabPool::SlabPool(std::size_t keep_bytes, std::size_t keep_locked_bytes) : state_(std::make_shared<State>()) {
  state_->keep_bytes = keep_bytes;
  state_->keep_locked_bytes = keep_locked_bytes;
}

SlabPool::~SlabPool() {
  if (state_->forked()) {
    new std::shared_ptr<State>(std::move(state_));  // Leaked on purpose: it may be half changed.
    return;
  }
  std::vector<std::unique_ptr<Slab>> dropped;
  std::lock_guard lock(state_->mutex);
  state_->keep_bytes = state_->keep_locked_bytes = 0;
  state_->total_bytes = 0;
  dropped = state_->surplus();
}

Result<Lease> SlabPool::acquire(std::size_t bytes) {
  if (state_->forked()) return Status(Code::kForked, "acquire a slab: the pool belongs to the parent process; make one after the fork");
  if (bytes > kMaxSlabBytes) return out_of_memory(bytes);
  std::unique_ptr<Slab> slab;
  {
    std::lock_guard lock(state_->mutex);
    slab = state_->take(bytes);
    if (slab != nullptr) {
      ++state_->counts.reused;
      state_->counts.leased_bytes += slab->capacity();
    }
  }
  if (slab == nullptr) {
    HR_ASSIGN_OR_RETURN(slab, Slab::allocate(size_class(bytes)));
    std::vector<std::unique_ptr<Slab>> dropped;
    std::lock_guard lock(state_->mutex);
    ++state_->counts.made;
    state_->counts.bytes += slab->capacity();
    state_->counts.leased_bytes += slab->capacity();
    dropped = state_->surplus();
  }
  return Lease(slab.release(), Return{state_});
}

void SlabPool::keep_total(std::size_t bytes) {
  std::size_t now = state_->total_bytes.load();
  while (bytes > now && !state_->total_bytes.compare_exchange_weak(now, bytes)) {
  }
}

SlabPool::Counters SlabPool::counters() const {
  if (state_->forked()) return {};
  std::lock_guard lock(state_->mutex);
  return state_->counts;
}

}  // namespace headrace::storage
