// Detects that this process is a fork of the one that made an object.
//
// Threads and lock states do not survive fork(), so whatever holds either remembers the generation it was made in.
// In the child it is abandoned (leaked, never locked or joined) and built anew, or answers kForked.
// Any thread may call; fork_generation() is one atomic load.
#pragma once

#include <cstdint>

namespace headrace {

// Starts at 1 and grows by one in the child at each fork().
std::uint64_t fork_generation();

}  // namespace headrace
