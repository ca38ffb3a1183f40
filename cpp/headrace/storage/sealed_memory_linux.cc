#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <utility>

#include "headrace/storage/sealed_memory.h"

namespace headrace::storage {
namespace {

constexpr int kSeals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;

// Descriptors plus one; 0: free. Read by a child right after fork(), so no lock and no memory of its own.
std::array<std::atomic<int>, 2048> kept;

void close_kept() {
  for (std::atomic<int>& one : kept) {
    if (const int descriptor = one.exchange(0); descriptor != 0) ::close(descriptor - 1);
  }
}

Status failed(const char* what, Code code) { return {code, std::string(what) + " a memory file", errno}; }

}  // namespace

bool close_in_children(int descriptor) {
  static const int registered = pthread_atfork(nullptr, nullptr, close_kept);
  (void)registered;
  for (std::atomic<int>& one : kept) {
    int free = 0;
    if (one.compare_exchange_strong(free, descriptor + 1)) return true;
  }
  return false;
}

void forget_descriptor(int descriptor) {
  for (std::atomic<int>& one : kept) {
    int its = descriptor + 1;
    if (one.compare_exchange_strong(its, 0)) return;
  }
}

SealedMemory::~SealedMemory() {
  if (writable_ != nullptr) ::munmap(writable_, size_);
  if (readable_ != nullptr) ::munmap(const_cast<std::uint8_t*>(readable_), size_);
  if (descriptor_ < 0) return;
  forget_descriptor(descriptor_);
  ::close(descriptor_);
}

Result<std::shared_ptr<SealedMemory>> SealedMemory::create(std::size_t bytes) {
  std::shared_ptr<SealedMemory> memory(new SealedMemory());
  memory->descriptor_ = ::memfd_create("headrace", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (memory->descriptor_ < 0) return failed("make", errno == ENOSYS ? Code::kUnsupported : Code::kOutOfMemory);
  struct stat status{};
  if (!close_in_children(memory->descriptor_) || ::ftruncate(memory->descriptor_, static_cast<off_t>(bytes)) != 0 ||
      ::fstat(memory->descriptor_, &status) != 0) {
    return failed("size", Code::kOutOfMemory);
  }
  memory->identity_ = status.st_ino;
  void* at = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, memory->descriptor_, 0);
  if (at == MAP_FAILED) return failed("map", Code::kOutOfMemory);
  memory->size_ = bytes;
  memory->writable_ = static_cast<std::uint8_t*>(at);
  (void)::madvise(at, bytes, MADV_DONTFORK);
  (void)::madvise(at, bytes, MADV_HUGEPAGE);
  return memory;
}

Status SealedMemory::map_readable() {
  void* at = ::mmap(nullptr, size_, PROT_READ, MAP_SHARED, descriptor_, 0);
  if (at == MAP_FAILED) {  // Older kernels refuse a shared mapping of what is sealed against writing.
    at = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, descriptor_, 0);
  }
  if (at == MAP_FAILED) return failed("map", Code::kOutOfMemory);
  readable_ = static_cast<const std::uint8_t*>(at);
  (void)::madvise(at, size_, MADV_DONTFORK);
  return Status::ok();
}

Status SealedMemory::seal(std::size_t bytes) {
  ::munmap(std::exchange(writable_, nullptr), size_);
  size_ = bytes;
  if (::ftruncate(descriptor_, static_cast<off_t>(bytes)) != 0) return failed("cut", Code::kIoError);
  if (::fcntl(descriptor_, F_ADD_SEALS, kSeals) != 0) return failed("seal", Code::kIoError);
  return map_readable();
}

Result<std::shared_ptr<SealedMemory>> SealedMemory::adopt(int descriptor, std::size_t bytes) {
  std::shared_ptr<SealedMemory> memory(new SealedMemory());
  memory->descriptor_ = descriptor;
  if (!close_in_children(descriptor)) return Status(Code::kLimitExceeded, "share memory: too many memory files are open");
  struct stat status{};
  const int seals = ::fcntl(descriptor, F_GET_SEALS);
  if (seals < 0 || (seals & kSeals) != kSeals || ::fstat(descriptor, &status) != 0 || !S_ISREG(status.st_mode) ||
      static_cast<std::size_t>(status.st_size) != bytes) {
    return Status(Code::kCorrupt, "share memory: another process sent a file that is not sealed, or not as long as it said");
  }
  memory->identity_ = status.st_ino;
  memory->size_ = bytes;
  HR_RETURN_IF_ERROR(memory->map_readable());
  return memory;
}

}  // namespace headrace::storage
