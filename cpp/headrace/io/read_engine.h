// Positional reads of many ranges at once: pread, O_DIRECT, or io_uring, with one contract.
//
// Owns:     at most its ring (io_uring), one a thread. Files are borrowed for the call.
// Threads:  any thread may call read() at the same time.
// Forking:  engines hold no lock; a ring made before fork() is not used in the child.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "headrace/base/bytes.h"
#include "headrace/base/status.h"
#include "headrace/storage/file.h"

namespace headrace::io {

enum class ReaderKind : std::uint8_t { kMmap, kPread, kDirect, kUring };
// "mmap", "pread", "direct", "uring"; "auto" is mmap. Errors: kInvalidArgument.
Result<ReaderKind> reader_from_name(std::string_view name);
const char* reader_name(ReaderKind kind);

struct ReadRequest {
  const storage::File* file = nullptr;
  std::uint64_t offset = 0;
  MutableBytes out;
  Status status;         // set by read(), one a request
  bool retried = false;  // set by read(): EIO was met, and what was tried again counted
};

class ReadEngine {
 public:
  virtual ~ReadEngine() = default;
  // Fills every request; each has its own status. Returns when all are done.
  virtual void read(std::span<ReadRequest> requests) = 0;
  // What serves the reads now: differs from what was asked for after a fallback.
  virtual ReaderKind kind() const = 0;
  // Why kind() is not what was asked for, for a message; empty while it is.
  virtual std::string fallback_reason() const = 0;
  // Whether files must be opened with O_DIRECT.
  virtual bool wants_direct_files() const = 0;
  // The caller could not open a file with O_DIRECT: read through the page cache from now on.
  virtual void give_up_direct() = 0;
  // A ring of the caller's was refused with this errno. Engines that want none, or do without, ignore it.
  virtual void give_up_ring(int error) = 0;
};

// Falls back by itself, for good and once: uring -> pread where the kernel refuses rings (ENOSYS, EPERM, ENOMEM), direct -> pread
// where O_DIRECT is refused. `kind` kMmap is not an engine: kInvalidArgument.
Result<std::unique_ptr<ReadEngine>> make_read_engine(ReaderKind kind);

}  // namespace headrace::io
