// Reads past the page cache: ranges widened to blocks, through an aligned buffer of this thread.
//
// Owns:     one bounce buffer of kBounceBytes a thread that reads, kept until the thread ends.
// Threads:  any.
#pragma once

#include <span>

#include "headrace/io/read_engine.h"

namespace headrace::io {

constexpr std::size_t kBounceBytes = 4 * 1024 * 1024;

// Sets every request's status; false where O_DIRECT is refused (EINVAL): then the requests must be read in another way.
bool read_direct(std::span<ReadRequest> requests);

}  // namespace headrace::io
