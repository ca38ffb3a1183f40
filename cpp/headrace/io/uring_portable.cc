#include "headrace/io/uring.h"

namespace headrace::io {

bool read_with_ring(std::span<Transfer>) { return false; }

bool ring_is_offered() { return false; }

}  // namespace headrace::io
