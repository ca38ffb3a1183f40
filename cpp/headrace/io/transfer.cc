#include "headrace/io/transfer.h"

#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <thread>

namespace headrace::io {
namespace {

std::atomic<ReadFault> g_fault{nullptr};

std::int64_t faulted(const Transfer& t, std::int64_t answer) {
  const ReadFault fault = g_fault.load(std::memory_order_relaxed);
  return fault == nullptr ? answer : fault(t.offset + t.done, t.length - t.done, answer);
}

// Whether the file ends there or earlier; also if nobody can tell.
bool ends_by(int descriptor, std::uint64_t at) {
  struct stat st = {};
  return ::fstat(descriptor, &st) != 0 || static_cast<std::uint64_t>(st.st_size) <= at;
}

}  // namespace

void set_read_fault(ReadFault fault) { g_fault.store(fault); }

void Transfer::book(std::int64_t answer) {
  if (answer == -EIO && !retried) {
    retried = true;
    return;
  }
  if (answer <= 0) {
    error = static_cast<int>(-answer);
    settled = true;
    return;
  }
  tries = 0;
  const std::size_t before = done;
  done += static_cast<std::size_t>(answer);
  if (done >= length) {
    done = length;
    settled = true;
  } else if (const std::size_t aligned = done / align * align; aligned != done) {
    // A direct read may only go on from a boundary. One that stops short of the first boundary after its start met the end of the file, or
    // was cut off by an error or a file system that knows no boundaries: then it goes on where it is, and EINVAL says where that is
    // refused.
    if (aligned > before) {
      done = aligned;
    } else {
      settled = ends_by(descriptor, offset + done);
    }
  }
}

void read_blocking(std::span<Transfer> transfers) {
  for (Transfer& t : transfers) {
    int busy = 0;
    while (!t.settled) {
      const ssize_t got = ::pread(t.descriptor, t.out + t.done, t.length - t.done, static_cast<off_t>(t.offset + t.done));
      const std::int64_t answer = faulted(t, got >= 0 ? got : -errno);
      if (answer == -EAGAIN && ++busy < kMaxTries) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      } else if (answer != -EINTR) {
        t.book(answer);
      }
    }
  }
}

void book_answer(Transfer& transfer, std::int64_t answer) {
  answer = faulted(transfer, answer);
  if (answer != -EAGAIN && answer != -EINTR) {
    transfer.book(answer);
  } else if (++transfer.tries >= kMaxTries) {
    read_blocking({&transfer, 1});
  }
}

}  // namespace headrace::io
