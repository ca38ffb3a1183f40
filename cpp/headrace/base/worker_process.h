// What a worker process owes to the process that made it: it ends with it, and by its word alone.
//
// For processes that run a loader's Python code, and called in them only: these functions change how the process ends.
// Threads: one at a time.
#pragma once

#include "headrace/base/status.h"

namespace headrace {

// From now on SIGTERM from `maker`, or from the parent, ends this process at once with status 0, and from anyone else does nothing: who
// ends a job signals its whole group, and the maker must still get its batches until it has written its checkpoint.
Status end_by_word_of(int maker);

// Has the kernel kill this process when the thread that started it ends. Returns whether it will: elsewhere than on Linux, it does not.
// REQUIRES: that thread lives as long as the parent.
bool end_with_parent();

}  // namespace headrace
