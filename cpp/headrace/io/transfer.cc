#include "headrace/io/transfer.h"

#include <unistd.h>

#include <cerrno>

namespace headrace::io {

void Transfer::book(std::int64_t answer) {
  if (answer <= 0) {
    error = static_cast<int>(-answer);
    settled = true;
    return;
  }
  const std::size_t before = done;
  done += static_cast<std::size_t>(answer);
  if (done >= length) {
    done = length;
    settled = true;
  } else if (const std::size_t aligned = done / align * align; aligned != done) {
    // A direct read may only go on from a boundary. One that stops short of the first boundary after its start met the end of the file.
    if (aligned == before) {
      settled = true;
    } else {
      done = aligned;
    }
  }
}

void read_blocking(std::span<Transfer> transfers) {
  for (Transfer& t : transfers) {
    while (!t.settled) {
      const ssize_t got = ::pread(t.descriptor, t.out + t.done, t.length - t.done, static_cast<off_t>(t.offset + t.done));
      if (got >= 0 || errno != EINTR) t.book(got >= 0 ? got : -errno);
    }
  }
}

}  // namespace headrace::io
