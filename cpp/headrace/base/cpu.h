// What this process may use of the machine: affinity, cgroup quota, memory limit.
//
// Any thread may call. Linux answers are in cpu_linux.cc; elsewhere cpu_portable.cc answers from the standard library.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace headrace {

// Numbers of the cores that the calling thread may run on, ascending; empty where the system does not say.
std::vector<int> allowed_cores();
// How many cores this process may use: min(affinity of the calling thread, ceil(cgroup v1/v2 quota)), at least 1.
int available_cores();
// Bytes of memory this process may use: min(physical memory, cgroup v1/v2 limit).
std::uint64_t available_memory_bytes();
// Bytes of that which nobody holds but the page cache, which gives way: what files could take. `root` stands before /proc and /sys.
std::uint64_t free_memory_bytes(const std::string& root = {});
// Makes the calling thread one of the engine's: a friendlier scheduling priority, a name (at most 15 characters), the current Placement.
void prepare_engine_thread(const char* name);

}  // namespace headrace
