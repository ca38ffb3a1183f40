#include "headrace/storage/slab_pool.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <limits>
#include <memory>
#include <set>
#include <thread>
#include <vector>

#include "headrace/storage/kernel.h"
#include "in_child.h"

namespace headrace::storage {
namespace {

constexpr std::size_t kMiB = std::size_t{1} << 20;

Lease acquire(SlabPool& pool, std::size_t bytes) {
  auto lease = pool.acquire(bytes);
  REQUIRE(lease);
  return std::move(lease).value();
}

TEST_CASE("slabs hold what was asked for, zeroed, page-aligned, huge ones at 2 MiB") {
  SlabPool pool(0);
  for (const std::size_t bytes :
       {std::size_t{0}, std::size_t{1}, std::size_t{4096}, std::size_t{4097}, 100000 * std::size_t{1}, 2 * kMiB, 5 * kMiB + 3}) {
    const Lease lease = acquire(pool, bytes);
    CHECK(lease->capacity() >= bytes);
    CHECK(reinterpret_cast<std::uintptr_t>(lease->data()) % page_bytes() == 0);
    if (bytes >= 2 * kMiB) CHECK(reinterpret_cast<std::uintptr_t>(lease->data()) % (2 * kMiB) == 0);
    CHECK(std::all_of(lease->data(), lease->data() + lease->capacity(), [](std::uint8_t byte) { return byte == 0; }));
    std::memset(lease->data(), 0xff, lease->capacity());
  }
}

TEST_CASE("no size wastes more than a quarter, or a page") {
  SlabPool pool(0);
  for (std::size_t bytes = 1; bytes < 64 * kMiB; bytes += bytes / 7 + 1) {
    const std::size_t capacity = acquire(pool, bytes)->capacity();
    CHECK(capacity >= bytes);
    CHECK(capacity - bytes <= std::max(bytes / 4, page_bytes()));
  }
}

TEST_CASE("a returned slab serves sizes that vary a little, a much smaller one gets its own") {
  SlabPool pool(100 * kMiB);
  std::uint8_t* first = nullptr;
  {
    const Lease lease = acquire(pool, 10 * kMiB);
    first = lease->data();
  }
  for (const std::size_t bytes : {10 * kMiB, 10 * kMiB - 4096, 9 * kMiB, 10 * kMiB - 1}) CHECK(acquire(pool, bytes)->data() == first);
  CHECK(pool.counters().made == 1);
  CHECK(pool.counters().reused == 4);
  const Lease small = acquire(pool, 7 * kMiB);
  CHECK(small->data() != first);
  CHECK(pool.counters().made == 2);
}

TEST_CASE("sizes that vary up and down settle on slabs that are reused") {
  SlabPool pool(100 * kMiB);
  for (std::size_t i = 0; i < 1000; ++i) acquire(pool, 4 * kMiB + (i * 7919 % 100) * 4096);
  CHECK(pool.counters().made <= 3);
  CHECK(pool.counters().made + pool.counters().reused == 1000);
}

TEST_CASE("counters follow leases and free slabs") {
  SlabPool pool(100 * kMiB);
  Lease a = acquire(pool, kMiB);
  Lease b = acquire(pool, kMiB);
  const std::size_t capacity = a->capacity();
  CHECK(pool.counters().bytes == 2 * capacity);
  CHECK(pool.counters().leased_bytes == 2 * capacity);
  const Lease copy = a;
  a.reset();
  CHECK(pool.counters().leased_bytes == 2 * capacity);  // The copy holds it.
  b.reset();
  CHECK(pool.counters().leased_bytes == capacity);
  CHECK(pool.counters().bytes == 2 * capacity);
}

TEST_CASE("free slabs are kept up to keep_bytes, and the longest unused go first") {
  SlabPool pool(3 * kMiB);
  std::vector<Lease> leases;
  for (int i = 0; i < 5; ++i) leases.push_back(acquire(pool, kMiB));
  REQUIRE(leases[0]->capacity() == kMiB);
  std::vector<std::uint8_t*> at;
  for (Lease& lease : leases) {
    at.push_back(lease->data());
    lease.reset();
  }
  CHECK(pool.counters().bytes == 3 * kMiB);
  CHECK(pool.counters().leased_bytes == 0);
  const Lease again = acquire(pool, kMiB);
  CHECK(again->data() == at[4]);  // The latest returned.
  CHECK(pool.counters().reused == 1);

  Lease larger = acquire(pool, 2 * kMiB);
  larger.reset();  // 2 MiB and the younger of the two 1 MiB slabs are kept.
  CHECK(pool.counters().bytes - pool.counters().leased_bytes == 3 * kMiB);
  acquire(pool, 4 * kMiB).reset();  // More than may be kept: given back at once, and nothing else for its sake.
  CHECK(pool.counters().bytes - pool.counters().leased_bytes == 3 * kMiB);
}

TEST_CASE("with keep_total() as much is kept as was in use, leased slabs counted") {
  SlabPool pool(3 * kMiB);
  const auto use = [&](int count) {
    std::vector<Lease> leases;
    for (int i = 0; i < count; ++i) leases.push_back(acquire(pool, 16 * kMiB));
    return leases;
  };
  use(3);
  CHECK(pool.counters().bytes == 0);
  pool.keep_total(48 * kMiB);
  use(3);
  CHECK(pool.counters().bytes == 48 * kMiB);
  CHECK(pool.counters().made == 6);
  use(5);
  CHECK(pool.counters().made == 8);
  CHECK(pool.counters().bytes == 48 * kMiB);
  pool.keep_total(kMiB);  // Less than was said before.
  CHECK(pool.counters().bytes == 48 * kMiB);
  {
    // Others, which those do not fit: they make room.
    std::vector<Lease> small;
    for (int i = 0; i < 20; ++i) small.push_back(acquire(pool, kMiB));
    CHECK(pool.counters().bytes <= 48 * kMiB);
    const std::vector<Lease> many = use(3);
    CHECK(pool.counters().bytes == 68 * kMiB);
    small.clear();
    CHECK(pool.counters().bytes == (48 + 3) * kMiB);
  }
  CHECK(pool.counters().bytes <= 48 * kMiB);
}

TEST_CASE("a lease outlives its pool") {
  Lease lease;
  {
    SlabPool pool(100 * kMiB);
    lease = acquire(pool, kMiB);
    acquire(pool, 2 * kMiB);
  }
  std::memset(lease->data(), 1, lease->capacity());
  CHECK(lease->data()[lease->capacity() - 1] == 1);
  lease.reset();
}

TEST_CASE("a size that cannot be had is out of memory, not a crash") {
  SlabPool pool(0);
  for (const std::size_t bytes :
       {std::numeric_limits<std::size_t>::max(), std::numeric_limits<std::size_t>::max() / 2, std::size_t{1} << 60}) {
    CHECK(pool.acquire(bytes).status().code() == Code::kOutOfMemory);
    CHECK(Slab::allocate(bytes).status().code() == Code::kOutOfMemory);
  }
  CHECK(pool.counters().bytes == 0);
}

TEST_CASE("threads acquire, write and return at once; no slab is leased twice") {
  SlabPool pool(8 * kMiB);
  std::atomic<int> wrong = 0;
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 8; ++t) {
      threads.emplace_back([&, t] {
        for (std::size_t i = 0; i < 400; ++i) {
          const auto result = pool.acquire(((i * 31 + static_cast<std::size_t>(t)) % 40 + 1) * 8192);
          if (!result) {
            ++wrong;
            continue;
          }
          const Lease& lease = *result;
          std::memset(lease->data(), t, lease->capacity());
          std::this_thread::yield();
          if (lease->data()[0] != t || lease->data()[lease->capacity() - 1] != t) ++wrong;
        }
      });
    }
  }
  CHECK(wrong == 0);
  CHECK(pool.counters().leased_bytes == 0);
  CHECK(pool.counters().bytes <= 8 * kMiB);
  CHECK(pool.counters().made + pool.counters().reused == 3200);
}

// A stand-in for the CUDA runtime.
struct FakeRuntime {
  static inline std::set<void*> locked;
  static inline int refusals = 0;
  static inline int cleared = 0;
  static inline unsigned flags = 0;
  static int lock(void* at, std::size_t, unsigned with) {
    flags = with;
    if (refusals > 0) {
      --refusals;
      return 2;
    }
    return locked.insert(at).second ? 0 : 712;
  }
  static int unlock(void* at) { return locked.erase(at) == 1 ? 0 : 713; }
  static int clear_error() { return ++cleared, 0; }
};

TEST_CASE("without a runtime no slab is page-locked") {
  set_host_register({});
  CHECK_FALSE(has_host_register());
  SlabPool pool(0);
  const Lease lease = acquire(pool, kMiB);
  CHECK_FALSE(lease->lock_pages());
  CHECK_FALSE(lease->page_locked());
}

TEST_CASE("a slab is page-locked once, stays so while it is reused, and is unlocked at its end") {
  set_host_register({FakeRuntime::lock, FakeRuntime::unlock, FakeRuntime::clear_error});
  CHECK(has_host_register());
  {
    SlabPool pool(100 * kMiB);
    Lease lease = acquire(pool, kMiB);
    CHECK(lease->lock_pages());
    CHECK(lease->lock_pages());
    CHECK(lease->page_locked());
    CHECK(FakeRuntime::locked == std::set<void*>{lease->data()});
    CHECK(FakeRuntime::flags == 1);
    lease.reset();
    CHECK(FakeRuntime::locked.size() == 1);
    lease = acquire(pool, kMiB);
    CHECK(lease->page_locked());
    set_host_register({});  // The slab remembers whom to tell.
  }
  CHECK(FakeRuntime::locked.empty());
}

TEST_CASE("a refused lock leaves no error in the runtime and may be tried again") {
  set_host_register({FakeRuntime::lock, FakeRuntime::unlock, FakeRuntime::clear_error});
  FakeRuntime::refusals = 1;
  FakeRuntime::cleared = 0;
  SlabPool pool(0);
  Lease lease = acquire(pool, kMiB);
  CHECK_FALSE(lease->lock_pages());
  CHECK_FALSE(lease->page_locked());
  CHECK(FakeRuntime::cleared == 1);
  CHECK(lease->lock_pages());
  lease.reset();
  CHECK(FakeRuntime::locked.empty());
  set_host_register({});
}

#if !defined(__SANITIZE_THREAD__)
TEST_CASE("a forked child may drop leases and pool, never touches the runtime, and gets kForked") {
  set_host_register({FakeRuntime::lock, FakeRuntime::unlock, FakeRuntime::clear_error});
  auto pool = std::make_unique<SlabPool>(100 * kMiB);
  Lease lease = acquire(*pool, kMiB);
  CHECK(lease->lock_pages());
  acquire(*pool, 2 * kMiB)->lock_pages();
  lease->data()[5] = 42;
  CHECK(in_child([&] {
          if (pool->acquire(1).status().code() != Code::kForked) return 1;
          if (lease->data()[5] != 42) return 2;
          lease.reset();
          pool.reset();
          return FakeRuntime::locked.size() == 2 ? 0 : 3;
        }) == 0);
  CHECK(lease->data()[5] == 42);
  lease.reset();
  pool.reset();
  CHECK(FakeRuntime::locked.empty());
  set_host_register({});
}

#if !defined(__SANITIZE_ADDRESS__)  // Its allocator's own lock may be the one that is held.
TEST_CASE("a child may drop a lease although another thread held the pool's lock at the fork") {
  SlabPool pool(8 * kMiB);
  Lease lease = acquire(pool, kMiB);
  std::atomic<bool> stop = false;
  std::jthread busy([&] {
    while (!stop) (void)pool.acquire(8192);
  });
  for (int round = 0; round < 50; ++round) {
    CHECK(in_child([&] {
            lease.reset();
            return 0;
          }) == 0);
  }
  stop = true;
}
#endif
#endif

}  // namespace
}  // namespace headrace::storage
