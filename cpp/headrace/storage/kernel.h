// What only some kernels offer, each with an answer for the others. Linux: kernel_linux.cc; elsewhere: kernel_portable.cc.
//
// Owns nothing; any thread; safe after a fork. Functions that can fail return 0 or an errno value;
// ENOSYS means that this kernel or this file system cannot do it at all, so that the caller takes its other way.
#pragma once

#include <unistd.h>

#include <cstddef>
#include <cstdint>

namespace headrace::storage {

// Bytes of a page of this machine's memory.
inline std::size_t page_bytes() {
  static const auto bytes = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  return bytes;
}
// The flag of open(2) that bypasses the page cache; 0 where there is none.
int direct_open_flag();
// Reads mapped pages in, answering EFAULT where touching them would raise SIGBUS. `begin` is page-aligned.
int populate_pages(const std::uint8_t* begin, std::size_t bytes);
// Whether mapped pages of a file are in memory, as one of each 512 KiB tells; true where the system does not say. `begin` is page-aligned.
bool are_resident(const std::uint8_t* begin, std::size_t bytes);
// Asks for huge pages under a mapping, anonymous or of a file. Best effort.
void prefer_huge_pages(void* begin, std::size_t bytes);
// Drops the clean pages of an open file from the page cache. Best effort.
void drop_file_pages(int descriptor);
// rename(2) that fails with EEXIST instead of replacing `to`.
int rename_without_replacing(const char* from, const char* to);
// Whether an open file lies where flock() sees the locks of all that can open it. False where that is not known.
bool is_local_file_system(int descriptor);

}  // namespace headrace::storage
