// What directories hold, read side by side, and what tells whether one has changed since.
//
// Owns nothing that outlives a call.
// Threads:  any thread may call, but no task of the pool (it would wait for others of its kind).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "headrace/base/status.h"

namespace headrace::storage {

// A directory, and when a name in it last came, went or changed.
struct DirectoryIdentity {
  std::uint64_t device = 0, inode = 0;
  std::int64_t mtime_ns = 0, ctime_ns = 0;
  bool operator==(const DirectoryIdentity&) const = default;
};

struct DirectoryListing {
  DirectoryIdentity identity;
  // Names in no order. Links count as what they lead to, and as files where that is nothing.
  std::vector<std::string> files, folders;
  bool has_links = false;
  // Whether an equal identity will mean equal names: it lies on a local file system, whose times are of this machine's clock, its last
  // change is longer ago than clocks are coarse, and no name in it is a link, which may come to lead elsewhere without a trace.
  bool can_be_kept = false;
};

struct ListedDirectory {
  std::string path;
  std::optional<DirectoryIdentity> known;  // of a listing that can_be_kept
};

// In the order of `directories`; nothing for one whose identity is the known one. `threads` as parallel_for() takes them.
// Errors: kNotFound, kIoError, of the first directory that failed; messages name it.
Result<std::vector<std::optional<DirectoryListing>>> list_directories(std::span<const ListedDirectory> directories, int threads);

}  // namespace headrace::storage
