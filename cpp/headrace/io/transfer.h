// One contiguous read by descriptor: what the engines break requests into, and what a ring or pread carries out.
//
// Owns nothing; descriptor and memory are borrowed. One thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace headrace::io {

// Larger ranges are cut: a device serves pieces side by side, where one long read is served in the order of its readahead.
// 256 KiB is about the largest command of an NVMe drive, and a copy of it (25 us) hides the cost of its submission (1 us).
constexpr std::size_t kPieceBytes = 256 * 1024;
// What O_DIRECT asks of offset, length and memory; every block device in use has logical blocks of 512 or 4096 bytes.
constexpr std::size_t kDirectAlign = 4096;

constexpr std::uint8_t kMaxTries = 8;

// Tests only: sees each answer of the kernel to a read (bytes or -errno) and may put another in its place; null in use.
using ReadFault = std::int64_t (*)(std::uint64_t offset, std::size_t length, std::int64_t answer);
void set_read_fault(ReadFault fault);

struct Transfer {
  int descriptor = -1;
  std::uint64_t offset = 0;
  std::uint8_t* out = nullptr;
  std::size_t length = 0;
  std::size_t align = 1;   // kDirectAlign where a read may only go on from a multiple of it
  std::size_t done = 0;    // bytes from `offset` on that are there; less than length with error 0: the file ends
  int error = 0;           // errno
  bool settled = false;    // nothing is left to do
  std::uint8_t tries = 0;  // resubmissions in a row after EAGAIN or EINTR
  bool retried = false;    // after EIO: once, since a bad sector may answer the second time

  // Books what one read of [offset + done, offset + length) answered: bytes, 0 at the end of the file, or -errno (settles, but for the
  // first EIO).
  void book(std::int64_t answer);
};

// Books an answer of a ring: EAGAIN and EINTR leave the transfer unsettled, to be submitted again, kMaxTries times; then one blocking pread
// does it, since a kernel that is short of memory may answer EAGAIN for ever.
void book_answer(Transfer& transfer, std::int64_t answer);
// Carries out what is not settled, one pread after the other. EINTR is retried, and EAGAIN kMaxTries times in all, 1 ms apart.
void read_blocking(std::span<Transfer> transfers);

}  // namespace headrace::io
