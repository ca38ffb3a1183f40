// One loop over the pool, with the caller at work too.
//
// Threads:  any thread may call, but not a task of the pool (it would wait for others of its kind).
// Owns nothing that outlives the call.
#pragma once

#include <cstddef>
#include <functional>

#include "headrace/base/status.h"

namespace headrace {

// Calls body(i) once for each i in [0, count), on the calling thread and up to `threads` threads of the shared pool; 0: on the calling
// thread alone. Returns the error of the lowest i that failed; after a failure, higher i may be left out. A body that throws bad_alloc
// fails with kOutOfMemory; it must throw nothing else. Where the system refuses threads, the caller does it all.
Status parallel_for(std::size_t count, int threads, const std::function<Status(std::size_t)>& body);

}  // namespace headrace
