// Reads every byte of a shard or dataset and reports each damage.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "headrace/base/status.h"
#include "headrace/format/limits.h"

namespace headrace::format {

struct Damage {
  std::string path;
  std::int64_t chunk = -1;   // -1: not in a chunk
  std::string field;         // empty: not in a page
  std::uint64_t offset = 0;  // of the damaged structure, in the file
  std::uint64_t bytes = 0;
  Status status;
};

struct VerifyProgress {
  std::atomic<std::uint64_t> bytes_done{0};
  std::atomic<std::uint64_t> bytes_total{0};
  std::atomic<bool> cancel{false};
};

struct VerifyReport {
  std::uint64_t shards = 0, chunks = 0, blocks = 0, bytes = 0, samples = 0;
  std::vector<Damage> damages;  // manifests; then in the order of shards (oldest version first) and offsets
};

// Checks one version (0: all of them, each shard once) of a dataset directory, or one shard file: manifests, headers, footers, indexes,
// schemas, block tables, every block's hash, padding, offsets. With `decode`, also decodes every block, and checks UTF-8 of strings and
// bools. Parallel over chunks on ThreadPool::shared(), at most `threads` at once (0: all); memory is bounded. An error is returned only
// where nothing could be checked (no such path, cancelled: kClosed); damage is in the report.
Result<VerifyReport> verify(const std::string& path, std::uint64_t version, bool decode, int threads, const Limits& limits,
                            VerifyProgress* progress);

}  // namespace headrace::format
