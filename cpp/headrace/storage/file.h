// A local file opened for positional reads.
//
// Owns:     one descriptor (close-on-exec), closed by the destructor.
// Threads:  any thread may read at the same time; there is no shared file position.
// Forking:  safe: it holds no lock.
#pragma once

#include <cstdint>
#include <string>

#include "headrace/base/bytes.h"
#include "headrace/base/status.h"

namespace headrace::storage {

// What tells one version of a file from another.
struct FileIdentity {
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  std::uint64_t size = 0;
  std::int64_t mtime_ns = 0;
  bool operator==(const FileIdentity&) const = default;
};

class File {
 public:
  File() = default;
  ~File();
  File(File&& other) noexcept;
  File& operator=(File&& other) noexcept;
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  // Opens for reading. With `direct`, asks for O_DIRECT and answers kUnsupported where the file system refuses it.
  // Errors: kNotFound, kIoError (with errno; EMFILE says `ulimit -n`), kInvalidArgument (a directory), kUnsupported.
  static Result<File> open(const std::string& path, bool direct = false);

  // Fills `out` from `offset`; short reads and EINTR are retried, and the first EIO, since a bad sector may answer the second time:
  // `retries` (if given) counts that.
  // Errors: kTruncated (the file ends first), kIoError. Messages name path, offset and length.
  Status read_exact(std::uint64_t offset, MutableBytes out, unsigned* retries = nullptr) const;

  Result<FileIdentity> identity() const;
  // Of what a path names now. Errors: kNotFound, kIoError.
  static Result<FileIdentity> identity_of(const std::string& path);
  int descriptor() const { return fd_; }
  const std::string& path() const { return path_; }
  // Asks the kernel to drop this file's clean pages (makes a warm file cold). Best effort.
  void drop_cache() const;

 private:
  int fd_ = -1;
  std::string path_;
};

}  // namespace headrace::storage
