// What reading asks of the kernel beyond POSIX, each with an answer for the others. Linux: kernel_linux.cc; elsewhere: kernel_portable.cc.
//
// Owns nothing; any thread; safe after a fork.
#pragma once

#include <sys/types.h>
#include <sys/uio.h>

#include <cstdint>
#include <span>

namespace headrace::io {

// preadv(2) that answers only from the page cache: bytes (maybe fewer than asked for, or 0), or -1 where it would wait or cannot tell.
ssize_t read_cached(int descriptor, std::span<const iovec> parts, std::uint64_t offset);
// preadv(2): bytes, or -1 with errno.
ssize_t read_parts(int descriptor, std::span<const iovec> parts, std::uint64_t offset);
// Starts reading a range into the page cache. Best effort.
void will_need(int descriptor, std::uint64_t offset, std::uint64_t length);
// Makes a descriptor opened with O_DIRECT read through the page cache from now on. 0 or errno.
int leave_direct(int descriptor);

}  // namespace headrace::io
