#include "headrace/storage/mapping.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cinttypes>
#include <utility>

#include "headrace/storage/kernel.h"

namespace headrace::storage {
namespace {

bool same_file(const FileIdentity& a, const FileIdentity& b) { return a.device == b.device && a.inode == b.inode; }

std::string describe(const std::string& path, std::uint64_t offset, std::uint64_t length) {
  return strf("map %s: bytes [%" PRIu64 ", %" PRIu64 ")", path.c_str(), offset, offset + length);
}

// The kernel says EFAULT both for a file that was cut and for a device that failed; the file's size tells them apart.
Status explain_fault(const std::string& path, const FileIdentity& mapped, std::uint64_t offset, std::uint64_t length) {
  if (auto file = File::open(path)) {
    auto now = file->identity();
    if (now && same_file(*now, mapped) && now->size < offset + length) {
      return {Code::kTruncated, strf("%s: the file was cut while in use: expected %" PRIu64 " bytes, found %" PRIu64 "; copy it again",
                                     describe(path, offset, length).c_str(), mapped.size, now->size)};
    }
  }
  return Status::from_errno(EIO, describe(path, offset, length) + ": the device failed, or the file was cut and replaced");
}

}  // namespace

Status populate_by_reading(const std::string& path, const FileIdentity& mapped, std::uint64_t offset, std::uint64_t length) {
  HR_ASSIGN_OR_RETURN(const File file, File::open(path));
  HR_ASSIGN_OR_RETURN(const FileIdentity now, file.identity());
  if (!same_file(now, mapped)) {
    return {Code::kChanged, describe(path, offset, length) + ": another file has this name now; open the dataset again"};
  }
  std::uint8_t byte = 0;
  for (std::uint64_t at = offset; at < offset + length; at = (at / page_bytes() + 1) * page_bytes()) {
    HR_RETURN_IF_ERROR(file.read_exact(at, {&byte, 1}));
  }
  return Status::ok();
}

Mapping::~Mapping() {
  if (data_ != nullptr) ::munmap(const_cast<std::uint8_t*>(data_), size_);
}

Mapping::Mapping(Mapping&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      identity_(other.identity_),
      path_(std::move(other.path_)) {}

Mapping& Mapping::operator=(Mapping&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(identity_, other.identity_);
  std::swap(path_, other.path_);
  return *this;
}

Result<Mapping> Mapping::map(const File& file) {
  Mapping out;
  HR_ASSIGN_OR_RETURN(out.identity_, file.identity());
  out.path_ = file.path();
  if (out.identity_.size == 0) return out;
  void* at = ::mmap(nullptr, out.identity_.size, PROT_READ, MAP_SHARED, file.descriptor(), 0);
  if (at == MAP_FAILED) return Status::from_errno(errno, strf("map %s: %" PRIu64 " bytes", file.path().c_str(), out.identity_.size));
  out.data_ = static_cast<const std::uint8_t*>(at);
  out.size_ = out.identity_.size;
  return out;
}

Status Mapping::populate(std::uint64_t offset, std::uint64_t length) const {
  std::uint64_t end = 0;
  if (!checked_add(offset, length, &end) || end > size_) {
    return {Code::kTruncated, strf("map %s: offset %" PRIu64 ", expected %" PRIu64 " bytes, but only %" PRIu64 " bytes are mapped",
                                   path_.c_str(), offset, length, size_)};
  }
  if (length == 0) return Status::ok();
  const std::uint64_t begin = offset / page_bytes() * page_bytes();
  const int err = populate_pages(data_ + begin, end - begin);
  if (err == 0) return Status::ok();
  if (err == ENOSYS) {
    const Status status = populate_by_reading(path_, identity_, offset, length);
    return status.code() == Code::kTruncated ? explain_fault(path_, identity_, offset, length) : status;
  }
  if (err == EFAULT) return explain_fault(path_, identity_, offset, length);
  return Status::from_errno(err, describe(path_, offset, length));
}

void Mapping::will_need(std::uint64_t offset, std::uint64_t length) const {
  if (offset >= size_ || length == 0) return;
  const std::uint64_t begin = offset / page_bytes() * page_bytes();
  const std::uint64_t end = offset + std::min(length, size_ - offset);
  (void)::posix_madvise(const_cast<std::uint8_t*>(data_) + begin, end - begin, POSIX_MADV_WILLNEED);
}

void Mapping::advise_random() const {
  if (size_ != 0) (void)::posix_madvise(const_cast<std::uint8_t*>(data_), size_, POSIX_MADV_RANDOM);
}

}  // namespace headrace::storage
