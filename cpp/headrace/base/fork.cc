#include "headrace/base/fork.h"

#include <pthread.h>

#include <atomic>

namespace headrace {
namespace {

std::atomic<std::uint64_t> generation{1};

void on_child() { generation.fetch_add(1, std::memory_order_relaxed); }

}  // namespace

std::uint64_t fork_generation() {
  // Registered at the first call, which precedes the making of anything that a fork could break.
  static const int registered = pthread_atfork(nullptr, nullptr, on_child);
  (void)registered;
  return generation.load(std::memory_order_relaxed);
}

}  // namespace headrace
