#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

#include "headrace/base/bytes.h"
#include "headrace/io/residency.h"

namespace headrace::io {
namespace {

constexpr std::uint64_t kRangeBytes = 64u << 10;
constexpr long kCachestat = 451;  // Linux 6.5; the headers may be older

// Pages of a range in the page cache; -1 where the system does not tell.
std::int64_t cached_pages(int descriptor, std::uint64_t offset, std::uint64_t length) {
  struct {
    std::uint64_t offset, length;
  } range{offset, length};
  struct {
    std::uint64_t cached, dirty, writeback, evicted, recently_evicted;
  } answer{};
  if (::syscall(kCachestat, descriptor, &range, &answer, 0u) == 0) return static_cast<std::int64_t>(answer.cached);
  // A mapping that nobody touches shows the same, to the file's owner.
  void* at = ::mmap(nullptr, length, PROT_READ, MAP_SHARED, descriptor, static_cast<off_t>(offset));
  if (at == MAP_FAILED) return -1;
  std::vector<unsigned char> pages(ceil_div(length, static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE))));
  const int failed = ::mincore(at, length, pages.data());
  ::munmap(at, length);
  if (failed != 0) return -1;
  return std::count_if(pages.begin(), pages.end(), [](unsigned char page) { return (page & 1) != 0; });
}

}  // namespace

double cached_share(int descriptor, std::uint64_t bytes, unsigned samples) {
  const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  const std::uint64_t ranges = ceil_div(bytes, kRangeBytes);
  const std::uint64_t taken = std::min<std::uint64_t>(ranges, samples);
  std::uint64_t pages = 0, cached = 0;
  for (std::uint64_t i = 0; i < taken; ++i) {
    const std::uint64_t offset = i * ranges / taken * kRangeBytes;
    const std::uint64_t length = std::min(kRangeBytes, bytes - offset);
    const std::int64_t there = cached_pages(descriptor, offset, length);
    if (there < 0) return -1;
    pages += ceil_div(length, page);
    cached += static_cast<std::uint64_t>(there);
  }
  return pages == 0 ? 1 : static_cast<double>(cached) / static_cast<double>(pages);
}

}  // namespace headrace::io
