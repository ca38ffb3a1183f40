#include <cerrno>

#include "headrace/storage/kernel.h"

namespace headrace::storage {

int direct_open_flag() { return 0; }

int populate_pages(const std::uint8_t*, std::size_t) { return ENOSYS; }

bool are_resident(const std::uint8_t*, std::size_t) { return true; }

void prefer_huge_pages(void*, std::size_t) {}

void drop_file_pages(int) {}

int rename_without_replacing(const char*, const char*) { return ENOSYS; }

bool is_local_file_system(int) { return false; }

}  // namespace headrace::storage
