// Which reader suits files that nobody named one for: a probe of what is in memory, what could be, and what the storage can do.
//
// Owns nothing; any thread. Opens a few of the files; reads one page of one of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "headrace/io/read_engine.h"

namespace headrace::io {

struct ReaderChoice {
  ReaderKind kind = ReaderKind::kMmap;
  std::string reason;  // one line, for people
};

constexpr std::size_t kMostFilesLookedAt = 16;

// Of files of `total_bytes`, where others leave `memory_bytes` (free_memory_bytes()); in every order the same:
//   mmap    they fit, so that later passes need no device, or they are in the page cache already;
//   pread   the page cache could hold a part of them that counts, or O_DIRECT or rings are refused. Mapped, each page that was
//           evicted would be waited for by itself;
//   direct  it could hold next to nothing: there, filling it is only work.
// `now` is what reads them so far: a mapping is kept until the files no longer fit at all, so that two readers do not take turns.
// `paths`: of them all, or of some far apart. Files that cannot be opened are left out: whoever reads them says why.
ReaderChoice choose_reader(const std::vector<std::string>& paths, std::uint64_t total_bytes, std::uint64_t memory_bytes,
                           std::optional<ReaderKind> now = {});

}  // namespace headrace::io
