#include "headrace/io/populate_ahead.h"

#include <algorithm>
#include <atomic>
#include <system_error>

#include "headrace/base/fork.h"
#include "headrace/base/thread_pool.h"

namespace headrace::io {
namespace {

using storage::Mapping;

// Apart from the pool that decodes and assembles, whose threads are as many as cores.
ThreadPool& waiting_threads() {
  struct Shared {
    ThreadPool pool;
    std::uint64_t generation;
  };
  // One atomic, not a mutex: a mutex could be held by a thread that fork() did not copy.
  static std::atomic<Shared*> current{nullptr};
  const std::uint64_t generation = fork_generation();
  Shared* seen = current.load(std::memory_order_acquire);
  while (seen == nullptr || seen->generation != generation) {
    auto* fresh = new Shared{ThreadPool(kPopulateThreads), generation};
    if (current.compare_exchange_strong(seen, fresh, std::memory_order_acq_rel)) return fresh->pool;
    delete fresh;  // Another thread was first; ours has no threads yet.
  }
  return seen->pool;
}

}  // namespace

void populate_ahead(const std::shared_ptr<const Mapping>& mapping, std::uint64_t offset, std::uint64_t length) {
  if (length == 0 || offset >= mapping->size()) return;
  const std::uint64_t last = (offset + std::min(length, mapping->size() - offset) - 1) / Mapping::kRegionBytes;
  for (std::uint64_t region = offset / Mapping::kRegionBytes; region <= last; ++region) {
    if (!mapping->claim_region(region)) continue;
    const std::uint64_t begin = region * Mapping::kRegionBytes;
    try {
      waiting_threads().submit(
          [mapping, begin] { (void)mapping->populate(begin, std::min(Mapping::kRegionBytes, mapping->size() - begin)); });
    } catch (const std::system_error&) {  // No thread to be had: it is read when it is needed.
    }
  }
}

}  // namespace headrace::io
