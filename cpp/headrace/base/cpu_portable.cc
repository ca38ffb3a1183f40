#include <unistd.h>

#include <algorithm>
#include <thread>

#include "headrace/base/cpu.h"

namespace headrace {

std::vector<int> allowed_cores() { return {}; }

int available_cores() { return std::max(1, static_cast<int>(std::thread::hardware_concurrency())); }

std::uint64_t available_memory_bytes() {
  return static_cast<std::uint64_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
}

std::uint64_t free_memory_bytes(const std::string&) { return available_memory_bytes(); }

void prepare_engine_thread(const char*) {}

}  // namespace headrace
