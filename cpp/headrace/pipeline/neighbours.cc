#include "headrace/pipeline/neighbours.h"

#include <algorithm>
#include <atomic>

#include "headrace/base/fork.h"

namespace headrace::pipeline {
namespace {

constexpr std::size_t kSeats = 256;
constexpr std::int64_t kLatelyNs = 1'000'000'000, kNever = -kLatelyNs;

struct alignas(64) Seat {
  std::atomic<std::uint64_t> loader{0};  // 0: free
  std::atomic<std::uint64_t> batches{0};
  std::atomic<std::int64_t> latest_ns{kNever};
  std::atomic<std::uintptr_t> consumer{0};  // its thread, at the latest batch
  std::atomic<std::int64_t> asked_ns{0};    // to search; 0: it does not ask
};

// No two threads that live have the same.
std::uintptr_t this_thread() {
  static thread_local char mark;
  return reinterpret_cast<std::uintptr_t>(&mark);
}

}  // namespace

struct LoaderSeat::Table {
  const std::uint64_t generation = fork_generation();
  std::array<Seat, kSeats> seats;
  std::atomic<std::size_t> used{0};  // seats that were ever taken are the first
  std::atomic<std::uint64_t> loaders{0};
  std::atomic<std::size_t> searcher{0};  // seat and 1; 0: nobody

  // Never freed. The parent's is left as it is.
  static Table& of_process() {
    static std::atomic<Table*> current{nullptr};
    const std::uint64_t generation = fork_generation();
    Table* seen = current.load(std::memory_order_acquire);
    while (seen == nullptr || seen->generation != generation) {
      auto* fresh = new Table;
      if (current.compare_exchange_strong(seen, fresh, std::memory_order_acq_rel)) return *fresh;
      delete fresh;  // Another thread was first.
    }
    return *seen;
  }
  bool delivers(std::size_t seat, std::int64_t now_ns) const {
    return seats[seat].loader.load(std::memory_order_relaxed) != 0 &&
           now_ns - seats[seat].latest_ns.load(std::memory_order_relaxed) < kLatelyNs;
  }
};

LoaderSeat::LoaderSeat() : table_(Table::of_process()) {
  const std::uint64_t loader = table_.loaders.fetch_add(1) + 1;
  for (; seat_ < kSeats; ++seat_) {
    std::uint64_t free = 0;
    if (!table_.seats[seat_].loader.compare_exchange_strong(free, loader)) continue;
    loader_ = loader;
    std::size_t used = table_.used.load();
    while (used <= seat_ && !table_.used.compare_exchange_weak(used, seat_ + 1)) {
    }
    return;
  }
}

LoaderSeat::~LoaderSeat() {
  if (!is_seated()) return;
  release_search();
  table_.seats[seat_].latest_ns.store(kNever);
  table_.seats[seat_].batches.store(0);
  table_.seats[seat_].loader.store(0);
}

bool LoaderSeat::is_seated() const { return loader_ != 0 && table_.generation == fork_generation(); }

void LoaderSeat::deliver(std::int64_t now_ns, std::uint64_t batches) {
  if (!is_seated()) return;
  Seat& seat = table_.seats[seat_];
  seat.batches.store(seat.batches.load(std::memory_order_relaxed) + batches, std::memory_order_relaxed);
  seat.consumer.store(this_thread(), std::memory_order_relaxed);
  seat.latest_ns.store(now_ns, std::memory_order_relaxed);
}

Neighbours::Progress LoaderSeat::others(std::int64_t now_ns) const {
  Progress out;
  std::array<std::uintptr_t, kMost + 1> consumers{this_thread()};
  const std::size_t used = table_.used.load(std::memory_order_relaxed);
  for (std::size_t i = 0; i < used && out.count < kMost; ++i) {
    const Seat& seat = table_.seats[i];
    if ((is_seated() && i == seat_) || !table_.delivers(i, now_ns)) continue;
    out.loader[out.count] = seat.loader.load(std::memory_order_relaxed);
    out.batches[out.count++] = seat.batches.load(std::memory_order_relaxed);
    const auto known = consumers.begin() + static_cast<std::ptrdiff_t>(out.consumers);
    const std::uintptr_t consumer = seat.consumer.load(std::memory_order_relaxed);
    if (std::find(consumers.begin(), known, consumer) == known) consumers[out.consumers++] = consumer;
  }
  return out;
}

bool LoaderSeat::claim_search(std::int64_t now_ns) {
  if (!is_seated()) return true;
  std::size_t holder = table_.searcher.load();
  if (holder == seat_ + 1) return true;
  Seat& own = table_.seats[seat_];
  if (own.asked_ns.load() == 0) own.asked_ns.store(now_ns);
  if (holder != 0 && table_.delivers(holder - 1, now_ns)) return false;
  for (std::size_t i = 0; i < table_.used.load(); ++i) {
    const std::int64_t asked = table_.seats[i].asked_ns.load();
    if (i != seat_ && asked != 0 && asked < own.asked_ns.load() && table_.delivers(i, now_ns)) return false;
  }
  if (!table_.searcher.compare_exchange_strong(holder, seat_ + 1)) return false;
  own.asked_ns.store(0);
  return true;
}

void LoaderSeat::release_search() {
  if (!is_seated()) return;
  table_.seats[seat_].asked_ns.store(0);
  std::size_t own = seat_ + 1;
  (void)table_.searcher.compare_exchange_strong(own, 0);
}

}  // namespace headrace::pipeline
