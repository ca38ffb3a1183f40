#include <fcntl.h>
#include <linux/fs.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "headrace/base/bytes.h"
#include "headrace/storage/kernel.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22  // Linux 5.14; older C libraries do not name it
#endif

namespace headrace::storage {

int direct_open_flag() { return O_DIRECT; }

int populate_pages(const std::uint8_t* begin, std::size_t bytes) {
  int rc = 0;
  do {
    rc = madvise(const_cast<std::uint8_t*>(begin), bytes, MADV_POPULATE_READ);
  } while (rc != 0 && errno == EINTR);
  if (rc == 0) return 0;
  return errno == EINVAL ? ENOSYS : errno;
}

bool are_resident(const std::uint8_t* begin, std::size_t bytes) {
  // A call costs a microsecond, and 20 for all pages of a huge one: a whole dataset may be asked about. Pages come and go in long runs.
  constexpr std::size_t kRun = 512u << 10;
  for (std::size_t at = 0; at < bytes; at += kRun) {
    unsigned char page = 0;
    if (mincore(const_cast<std::uint8_t*>(begin) + at, 1, &page) != 0) return true;
    if ((page & 1) == 0) return false;
  }
  return true;
}

void prefer_huge_pages(void* begin, std::size_t bytes) { (void)madvise(begin, bytes, MADV_HUGEPAGE); }

void drop_file_pages(int descriptor) { (void)posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED); }

int rename_without_replacing(const char* from, const char* to) {
  // By number: C libraries before glibc 2.28 do not wrap it.
  if (syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0) return 0;
  return errno == EINVAL ? ENOSYS : errno;  // EINVAL: the file system does not know the flag (NFS, many FUSE).
}

bool is_local_file_system(int descriptor) {
  // ext2 to ext4, XFS, Btrfs, tmpfs, overlay, ZFS, F2FS, bcachefs, ramfs: magic numbers of statfs(2), not all of them in linux/magic.h.
  constexpr std::array<std::uint32_t, 9> kLocal = {0xEF53,     0x58465342, 0x9123683E, 0x01021994, 0x794C7630,
                                                   0x2FC12FC1, 0xF2F52010, 0xCA451A4E, 0x858458F6};
  struct statfs found = {};
  if (::fstatfs(descriptor, &found) != 0) return false;
  return std::find(kLocal.begin(), kLocal.end(), static_cast<std::uint32_t>(found.f_type)) != kLocal.end();
}

}  // namespace headrace::storage
