#include "headrace/base/cpu.h"

#include <doctest/doctest.h>
#include <sched.h>
#include <unistd.h>

#include <thread>

#include "base/tree.h"

namespace headrace {
namespace {

TEST_CASE("cores are at least one and no more than the process may run on") {
  const int cores = available_cores();
  CHECK(cores >= 1);
  CHECK(cores <= sysconf(_SC_NPROCESSORS_ONLN));
}

#if defined(__linux__)
TEST_CASE("cores follow the affinity") {
  int inside = 0;
  std::thread([&] {
    cpu_set_t all;
    REQUIRE(sched_getaffinity(0, sizeof all, &all) == 0);
    int first = 0;
    while (!CPU_ISSET(first, &all)) ++first;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(first, &one);
    REQUIRE(sched_setaffinity(0, sizeof one, &one) == 0);
    inside = available_cores();
  }).join();
  CHECK(inside == 1);
}
#endif

#if defined(__linux__)
TEST_CASE("free memory is what the machine says, within the group's room") {
  const Tree tree;
  CHECK(free_memory_bytes(tree.root()) == available_memory_bytes());
  tree.put("/proc/meminfo", "MemTotal:       100 kB\nMemFree:        10 kB\nMemAvailable:   40 kB\nBuffers:  1 kB\n");
  CHECK(free_memory_bytes(tree.root()) == 40 * 1024);
  tree.put("/proc/self/cgroup", "0::/\n");
  tree.put("/sys/fs/cgroup/memory.max", "9000\n");
  CHECK(free_memory_bytes(tree.root()) == 9000);
}
#endif

TEST_CASE("memory is some, and no more than the machine has") {
  const std::uint64_t bytes = available_memory_bytes();
  CHECK(bytes >= (std::uint64_t{1} << 20));
  CHECK(bytes <= static_cast<std::uint64_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE)));
}

}  // namespace
}  // namespace headrace
