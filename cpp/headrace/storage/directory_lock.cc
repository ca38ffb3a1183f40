#include "headrace/storage/directory_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "headrace/storage/kernel.h"

namespace headrace::storage {

DirectoryLock::~DirectoryLock() {
  if (fd_ >= 0) ::close(fd_);
}

DirectoryLock::DirectoryLock(DirectoryLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

DirectoryLock& DirectoryLock::operator=(DirectoryLock&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}

Result<DirectoryLock> DirectoryLock::share(const std::string& directory) {
  DirectoryLock lock;
  lock.fd_ = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (lock.fd_ < 0) return Status::from_errno(errno, "open directory " + directory);
  int rc = 0;
  do {
    rc = ::flock(lock.fd_, LOCK_SH);
  } while (rc != 0 && errno == EINTR);
  if (rc != 0) return DirectoryLock();
  struct stat found = {};
  if (::fstat(lock.fd_, &found) == 0 && found.st_nlink == 0) {
    return Status(Code::kNotFound, "open directory " + directory + ": it was removed just now", ENOENT);
  }
  return lock;
}

bool DirectoryLock::try_alone() {
  if (fd_ < 0 || !is_local_file_system(fd_)) return false;
  int rc = 0;
  do {
    rc = ::flock(fd_, LOCK_EX | LOCK_NB);
  } while (rc != 0 && errno == EINTR);
  return rc == 0;
}

}  // namespace headrace::storage
