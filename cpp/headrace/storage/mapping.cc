#include "headrace/storage/mapping.h"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cinttypes>
#include <utility>
#include <vector>

#include "headrace/storage/kernel.h"

namespace headrace::storage {
namespace {

constexpr std::uint64_t kHugePageBytes = std::uint64_t{2} << 20;
// Requests to a huge-page range before it is read in whole. That costs about as much as forty single ones: so a large dataset's first
// batch, which touches every range once, does not wait for all of them, and no range costs more than twice what the better way would have.
constexpr std::uint8_t kRequestsBeforeWhole = 32;

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

// Maps a file so that huge pages of it can be mapped whole: at an address that is a multiple of their size. MAP_FAILED with errno if
// refused.
void* map_aligned(std::size_t bytes, int descriptor) {
  void* plain = ::mmap(nullptr, bytes, PROT_READ, MAP_SHARED, descriptor, 0);
  if (plain == MAP_FAILED || bytes < kHugePageBytes || reinterpret_cast<std::uintptr_t>(plain) % kHugePageBytes == 0) return plain;
  ::munmap(plain, bytes);  // Newer kernels choose such an address by themselves; this one did not.
  const std::size_t padded = round_up(bytes, page_bytes()) + kHugePageBytes;
  void* reserved = ::mmap(nullptr, padded, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (reserved == MAP_FAILED) return MAP_FAILED;
  const auto begin = reinterpret_cast<std::uintptr_t>(reserved);
  const std::uintptr_t aligned = round_up(begin, kHugePageBytes);
  void* at = ::mmap(reinterpret_cast<void*>(aligned), bytes, PROT_READ, MAP_SHARED | MAP_FIXED, descriptor, 0);
  if (at == MAP_FAILED) {
    const int error = errno;
    ::munmap(reserved, padded);
    errno = error;
    return MAP_FAILED;
  }
  const std::uintptr_t end = aligned + round_up(bytes, page_bytes());
  if (aligned != begin) ::munmap(reserved, aligned - begin);
  if (end != begin + padded) ::munmap(reinterpret_cast<void*>(end), begin + padded - end);
  return at;
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

// For each huge-page range of the file: the requests so far, then kPopulated.
struct Mapping::Regions {
  static constexpr std::uint8_t kPopulated = 255;
  explicit Regions(std::uint64_t size) : requests(ceil_div(size, kHugePageBytes)) {}

  // Whether it is time to populate all of a region. Lost counts do not matter.
  bool is_worth_it(std::uint64_t region, std::uint64_t length) {
    const std::uint8_t seen = requests[region].load(std::memory_order_relaxed);
    if (seen >= kRequestsBeforeWhole || length >= kHugePageBytes / kRequestsBeforeWhole) return true;
    requests[region].store(static_cast<std::uint8_t>(seen + 1), std::memory_order_relaxed);
    return false;
  }
  std::vector<std::atomic<std::uint8_t>> requests;
  std::atomic<bool> whole = false;
};

Mapping::Mapping() = default;

Mapping::~Mapping() {
  if (data_ != nullptr) ::munmap(const_cast<std::uint8_t*>(data_), size_);
}

Mapping::Mapping(Mapping&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      identity_(other.identity_),
      path_(std::move(other.path_)),
      regions_(std::move(other.regions_)) {}

Mapping& Mapping::operator=(Mapping&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(identity_, other.identity_);
  std::swap(path_, other.path_);
  std::swap(regions_, other.regions_);
  return *this;
}

Result<Mapping> Mapping::map(const File& file) {
  Mapping out;
  HR_ASSIGN_OR_RETURN(out.identity_, file.identity());
  out.path_ = file.path();
  if (out.identity_.size == 0) return out;
  void* at = map_aligned(out.identity_.size, file.descriptor());
  if (at == MAP_FAILED) return Status::from_errno(errno, strf("map %s: %" PRIu64 " bytes", file.path().c_str(), out.identity_.size));
  out.data_ = static_cast<const std::uint8_t*>(at);
  out.size_ = out.identity_.size;
  if (out.size_ >= kHugePageBytes) out.regions_ = std::make_unique<Regions>(out.size_);
  return out;
}

Status Mapping::populate(std::uint64_t offset, std::uint64_t length) const {
  std::uint64_t end = 0;
  if (!checked_add(offset, length, &end) || end > size_) {
    return {Code::kTruncated, strf("map %s: offset %" PRIu64 ", expected %" PRIu64 " bytes, but only %" PRIu64 " bytes are mapped",
                                   path_.c_str(), offset, length, size_)};
  }
  if (length == 0) return Status::ok();
  if (regions_ == nullptr || !regions_->whole.load(std::memory_order_relaxed)) return populate_exactly(offset, length);
  for (std::uint64_t region = offset / kHugePageBytes; region * kHugePageBytes < end; ++region) {
    if (regions_->requests[region].load(std::memory_order_acquire) == Regions::kPopulated) continue;
    const std::uint64_t begin = region * kHugePageBytes;
    if (!regions_->is_worth_it(region, length)) {
      const std::uint64_t from = std::max(begin, offset);
      HR_RETURN_IF_ERROR(populate_exactly(from, std::min(begin + kHugePageBytes, end) - from));
      continue;
    }
    if (populate_pages(data_ + begin, std::min(kHugePageBytes, size_ - begin)) != 0) return populate_exactly(offset, length);
    regions_->requests[region].store(Regions::kPopulated, std::memory_order_release);
  }
  return Status::ok();
}

Status Mapping::populate_exactly(std::uint64_t offset, std::uint64_t length) const {
  const std::uint64_t end = offset + length;
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
  if (regions_ != nullptr && regions_->whole.load(std::memory_order_relaxed))
    return;  // Small read-ahead would break up the huge pages to come.
  const std::uint64_t begin = offset / page_bytes() * page_bytes();
  const std::uint64_t end = offset + std::min(length, size_ - offset);
  (void)::posix_madvise(const_cast<std::uint8_t*>(data_) + begin, end - begin, POSIX_MADV_WILLNEED);
}

void Mapping::expect_whole() const {
  if (regions_ == nullptr || regions_->whole.exchange(true)) return;
  (void)::posix_madvise(const_cast<std::uint8_t*>(data_), size_, POSIX_MADV_NORMAL);
  prefer_huge_pages(const_cast<std::uint8_t*>(data_), size_);
}

void Mapping::advise_random() const {
  if (size_ != 0) (void)::posix_madvise(const_cast<std::uint8_t*>(data_), size_, POSIX_MADV_RANDOM);
}

}  // namespace headrace::storage
