#include "headrace/storage/host_register.h"

#include <doctest/doctest.h>

#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "headrace/storage/slab_pool.h"

namespace headrace::storage {
namespace {

constexpr std::size_t kMiB = std::size_t{1} << 20;

// A stand-in for a CUDA runtime with several devices, whose current one belongs to the thread.
struct FakeRuntime {
  struct Call {
    void* at;
    int device;
    std::thread::id thread;
  };
  static inline thread_local int device = 0;
  static inline std::vector<Call> locks, unlocks;
  static inline bool refuses = false;
  static inline int cleared = 0, devices_set = 0;

  static int lock(void* at, std::size_t, unsigned) {
    if (refuses) return 2;
    locks.push_back({at, device, std::this_thread::get_id()});
    return 0;
  }
  static int unlock(void* at) {
    unlocks.push_back({at, device, std::this_thread::get_id()});
    return refuses ? 4 : 0;
  }
  static int clear_error() { return ++cleared, 0; }
  static int get_device(int* out) { return *out = device, 0; }
  static int set_device(int to) { return device = to, ++devices_set, 0; }

  static void use() {
    locks.clear();
    unlocks.clear();
    refuses = false;
    cleared = devices_set = device = 0;
    set_host_register({lock, unlock, clear_error, get_device, set_device});
  }
};

TEST_CASE("a runtime needs both its lock and its unlock") {
  set_host_register({FakeRuntime::lock});
  CHECK_FALSE(has_host_register());
  set_host_register({nullptr, FakeRuntime::unlock});
  CHECK_FALSE(has_host_register());
  char memory[8];
  PageLock lock;
  CHECK_FALSE(lock.lock(memory, sizeof memory));
  CHECK_FALSE(lock.is_locked());
}

TEST_CASE("memory is unlocked on the thread that has the device for which it was locked") {
  FakeRuntime::use();
  char memory[8];
  PageLock lock;
  FakeRuntime::device = 1;
  REQUIRE(lock.lock(memory, sizeof memory));
  CHECK(lock.is_locked());
  CHECK(FakeRuntime::locks[0].device == 1);
  lock.unlock(memory);
  CHECK_FALSE(lock.is_locked());
  REQUIRE(FakeRuntime::unlocks.size() == 1);
  CHECK(FakeRuntime::unlocks[0].at == memory);
  CHECK(FakeRuntime::unlocks[0].thread == std::this_thread::get_id());
  CHECK(FakeRuntime::devices_set == 0);
  set_host_register({});
}

TEST_CASE("a thread that has another device keeps it, and makes no context there") {
  FakeRuntime::use();
  char memory[8];
  PageLock lock;
  FakeRuntime::device = 1;
  REQUIRE(lock.lock(memory, sizeof memory));
  FakeRuntime::device = 0;
  lock.unlock(memory);
  REQUIRE(FakeRuntime::unlocks.size() == 1);
  CHECK(FakeRuntime::unlocks[0].device == 1);
  CHECK(FakeRuntime::unlocks[0].thread != std::this_thread::get_id());
  CHECK(FakeRuntime::device == 0);
  set_host_register({});
}

TEST_CASE("without devices to ask for, memory is unlocked where it ends") {
  FakeRuntime::use();
  set_host_register({FakeRuntime::lock, FakeRuntime::unlock});
  char memory[8];
  PageLock lock;
  REQUIRE(lock.lock(memory, sizeof memory));
  lock.unlock(memory);
  REQUIRE(FakeRuntime::unlocks.size() == 1);
  CHECK(FakeRuntime::unlocks[0].thread == std::this_thread::get_id());
  set_host_register({});
}

TEST_CASE("what the runtime refuses leaves no error in it") {
  FakeRuntime::use();
  char memory[8];
  PageLock lock;
  FakeRuntime::refuses = true;
  CHECK_FALSE(lock.lock(memory, sizeof memory));
  CHECK(FakeRuntime::cleared == 1);
  FakeRuntime::refuses = false;
  REQUIRE(lock.lock(memory, sizeof memory));
  FakeRuntime::refuses = true;  // As at exit, when the runtime is unloading.
  lock.unlock(memory);
  CHECK(FakeRuntime::cleared == 2);
  set_host_register({});
}

TEST_CASE("page-locked slabs are kept beyond what others are, and locked once") {
  FakeRuntime::use();
  {
    auto pool = std::make_unique<SlabPool>(kMiB, 16 * kMiB);
    const auto slab_of = [&](std::size_t bytes) { return std::move(pool->acquire(bytes)).value(); };
    slab_of(4 * kMiB).reset();
    CHECK(pool->counters().bytes == 0);  // Not locked: more than is kept.
    for (int round = 0; round < 5; ++round) {
      std::vector<Lease> leases;
      for (int i = 0; i < 4; ++i) {
        leases.push_back(slab_of(4 * kMiB));
        CHECK(leases.back()->lock_pages());
      }
    }
    CHECK(FakeRuntime::locks.size() == 4);
    CHECK(FakeRuntime::unlocks.empty());
    CHECK(pool->counters().bytes == 16 * kMiB);
    Lease more = slab_of(8 * kMiB);
    CHECK(more->lock_pages());
    more.reset();
    CHECK(pool->counters().bytes == 16 * kMiB);  // The longest unused went.
    CHECK(FakeRuntime::unlocks.size() == 2);
    Lease leased = slab_of(4 * kMiB);
    pool.reset();
    CHECK(FakeRuntime::unlocks.size() == 4);
    for (const FakeRuntime::Call& call : FakeRuntime::unlocks) CHECK(call.at != leased->data());
    leased.reset();
    CHECK(FakeRuntime::unlocks.size() == 5);
  }
  set_host_register({});
}

}  // namespace
}  // namespace headrace::storage
