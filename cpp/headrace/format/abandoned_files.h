// What writers that died left in a dataset's directory: temporary files, and shards that no manifest names.
//
// Plain values; owns nothing. Any thread or process may call, beside readers and writers.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "headrace/base/status.h"
#include "headrace/format/limits.h"

namespace headrace::format {

struct AbandonedFile {
  std::string name;  // in the directory
  std::uint64_t bytes = 0;
};

struct AbandonedFiles {
  std::vector<AbandonedFile> files;      // in the order of their names
  std::vector<AbandonedFile> uncertain;  // abandoned, or of a writer that cannot be seen from here (see storage::Maker); never removed
  bool writers = false;                  // a writer may live, and a shard without a manifest be its own: no shard is among the files
};

// Looks through `directory`, and with `remove` removes `files`. A temporary file is told by its maker's lock; shards are looked at only
// while no writer is there (DatasetWriter shares a storage::DirectoryLock) and every manifest can be read.
// Errors: kNotFound (no such directory), read_manifest's (what a damaged manifest names is not known), kIoError.
Result<AbandonedFiles> find_abandoned_files(const std::string& directory, bool remove, const Limits& limits);
// Removes the temporary files that dead writers left. Best effort, for a writer that is about to write.
void remove_abandoned_temporaries(const std::string& directory);

}  // namespace headrace::format
