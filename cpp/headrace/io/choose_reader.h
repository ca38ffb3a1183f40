// Which reader suits files that nobody named one for: a probe of what is in memory and of what the storage can do, once a dataset.
//
// Owns nothing; any thread. Opens a few of the files; reads one page of one of them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "headrace/io/read_engine.h"

namespace headrace::io {

struct ReaderChoice {
  ReaderKind kind = ReaderKind::kMmap;
  std::string reason;  // one line, for people
};

// mmap where the files fit into half of `memory_bytes` (later passes then come from the page cache) or are there already; direct where they
// are cold, larger, and the system takes O_DIRECT and rings. Files that cannot be opened are left out: whoever reads them says why.
ReaderChoice choose_reader(const std::vector<std::string>& paths, std::uint64_t total_bytes, std::uint64_t memory_bytes);

}  // namespace headrace::io
