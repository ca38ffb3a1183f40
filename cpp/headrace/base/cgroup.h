// Limits of the control groups that this process is in, versions 1 and 2, as the files of /proc and /sys say them.
//
// A group's limit holds for all groups inside it: the smallest from the root down to this process's group counts. Where there are no such
// files, or they say something else than expected, there is no limit.
//
// Owns nothing; any thread. `root` stands before /proc and /sys: tests give a tree of their own.
#pragma once

#include <string>

namespace headrace {

// CPU time that the process may use a second of wall time, in cores; infinity without a quota.
double cgroup_cores(const std::string& root = {});
// Bytes of memory that it may use; infinity without a limit.
double cgroup_memory_bytes(const std::string& root = {});
// Bytes of that which are left to it: files in the page cache give way, so they count as left. Infinity without a limit.
double cgroup_memory_room_bytes(const std::string& root = {});

}  // namespace headrace
