// Where the engine's threads run and its memory lies: the cores that the process was given when its newest loader was made, and the memory
// nodes of those cores where they are only some of the machine's.
//
// HEADRACE_NUMA=off leaves memory where the kernel puts it; so does a memory policy that the process was started with (numactl).
// Everything here is a preference: where a node is full, memory comes from another, and where the system refuses, nothing changes.
//
// Owns:     the placement in force, and all earlier ones: there are as many as there were changes.
// Threads:  any. Locks: none. Forking: safe.
// Linux answers are in placement_linux.cc; elsewhere placement_portable.cc knows how many cores there are, and binds nothing.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace headrace {

struct Placement {
  std::vector<int> cores;  // of the affinity; empty where the system does not say
  std::vector<int> nodes;  // their memory nodes; empty where there is nothing to prefer
  int num_cores = 1;       // what affinity and cgroup quota leave

  bool operator==(const Placement&) const = default;
  // That of the calling thread, now. `root` stands before /sys: tests give a tree of their own.
  static Placement of_caller(const std::string& root = {});
  // Binds the calling thread to the cores, and prefers the nodes for memory that it touches first.
  void apply_to_thread() const;
  // Prefers the nodes for memory that was mapped and not touched yet. `begin` is page-aligned.
  void apply_to_memory(void* begin, std::size_t bytes) const;
};

// The one in force; the first call takes the caller's.
const Placement& current_placement();
// Puts the caller's in force, if it changed. Threads take it up when they start, and the pool's before their next task.
const Placement& refresh_placement();

}  // namespace headrace
