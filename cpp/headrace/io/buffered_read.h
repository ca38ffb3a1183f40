// Reads through the page cache: few system calls for neighbouring ranges, and all cold ranges at the device at once.
//
// Owns nothing; any thread.
#pragma once

#include <span>

#include "headrace/io/read_engine.h"

namespace headrace::io {

// Sets every request's status.
void read_buffered(std::span<ReadRequest> requests);

}  // namespace headrace::io
