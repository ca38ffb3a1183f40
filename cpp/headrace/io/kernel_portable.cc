#include <unistd.h>

#include "headrace/io/kernel.h"

namespace headrace::io {

ssize_t read_cached(int, std::span<const iovec>, std::uint64_t) { return -1; }

ssize_t read_parts(int descriptor, std::span<const iovec> parts, std::uint64_t offset) {
  ssize_t total = 0;
  for (const iovec& part : parts) {
    const ssize_t got = ::pread(descriptor, part.iov_base, part.iov_len, static_cast<off_t>(offset) + total);
    if (got < 0) return total > 0 ? total : -1;
    total += got;
    if (static_cast<std::size_t>(got) < part.iov_len) break;
  }
  return total;
}

void will_need(int, std::uint64_t, std::uint64_t) {}

int leave_direct(int) { return 0; }

}  // namespace headrace::io
