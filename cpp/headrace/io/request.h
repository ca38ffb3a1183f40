// What every engine does with a request before and after reading: order, checks, one wording of errors.
//
// Owns nothing; any thread.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "headrace/io/read_engine.h"

namespace headrace::io {

// Settles requests that need no read (their range is impossible, the file is not open, no bytes are wanted) and returns the others'
// indices, by descriptor and offset.
std::vector<std::uint32_t> sort_requests(std::span<ReadRequest> requests);
// The error of a request of which `found` bytes could be read: kTruncated if `error` is 0, else that errno.
Status read_failure(const ReadRequest& request, std::uint64_t found, int error);

inline std::uint64_t end_of(const ReadRequest& request) { return request.offset + request.out.size(); }

}  // namespace headrace::io
