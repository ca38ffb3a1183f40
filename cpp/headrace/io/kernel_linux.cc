#include "headrace/io/kernel.h"

#include <fcntl.h>

#include <cerrno>

namespace headrace::io {

ssize_t read_cached(int descriptor, std::span<const iovec> parts, std::uint64_t offset) {
  return ::preadv2(descriptor, parts.data(), static_cast<int>(parts.size()), static_cast<off_t>(offset), RWF_NOWAIT);
}

ssize_t read_parts(int descriptor, std::span<const iovec> parts, std::uint64_t offset) {
  return ::preadv(descriptor, parts.data(), static_cast<int>(parts.size()), static_cast<off_t>(offset));
}

void will_need(int descriptor, std::uint64_t offset, std::uint64_t length) {
  (void)posix_fadvise(descriptor, static_cast<off_t>(offset), static_cast<off_t>(length), POSIX_FADV_WILLNEED);
}

int leave_direct(int descriptor) {
  const int flags = ::fcntl(descriptor, F_GETFL);
  if (flags < 0) return errno;
  if ((flags & O_DIRECT) == 0 || ::fcntl(descriptor, F_SETFL, flags & ~O_DIRECT) == 0) return 0;
  return errno;
}

}  // namespace headrace::io
