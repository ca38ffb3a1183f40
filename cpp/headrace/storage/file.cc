#include "headrace/storage/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cinttypes>
#include <limits>
#include <utility>

#include "headrace/storage/kernel.h"

namespace headrace::storage {
namespace {

// Linux moves at most this many bytes a call anyway.
constexpr std::size_t kMaxReadBytes = 0x7ffff000;

std::int64_t mtime_ns(const struct stat& st) {
#if defined(__APPLE__)
  return std::int64_t{st.st_mtimespec.tv_sec} * 1'000'000'000 + st.st_mtimespec.tv_nsec;
#else
  return std::int64_t{st.st_mtim.tv_sec} * 1'000'000'000 + st.st_mtim.tv_nsec;
#endif
}

FileIdentity identity_from(const struct stat& st) {
  return {static_cast<std::uint64_t>(st.st_dev), static_cast<std::uint64_t>(st.st_ino), static_cast<std::uint64_t>(st.st_size),
          mtime_ns(st)};
}

Status truncated(const File& file, std::uint64_t offset, std::uint64_t length, std::uint64_t found) {
  std::string size = "an unknown number of";
  if (auto identity = file.identity()) size = std::to_string(identity->size);
  return {Code::kTruncated, strf("read %s: offset %" PRIu64 ", expected %" PRIu64 " bytes, found %" PRIu64
                                 " (the file has %s bytes): it is cut short or still being written; copy it again",
                                 file.path().c_str(), offset, length, found, size.c_str())};
}

}  // namespace

File::~File() {
  if (fd_ >= 0) ::close(fd_);
}

File::File(File&& other) noexcept : fd_(std::exchange(other.fd_, -1)), path_(std::move(other.path_)) {}

File& File::operator=(File&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(path_, other.path_);
  return *this;
}

Result<File> File::open(const std::string& path, bool direct) {
  if (direct && direct_open_flag() == 0) {
    return Status(Code::kUnsupported, strf("open %s: this system has no direct reads; open it without them", path.c_str()));
  }
  File file;
  file.path_ = path;
  // O_NONBLOCK keeps a FIFO from blocking here; it is taken away again below, as io_uring would answer EAGAIN because of it.
  const int flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | (direct ? direct_open_flag() : 0);
  do {
    file.fd_ = ::open(path.c_str(), flags);
  } while (file.fd_ < 0 && errno == EINTR);
  if (file.fd_ < 0) {
    if (direct && errno == EINVAL) {
      return Status(Code::kUnsupported, strf("open %s: its file system refuses direct reads; open it without them", path.c_str()), EINVAL);
    }
    return Status::from_errno(errno, "open " + path);
  }
  struct stat st = {};
  if (::fstat(file.fd_, &st) != 0) return Status::from_errno(errno, "stat " + path);
  if (!S_ISREG(st.st_mode)) {
    return Status(Code::kInvalidArgument, strf("open %s: expected a regular file, found %s", path.c_str(),
                                               S_ISDIR(st.st_mode) ? "a directory" : "a device, pipe or socket"));
  }
  if (::fcntl(file.fd_, F_SETFL, flags & ~O_NONBLOCK) != 0) return Status::from_errno(errno, "open " + path);
  return file;
}

Status File::read_exact(std::uint64_t offset, MutableBytes out, unsigned* retries) const {
  if (fd_ < 0) return {Code::kClosed, "read: the file is not open"};
  std::uint64_t end = 0;
  if (!checked_add(offset, out.size(), &end) || end > std::uint64_t{std::numeric_limits<off_t>::max()}) {
    return truncated(*this, offset, out.size(), 0);
  }
  std::size_t done = 0;
  bool retried = false;
  while (done < out.size()) {
    const std::size_t want = std::min(out.size() - done, kMaxReadBytes);
    const ssize_t got = ::pread(fd_, out.data() + done, want, static_cast<off_t>(offset + done));
    if (got > 0) {
      done += static_cast<std::size_t>(got);
    } else if (got == 0) {
      return truncated(*this, offset, out.size(), done);
    } else if (errno == EIO && !retried) {
      retried = true;
      if (retries != nullptr) ++*retries;
    } else if (errno != EINTR) {
      const int err = errno;
      return Status::from_errno(
          err, strf("read %s: offset %" PRIu64 ", expected %zu bytes, failed after %zu", path_.c_str(), offset, out.size(), done));
    }
  }
  return Status::ok();
}

Result<FileIdentity> File::identity() const {
  struct stat st = {};
  if (::fstat(fd_, &st) != 0) return Status::from_errno(errno, "stat " + path_);
  return identity_from(st);
}

Result<FileIdentity> File::identity_of(const std::string& path) {
  struct stat st = {};
  if (::stat(path.c_str(), &st) != 0) return Status::from_errno(errno, "stat " + path);
  return identity_from(st);
}

void File::drop_cache() const { drop_file_pages(fd_); }

}  // namespace headrace::storage
