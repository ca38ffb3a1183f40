#include "headrace/storage/block_memory.h"

#include <algorithm>
#include <bit>
#include <list>
#include <map>
#include <mutex>
#include <new>
#include <utility>
#include <vector>

#include "headrace/base/bytes.h"
#include "headrace/base/fork.h"
#include "headrace/storage/slab_pool.h"

namespace headrace::storage {
namespace {

constexpr std::size_t kRegionBytes = 4u << 20;
constexpr std::size_t kPage = 4096;

// Eight sizes an octave.
std::size_t slot_bytes(std::size_t bytes) { return round_up(bytes, std::max(kPage, std::bit_floor(bytes) / 8)); }

}  // namespace

struct BlockMemory::Region {
  std::shared_ptr<State> owner;
  std::unique_ptr<Slab> slab;
  std::size_t slot = 0;             // bytes
  std::vector<std::uint8_t*> free;  // slots
  // Its one node is in State::with_free while there are free slots, else here: listing it allocates nothing, so it cannot fail.
  std::list<std::weak_ptr<Region>> unlisted;
  std::list<std::weak_ptr<Region>>::iterator node;
  ~Region();
};

struct BlockMemory::State {
  const std::uint64_t generation = fork_generation();
  mutable std::mutex mutex;
  std::size_t limit = ~std::size_t{0};
  std::size_t bytes = 0;                                              // of regions
  std::map<std::size_t, std::list<std::weak_ptr<Region>>> with_free;  // by slot size

  bool forked() const { return generation != fork_generation(); }
};

BlockMemory::Region::~Region() {
  if (owner->forked()) {
    (void)slab.release();
    return;
  }
  std::lock_guard lock(owner->mutex);
  owner->bytes -= slab->capacity();
  if (unlisted.empty()) owner->with_free.find(slot)->second.erase(node);
}

// The region goes when the last of its slots does: each holds a share of it, and free slots hold none.
void BlockMemory::Return::operator()(std::uint8_t* data) const {
  if (region == nullptr) {
    delete[] data;
    return;
  }
  State& state = *region->owner;
  if (state.forked()) {
    new std::shared_ptr<Region>(region);  // Leaked on purpose.
    return;
  }
  std::lock_guard lock(state.mutex);
  region->free.push_back(data);
  if (region->unlisted.empty()) return;
  std::list<std::weak_ptr<Region>>& list = state.with_free.find(region->slot)->second;
  list.splice(list.begin(), region->unlisted);
}

BlockMemory::BlockMemory() : state_(std::make_shared<State>()) {}

BlockMemory::~BlockMemory() = default;

std::size_t BlockMemory::taken_bytes(std::size_t bytes) { return bytes < kSlotBytes ? bytes : slot_bytes(bytes); }

void BlockMemory::set_limit(std::size_t bytes) {
  std::lock_guard lock(state_->mutex);
  state_->limit = bytes;
}

std::size_t BlockMemory::region_bytes() const {
  std::lock_guard lock(state_->mutex);
  return state_->bytes;
}

BlockMemory::Memory BlockMemory::allocate(std::size_t bytes) {
  const auto plain = [&] { return Memory(new (std::nothrow) std::uint8_t[bytes]); };
  if (bytes < kSlotBytes || bytes > ~std::size_t{0} / 4) return plain();
  const std::size_t slot = slot_bytes(bytes);
  std::shared_ptr<Region> region;  // Dies after the lock.
  std::lock_guard lock(state_->mutex);
  std::list<std::weak_ptr<Region>>& list = state_->with_free[slot];
  if (!list.empty()) region = list.front().lock();  // Null: its last slot is just going back, and it takes itself off the list.
  if (region == nullptr) {
    const std::size_t size = std::max(kRegionBytes, slot);
    if (state_->bytes + size > state_->limit) return plain();
    auto slab = Slab::allocate(size);
    if (!slab.is_ok()) return plain();
    region = std::make_shared<Region>();
    region->owner = state_;
    region->slab = std::move(*slab);
    region->slot = slot;
    state_->bytes += region->slab->capacity();
    for (std::size_t at = size / slot; at > 0; --at) region->free.push_back(region->slab->data() + (at - 1) * slot);
    region->node = list.insert(list.begin(), region);
  }
  std::uint8_t* data = region->free.back();
  region->free.pop_back();
  if (region->free.empty()) region->unlisted.splice(region->unlisted.begin(), list, region->node);
  return {data, Return(region)};
}

}  // namespace headrace::storage
