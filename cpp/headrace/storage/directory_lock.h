// A lock on a directory that ends with its holder, whatever ends that: writers share it, and who clears up after dead ones has it alone.
//
// Owns:     a descriptor of the directory, whose flock() it is. Advisory: it keeps nobody from reading or writing.
// Threads:  one at a time. Forking: a child holds on to it as long as it lives.
#pragma once

#include <string>

#include "headrace/base/status.h"

namespace headrace::storage {

class DirectoryLock {
 public:
  DirectoryLock() = default;  // holds nothing
  ~DirectoryLock();
  DirectoryLock(DirectoryLock&& other) noexcept;
  DirectoryLock& operator=(DirectoryLock&& other) noexcept;
  DirectoryLock(const DirectoryLock&) = delete;
  DirectoryLock& operator=(const DirectoryLock&) = delete;

  // Waits while another has the lock alone. Where the file system has no locks, what is returned holds none.
  // Errors: kNotFound (no such directory, or removed while waiting), kIoError.
  static Result<DirectoryLock> share(const std::string& directory);
  // Whether nobody else has the lock, in any way, and this one now has it alone. False too where the file system has no locks, or may
  // not show those of other machines. On false, what was shared may be lost.
  bool try_alone();

 private:
  int fd_ = -1;
};

}  // namespace headrace::storage
