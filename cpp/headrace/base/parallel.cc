#include "headrace/base/parallel.h"

#include <atomic>
#include <mutex>
#include <new>
#include <system_error>

#include "headrace/base/thread_pool.h"

namespace headrace {
namespace {

struct Loop {
  const std::function<Status(std::size_t)>& body;
  const std::size_t count;
  std::atomic<std::size_t> next{0};
  std::mutex mutex;  // guards failed_at and error
  std::size_t failed_at;
  Status error;

  Loop(std::size_t n, const std::function<Status(std::size_t)>& f) : body(f), count(n), failed_at(n) {}

  void fail(std::size_t at, Status status) {
    std::lock_guard lock(mutex);
    if (at >= failed_at) return;
    failed_at = at;
    error = std::move(status);
    // Numbers are handed out in order: all below `at` are taken already, and will report if they fail.
    next.store(count, std::memory_order_relaxed);
  }

  void run() {
    for (std::size_t i = 0; (i = next.fetch_add(1, std::memory_order_relaxed)) < count;) {
      try {
        Status status = body(i);
        if (!status.is_ok()) fail(i, std::move(status));
      } catch (const std::bad_alloc&) {
        fail(i, {Code::kOutOfMemory, "out of memory"});
      }
    }
  }
};

}  // namespace

Status parallel_for(std::size_t count, int threads, const std::function<Status(std::size_t)>& body) {
  Loop loop(count, body);
  if (threads <= 0 || count <= 1) {
    loop.run();
    return loop.error;
  }
  TaskGroup group(ThreadPool::shared(), threads);
  try {
    for (std::size_t i = 0; i < std::min<std::size_t>(static_cast<std::size_t>(threads), count); ++i)
      group.submit(0, [&loop] { loop.run(); });
  } catch (const std::system_error&) {
  } catch (const std::bad_alloc&) {
  }
  loop.run();
  group.cancel();  // Those that never started have nothing left to do.
  group.wait_idle();
  return loop.error;
}

}  // namespace headrace
