#include "headrace/base/cgroup.h"

#include <doctest/doctest.h>

#include <limits>

#include "base/tree.h"

namespace headrace {
namespace {

constexpr double kNone = std::numeric_limits<double>::infinity();

TEST_CASE("no cgroup files, no limit") {
  const Tree tree;
  CHECK(cgroup_cores(tree.root()) == kNone);
  CHECK(cgroup_memory_bytes(tree.root()) == kNone);
}

TEST_CASE("version 2: the smallest limit from the root down to the group") {
  const Tree tree;
  tree.put("/proc/self/cgroup", "0::/jobs/mine\n");
  tree.put("/sys/fs/cgroup/jobs/mine/cpu.max", "max 100000\n");
  tree.put("/sys/fs/cgroup/jobs/mine/memory.max", "max\n");
  CHECK(cgroup_cores(tree.root()) == kNone);
  CHECK(cgroup_memory_bytes(tree.root()) == kNone);

  tree.put("/sys/fs/cgroup/jobs/cpu.max", "350000 100000\n");
  tree.put("/sys/fs/cgroup/jobs/memory.max", "1073741824\n");
  CHECK(cgroup_cores(tree.root()) == 3.5);
  CHECK(cgroup_memory_bytes(tree.root()) == 1073741824.0);

  tree.put("/sys/fs/cgroup/jobs/mine/cpu.max", "50000 100000\n");
  CHECK(cgroup_cores(tree.root()) == 0.5);
}

TEST_CASE("version 2 in a container: the root is the group, whatever the path says") {
  const Tree tree;
  for (const char* path : {"/", "/docker/0123", "/../../elsewhere"}) {
    tree.put("/proc/self/cgroup", std::string("0::") + path + "\n");
    tree.put("/sys/fs/cgroup/cpu.max", "200000 100000\n");
    tree.put("/sys/fs/cgroup/memory.max", "4096\n");
    CHECK(cgroup_cores(tree.root()) == 2);
    CHECK(cgroup_memory_bytes(tree.root()) == 4096);
  }
}

TEST_CASE("version 1: controllers in lists, -1 for no quota, and groups around the group") {
  const Tree tree;
  tree.put("/proc/self/cgroup", "9:name=systemd:/\n4:memory:/m\n2:cpu,cpuacct:/a/b\n0::/\n");
  tree.put("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n");
  tree.put("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
  tree.put("/sys/fs/cgroup/cpu/a/b/cpu.cfs_quota_us", "-1\n");
  tree.put("/sys/fs/cgroup/cpu/a/b/cpu.cfs_period_us", "100000\n");
  CHECK(cgroup_cores(tree.root()) == kNone);
  tree.put("/sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", "150000\n");
  tree.put("/sys/fs/cgroup/cpu/a/cpu.cfs_period_us", "100000\n");
  CHECK(cgroup_cores(tree.root()) == 1.5);
  tree.put("/sys/fs/cgroup/memory/m/memory.limit_in_bytes", "123456\n");
  CHECK(cgroup_memory_bytes(tree.root()) == 123456);
}

TEST_CASE("room: the limit less what is used and cannot be dropped, the smallest of all groups around") {
  const Tree tree;
  CHECK(cgroup_memory_room_bytes(tree.root()) == kNone);
  tree.put("/proc/self/cgroup", "4:memory:/m\n0::/jobs/mine\n");
  tree.put("/sys/fs/cgroup/memory/m/memory.limit_in_bytes", "10000\n");
  tree.put("/sys/fs/cgroup/memory/m/memory.usage_in_bytes", "7000\n");
  tree.put("/sys/fs/cgroup/memory/m/memory.stat", "cache 9\nactive_file 1\ntotal_inactive_file 1500\ntotal_active_file 500\n");
  CHECK(cgroup_memory_room_bytes(tree.root()) == 5000);
  tree.put("/sys/fs/cgroup/jobs/memory.max", "6000\n");
  tree.put("/sys/fs/cgroup/jobs/memory.current", "4000\n");
  tree.put("/sys/fs/cgroup/jobs/memory.stat", "anon 3900\nfile 100\ninactive_file 60\nactive_file 40\n");
  CHECK(cgroup_memory_room_bytes(tree.root()) == 2100);
  tree.put("/sys/fs/cgroup/jobs/memory.current", "9000\n");  // It may be above its limit while it shrinks.
  CHECK(cgroup_memory_room_bytes(tree.root()) == 0);
  tree.put("/sys/fs/cgroup/jobs/memory.max", "max\n");
  CHECK(cgroup_memory_room_bytes(tree.root()) == 5000);
}

TEST_CASE("what is written otherwise is no limit") {
  const Tree tree;
  for (const char* text : {"", "\n", "x", "nan nan", "100000", "100000 0", "0 100000", "-5 100000", "1e999 x", "max"}) {
    CAPTURE(text);
    tree.put("/proc/self/cgroup", "0::/\nno colons\n:\n::\n");
    tree.put("/sys/fs/cgroup/cpu.max", text);
    CHECK(cgroup_cores(tree.root()) == kNone);
  }
  for (const char* text : {"", "x", "max", "-1", "0"}) {
    CAPTURE(text);
    tree.put("/sys/fs/cgroup/memory.max", text);
    CHECK(cgroup_memory_bytes(tree.root()) == kNone);
  }
}

}  // namespace
}  // namespace headrace
