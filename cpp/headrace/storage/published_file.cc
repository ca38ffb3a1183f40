#include "headrace/storage/published_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cinttypes>
#include <random>
#include <utility>

#include "headrace/base/fork.h"
#include "headrace/storage/kernel.h"

namespace headrace::storage {
namespace {

constexpr std::size_t kMaxWriteBytes = 0x7ffff000;
constexpr int kNameAttempts = 16;
constexpr std::size_t kRandomDigits = 16;
constexpr std::string_view kSuffix = ".tmp";

std::string directory_of(const std::string& path) {
  const auto slash = path.find_last_of('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

std::string temporary_name(const std::string& path) {
  const auto slash = path.find_last_of('/');
  const std::string prefix = slash == std::string::npos ? "" : path.substr(0, slash + 1);
  const std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
  std::random_device random;
  return strf("%s.%s.%08x%08x.tmp", prefix.c_str(), name.c_str(), random(), random());
}

int lock(int fd) {
  int rc = 0;
  do {
    rc = ::flock(fd, LOCK_EX | LOCK_NB);
  } while (rc != 0 && errno == EINTR);
  return rc == 0 ? 0 : errno;
}

// Makes and locks a temporary file; answers 0 or an errno value, EEXIST where another name may do better.
int open_locked(const std::string& temporary, int* fd) {
  *fd = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (*fd < 0) return errno == EINTR ? EEXIST : errno;
  const int locked = lock(*fd);
  struct stat made = {};
  // Somebody who looks for abandoned files may have seen it before it was locked. File systems without locks have nobody who looks.
  const bool taken = locked == EWOULDBLOCK || (locked == 0 && ::fstat(*fd, &made) == 0 && made.st_nlink == 0);
  if (!taken) return 0;
  ::close(std::exchange(*fd, -1));
  ::unlink(temporary.c_str());
  return EEXIST;
}

bool names_same_file(const std::string& a, const std::string& b) {
  struct stat sa = {}, sb = {};
  return ::lstat(a.c_str(), &sa) == 0 && ::lstat(b.c_str(), &sb) == 0 && sa.st_dev == sb.st_dev && sa.st_ino == sb.st_ino;
}

Status already_exists(const std::string& path) {
  return {Code::kAlreadyExists, "publish " + path + ": a file of this name exists and is never replaced; choose another name or delete it",
          EEXIST};
}

// Status::from_errno, but never kNotFound: what is missing is our own temporary file or its directory.
Status write_error(int err, const std::string& message) {
  Status status = Status::from_errno(err, message);
  return status.code() == Code::kNotFound ? Status(Code::kIoError, status.message(), err) : status;
}

}  // namespace

Status sync_directory(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return Status::from_errno(errno, "open directory " + path);
  const int err = ::fsync(fd) == 0 ? 0 : errno;
  ::close(fd);
  if (err == 0 || err == EINVAL || err == ENOTSUP) return Status::ok();
  return Status::from_errno(err, "sync directory " + path);
}

Status move_by_link(const std::string& from, const std::string& to) {
  if (::link(from.c_str(), to.c_str()) != 0) {
    const int err = errno;
    // A network file system may repeat a request that had succeeded, and then report its own link as the obstacle.
    if (err == EEXIST && !names_same_file(from, to)) return already_exists(to);
    if (err == EPERM || err == ENOTSUP) {
      return write_error(err, "publish " + to + ": the file system has neither rename without replacing nor hard links; " +
                                  "write to another file system and copy");
    }
    if (err != EEXIST) return write_error(err, "publish " + to);
  }
  if (::unlink(from.c_str()) != 0) return write_error(errno, "publish " + to + ": it stands, but its temporary file cannot be removed");
  return Status::ok();
}

PublishedFile::~PublishedFile() { discard(); }

PublishedFile::PublishedFile(PublishedFile&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)),
      size_(std::exchange(other.size_, 0)),
      generation_(other.generation_),
      path_(std::move(other.path_)),
      temporary_(std::exchange(other.temporary_, {})) {}

PublishedFile& PublishedFile::operator=(PublishedFile&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(size_, other.size_);
  std::swap(generation_, other.generation_);
  std::swap(path_, other.path_);
  std::swap(temporary_, other.temporary_);
  return *this;
}

Result<PublishedFile> PublishedFile::create(const std::string& path) {
  if (path.empty() || path.back() == '/') return Status(Code::kInvalidArgument, "create '" + path + "': expected the name of a file");
  PublishedFile file;
  file.generation_ = fork_generation();
  file.path_ = path;
  int err = EEXIST;
  for (int attempt = 0; attempt < kNameAttempts && err == EEXIST; ++attempt) {
    std::string temporary = temporary_name(path);
    err = open_locked(temporary, &file.fd_);
    if (err == 0) file.temporary_ = std::move(temporary);
  }
  if (err != 0) return Status::from_errno(err, "create a temporary file for " + path);
  return file;
}

Status PublishedFile::append(Bytes bytes) {
  if (fd_ < 0) return {Code::kClosed, "write " + path_ + ": the file was published, discarded or failed before"};
  if (generation_ != fork_generation()) {
    return {Code::kForked, "write " + path_ + ": the file belongs to the parent process; create it after the fork"};
  }
  std::size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t put = ::write(fd_, bytes.data() + done, std::min(bytes.size() - done, kMaxWriteBytes));
    if (put > 0) {
      done += static_cast<std::size_t>(put);
    } else if (put == 0 || errno != EINTR) {
      const int err = put == 0 ? EIO : errno;
      discard();
      return write_error(err, strf("write %s: offset %" PRIu64 ", %zu bytes", path_.c_str(), size_ + done, bytes.size() - done));
    }
  }
  size_ += bytes.size();
  return Status::ok();
}

Status PublishedFile::publish() {
  if (fd_ < 0) return {Code::kClosed, "publish " + path_ + ": the file was published, discarded or failed before"};
  if (generation_ != fork_generation()) {
    discard();
    return {Code::kForked, "publish " + path_ + ": the file belongs to the parent process; publish it there"};
  }
  if (::fsync(fd_) != 0) {
    const int err = errno;
    discard();
    return write_error(err, "sync " + path_ + " (nothing was published)");
  }
  // close() may still report a failed write; a second descriptor keeps the lock until the file has its name.
  const int keeper = ::fcntl(fd_, F_DUPFD_CLOEXEC, 0);
  if (keeper < 0 || ::close(std::exchange(fd_, keeper)) != 0) {
    const int err = errno;
    discard();
    return write_error(err, "close " + path_ + " (nothing was published)");
  }
  const int err = rename_without_replacing(temporary_.c_str(), path_.c_str());
  Status moved = err == 0        ? Status::ok()
                 : err == ENOSYS ? move_by_link(temporary_, path_)
                 : err == EEXIST ? already_exists(path_)
                                 : write_error(err, "rename " + temporary_ + " to " + path_);
  if (!moved) {
    discard();
    return moved;
  }
  temporary_.clear();
  ::close(std::exchange(fd_, -1));
  return sync_directory(directory_of(path_)).with_context("publish " + path_ + ": it stands, but may not survive a power cut");
}

void PublishedFile::discard() {
  if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  if (!temporary_.empty() && generation_ == fork_generation()) ::unlink(temporary_.c_str());
  temporary_.clear();
}

std::string_view final_name_of(std::string_view temporary) {
  const std::size_t around = 1 + 1 + kRandomDigits + kSuffix.size();  // the dots before the name and before the digits
  if (temporary.size() <= around || temporary.front() != '.' || !temporary.ends_with(kSuffix)) return {};
  const std::string_view name = temporary.substr(1, temporary.size() - around);
  const std::string_view digits = temporary.substr(1 + name.size() + 1, kRandomDigits);
  const bool random = digits.find_first_not_of("0123456789abcdef") == std::string_view::npos;
  return random && temporary[1 + name.size()] == '.' ? name : std::string_view();
}

Result<Maker> maker_of(const std::string& temporary, bool remove) {
  const int fd = ::open(temporary.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) return errno == ENOENT ? Maker::kAlive : Maker::kUnknown;  // ENOENT: it was published or discarded just now.
  struct stat found = {};
  Maker maker = Maker::kUnknown;
  int removed = 0;
  if (::fstat(fd, &found) == 0 && S_ISREG(found.st_mode) && is_local_file_system(fd)) {
    const int locked = lock(fd);
    if (locked == EWOULDBLOCK) maker = Maker::kAlive;
    if (locked == 0) maker = Maker::kGone;
    if (locked == 0 && remove && ::unlink(temporary.c_str()) != 0 && errno != ENOENT) removed = errno;
  }
  ::close(fd);
  if (removed != 0) return write_error(removed, "remove " + temporary);
  return maker;
}

}  // namespace headrace::storage
