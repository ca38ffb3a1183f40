#include "headrace/base/placement.h"

#include <doctest/doctest.h>

#include <thread>

#include "base/tree.h"
#include "headrace/base/cpu.h"
#include "headrace/base/thread_pool.h"
#include "in_child.h"

#if defined(__linux__)
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace headrace {
namespace {

TEST_CASE("the caller's placement holds its cores, and stays the same object while it stays the same") {
  const Placement mine = Placement::of_caller();
  CHECK(mine.cores == allowed_cores());
  CHECK(mine.num_cores == available_cores());
  const Placement* const first = &refresh_placement();
  CHECK(&refresh_placement() == first);
  CHECK(&current_placement() == first);
}

#if defined(__linux__)

constexpr int kMemoryOfAddress = 2;  // MPOL_F_ADDR

// The policy of this thread, or of an address: -1 where the kernel has no memory nodes.
int policy(void* address = nullptr) {
  int mode = -1;
  const int flags = address == nullptr ? 0 : kMemoryOfAddress;
  return syscall(SYS_get_mempolicy, &mode, nullptr, 0, address, flags) == 0 ? mode : -1;
}

TEST_CASE("a thread is bound to the cores and prefers the nodes; without nodes it is as it was") {
  const std::vector<int> all = allowed_cores();
  std::vector<int> inside;
  int before = 0, with = 0, without = 0;
  std::thread([&] {
    before = policy();
    Placement{{all.front()}, {0}, 1}.apply_to_thread();
    inside = allowed_cores();
    with = policy();
    Placement{all, {}, 1}.apply_to_thread();
    without = policy();
  }).join();
  CHECK(inside == std::vector<int>{all.front()});
  CHECK(allowed_cores() == all);
  if (before != 0) return;  // No memory nodes, or a policy of the whole process.
  CHECK(with == 1);
  CHECK(without == 0);
}

TEST_CASE("mapped memory prefers the nodes, and holds what is written to it") {
  constexpr std::size_t kBytes = 1 << 20;
  void* at = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  REQUIRE(at != MAP_FAILED);
  const bool has_nodes = policy() == 0;
  Placement{{}, {0}, 1}.apply_to_memory(at, kBytes);
  if (has_nodes) CHECK(policy(at) == 1);
  static_cast<char*>(at)[kBytes - 1] = 7;
  CHECK(static_cast<char*>(at)[kBytes - 1] == 7);
  munmap(at, kBytes);
}

TEST_CASE("what the system refuses changes nothing") {
  const std::vector<int> all = allowed_cores();
  std::vector<int> inside;
  int mode = 0;
  std::thread([&] {
    Placement{{60000}, {60000}, 1}.apply_to_thread();
    inside = allowed_cores();
    mode = policy();
  }).join();
  CHECK(inside == all);
  CHECK(mode == policy());
}

#if !defined(__SANITIZE_THREAD__)
// In a child each: the pool and the placement are the process's.
int cores_of_pool_threads() {
  int seen = 0;
  TaskGroup group(ThreadPool::shared(), 1);
  group.submit(0, [&] { seen = static_cast<int>(allowed_cores().size()); });
  group.wait_idle();
  return seen;
}

void narrow_to_one() {
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(allowed_cores().front(), &one);
  (void)sched_setaffinity(0, sizeof one, &one);
}

TEST_CASE("the pool takes up a change of affinity when it is told to, and running threads move") {
  if (allowed_cores().size() < 2) return;
  CHECK(in_child([] {
          unsetenv("HEADRACE_NUM_THREADS");
          ThreadPool& pool = ThreadPool::shared();
          const int all = static_cast<int>(allowed_cores().size());
          pool.follow_machine();
          if (pool.max_threads() != available_cores() || cores_of_pool_threads() != all) return 1;
          narrow_to_one();
          if (cores_of_pool_threads() != all) return 2;
          pool.follow_machine();
          return pool.max_threads() == 1 && cores_of_pool_threads() == 1 ? 0 : 3;
        }) == 0);
}

TEST_CASE("a number of threads that somebody chose does not follow the machine") {
  if (allowed_cores().size() < 2) return;
  CHECK(in_child([] {
          setenv("HEADRACE_NUM_THREADS", "7", 1);
          ThreadPool::shared().follow_machine();
          narrow_to_one();
          ThreadPool::shared().follow_machine();
          return ThreadPool::shared().max_threads() == 7 && cores_of_pool_threads() == 1 ? 0 : 1;
        }) == 0);
  CHECK(in_child([] {
          unsetenv("HEADRACE_NUM_THREADS");
          ThreadPool::shared().set_max_threads(5);
          narrow_to_one();
          ThreadPool::shared().follow_machine();
          return ThreadPool::shared().max_threads() == 5 ? 0 : 1;
        }) == 0);
}

// All of this process's cores in one of two nodes.
Tree two_nodes() {
  Tree tree;
  std::string list;
  for (const int core : allowed_cores()) list += (list.empty() ? "" : ",") + std::to_string(core);
  tree.put("/sys/devices/system/node/online", "0-1\n");
  tree.put("/sys/devices/system/node/node0/cpulist", "50000\n");
  tree.put("/sys/devices/system/node/node1/cpulist", list + "\n");
  return tree;
}

TEST_CASE("the nodes of the affinity are preferred, unless HEADRACE_NUMA=off or the process has a policy") {
  if (policy() != 0) return;
  const Tree tree = two_nodes();
  CHECK(in_child([&] {
          unsetenv("HEADRACE_NUMA");
          return Placement::of_caller(tree.root()).nodes == std::vector<int>{1} ? 0 : 1;
        }) == 0);
  CHECK(in_child([&] {
          setenv("HEADRACE_NUMA", "off", 1);
          return Placement::of_caller(tree.root()).nodes.empty() ? 0 : 1;
        }) == 0);
  CHECK(in_child([&] {
          unsetenv("HEADRACE_NUMA");
          Placement{{}, {0}, 1}.apply_to_thread();  // As numactl --preferred=0 would.
          return Placement::of_caller(tree.root()).nodes.empty() ? 0 : 1;
        }) == 0);
}
#endif
#endif

}  // namespace
}  // namespace headrace
