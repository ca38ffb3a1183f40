// What this process may use of the machine: affinity, cgroup quota, memory limit.
//
// Any thread may call. Linux answers are in cpu_linux.cc; elsewhere cpu_portable.cc answers from the standard library.
#pragma once

#include <cstdint>

namespace headrace {

// Cores this process may run on: min(affinity, ceil(cgroup v1/v2 quota)), at least 1.
int available_cores();
// Bytes of memory this process may use: min(physical memory, cgroup v1/v2 limit).
std::uint64_t available_memory_bytes();
// Gives the calling thread a friendlier scheduling priority and a name (at most 15 characters).
void prepare_engine_thread(const char* name);

}  // namespace headrace
