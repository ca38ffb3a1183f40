#include "headrace/io/uring.h"

#include <cerrno>

namespace headrace::io {

int read_with_ring(std::span<Transfer>) { return ENOSYS; }

int ring_refusal() { return ENOSYS; }

}  // namespace headrace::io
