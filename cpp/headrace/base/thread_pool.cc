#include "headrace/base/thread_pool.h"

#include <algorithm>
#include <cassert>
#include <chrono>
#include <cstdlib>
#include <string>
#include <system_error>
#include <thread>

#include "headrace/base/blocked_signals.h"
#include "headrace/base/cpu.h"
#include "headrace/base/fork.h"
#include "headrace/base/placement.h"

namespace headrace {
namespace {

constexpr int kIdleSeconds = 30;
constexpr int kMaxThreads = 1024;

// What HEADRACE_NUM_THREADS says; 0 if nothing. (Whether it says a number is checked where Python starts.)
int configured_threads() {
  const char* text = std::getenv("HEADRACE_NUM_THREADS");
  return text == nullptr ? 0 : std::clamp(std::atoi(text), 0, kMaxThreads);
}

}  // namespace

struct ThreadPool::State {
  const std::uint64_t generation = fork_generation();
  mutable std::mutex mutex;
  std::condition_variable work;      // signalled on a new task and on stop
  std::condition_variable finished;  // signalled when a thread ends
  std::deque<std::function<void()>> queue;
  int max_threads = 1;
  bool chosen = true;  // max_threads, by somebody: it does not follow the machine
  int threads = 0;
  int idle = 0;
  int starting = 0;  // of `threads`, those that have not come to wait yet
  bool stopping = false;

  // Starts threads until each queued task has one that waits for it, or the limit is reached. A system that refuses a
  // thread is an error only if there is none at all: else the others do the work. REQUIRES: mutex held.
  static void grow(const std::shared_ptr<State>& state) {
    int wanted = static_cast<int>(std::min<std::size_t>(state->queue.size(), kMaxThreads)) - state->idle - state->starting;
    if (wanted <= 0 || state->threads >= state->max_threads) return;
    const BlockedSignals blocked;
    for (; wanted > 0 && state->threads < state->max_threads; --wanted) {
      try {
        std::thread([state] { run(state); }).detach();
      } catch (const std::system_error&) {
        if (state->threads == 0) throw;
        return;
      }
      ++state->threads;
      ++state->starting;
    }
  }

  // REQUIRES: mutex held.
  static void resize(const std::shared_ptr<State>& state, int count) {
    state->max_threads = std::clamp(count, 1, kMaxThreads);
    grow(state);  // For tasks that wait already.
    state->work.notify_all();
  }
};

ThreadPool::ThreadPool(int max_threads) : state_(std::make_shared<State>()) {
  state_->max_threads = std::clamp(max_threads, 1, kMaxThreads);
}

ThreadPool::~ThreadPool() {
  if (state_->generation != fork_generation()) {
    new std::shared_ptr<State>(std::move(state_));  // Leaked on purpose: its threads and its lock did not survive the fork.
    return;
  }
  std::unique_lock lock(state_->mutex);
  state_->stopping = true;
  state_->work.notify_all();
  state_->finished.wait(lock, [&] { return state_->threads == 0; });
}

ThreadPool& ThreadPool::shared() {
  struct Shared {
    ThreadPool pool;
    std::uint64_t generation;
  };
  // One atomic, not a mutex: a mutex could be held by a thread that fork() did not copy.
  static std::atomic<Shared*> current{nullptr};
  const std::uint64_t generation = fork_generation();
  Shared* seen = current.load(std::memory_order_acquire);
  while (seen == nullptr || seen->generation != generation) {
    const int configured = configured_threads();
    auto* fresh = new Shared{ThreadPool(configured > 0 ? configured : current_placement().num_cores), generation};
    fresh->pool.state_->chosen = configured > 0;
    if (current.compare_exchange_strong(seen, fresh, std::memory_order_acq_rel)) return fresh->pool;
    delete fresh;  // Another thread was first; ours has no threads yet.
  }
  return seen->pool;
}

int ThreadPool::max_threads() const {
  std::lock_guard lock(state_->mutex);
  return state_->max_threads;
}

void ThreadPool::set_max_threads(int count) {
  std::lock_guard lock(state_->mutex);
  state_->chosen = true;
  State::resize(state_, count);
}

void ThreadPool::follow_machine() {
  const int cores = refresh_placement().num_cores;
  std::lock_guard lock(state_->mutex);
  if (!state_->chosen && cores != state_->max_threads) State::resize(state_, cores);
}

bool ThreadPool::is_contended() const {
  std::lock_guard lock(state_->mutex);
  return !state_->queue.empty() || state_->threads > state_->max_threads;
}

int ThreadPool::running_threads() const {
  std::lock_guard lock(state_->mutex);
  return state_->threads;
}

void ThreadPool::submit(std::function<void()> task) {
  std::unique_lock lock(state_->mutex);
  state_->queue.push_back(std::move(task));
  try {
    State::grow(state_);
  } catch (...) {
    state_->queue.pop_back();
    throw;
  }
  const bool wakes = state_->idle > 0;
  lock.unlock();  // Whoever is woken takes it.
  if (wakes) state_->work.notify_one();
}

void ThreadPool::run(const std::shared_ptr<State>& state) {
  const Placement* placement = &current_placement();
  prepare_engine_thread("headrace");
  std::unique_lock lock(state->mutex);
  --state->starting;
  while (true) {
    ++state->idle;
    const bool woken = state->work.wait_for(lock, std::chrono::seconds(kIdleSeconds), [&] {
      return state->stopping || !state->queue.empty() || state->threads > state->max_threads;
    });
    --state->idle;
    const bool surplus = state->threads > state->max_threads;
    if (surplus || (state->queue.empty() && (state->stopping || !woken))) break;
    if (state->queue.empty()) continue;
    {
      std::function<void()> task = std::move(state->queue.front());
      state->queue.pop_front();
      lock.unlock();
      if (const Placement* now = &current_placement(); now != placement) {
        placement = now;
        placement->apply_to_thread();
      }
      task();
    }  // The task dies unlocked: its captures may own things whose end takes locks.
    lock.lock();
  }
  --state->threads;
  if (!state->queue.empty()) state->work.notify_one();
  state->finished.notify_all();
}

struct TaskGroup::State {
  struct Entry {
    std::uint64_t priority;
    std::uint64_t sequence;
    std::function<void()> task;
    bool operator<(const Entry& other) const {  // std heap keeps the largest in front: reversed
      return priority != other.priority ? priority > other.priority : sequence > other.sequence;
    }
  };
  const std::uint64_t generation = fork_generation();
  ThreadPool* pool = nullptr;
  mutable std::mutex mutex;
  std::condition_variable idle;  // signalled when nothing is queued or running
  std::vector<Entry> heap;
  std::uint64_t next_sequence = 0;
  int max_concurrency = 1;
  int active = 0;   // pump() calls queued or running on the pool
  int running = 0;  // tasks being run, by pool threads or by run_one()

  // Takes the first task; an empty function if there is none. REQUIRES: mutex held.
  std::function<void()> take() {
    if (heap.empty()) return {};
    std::pop_heap(heap.begin(), heap.end());
    std::function<void()> task = std::move(heap.back().task);
    heap.pop_back();
    ++running;
    return task;
  }
};

TaskGroup::TaskGroup(ThreadPool& pool, int max_concurrency) : state_(std::make_shared<State>()) {
  state_->pool = &pool;
  state_->max_concurrency = std::max(1, max_concurrency);
}

TaskGroup::~TaskGroup() {
  if (state_->generation != fork_generation()) {
    new std::shared_ptr<State>(std::move(state_));  // Leaked on purpose, with its tasks: the lock may be held for ever.
    return;
  }
  cancel();
}

void TaskGroup::submit(std::uint64_t priority, std::function<void()> task) {
  assert(task != nullptr);
  std::lock_guard lock(state_->mutex);
  if (state_->active < state_->max_concurrency) {
    // Before the task is queued, so that nothing has changed if this throws; pump() waits for the mutex.
    state_->pool->submit([state = state_] { pump(state); });
    ++state_->active;
  }
  state_->heap.push_back({priority, state_->next_sequence++, std::move(task)});
  std::push_heap(state_->heap.begin(), state_->heap.end());
}

void TaskGroup::pump(const std::shared_ptr<State>& state) {
  std::unique_lock lock(state->mutex);
  while (state->active <= state->max_concurrency) {
    std::function<void()> task = state->take();
    if (!task) break;
    lock.unlock();
    task();
    task = nullptr;
    lock.lock();
    --state->running;
    // Going on here saves a wake-up, as long as no other group waits for its turn.
    if (state->heap.empty()) break;
    if (state->pool->is_contended() && give_way(state)) return;
  }
  --state->active;
  if (state->running == 0 && state->heap.empty()) state->idle.notify_all();
}

// Puts pump() at the back of the pool's queue, so that groups take turns. False where there is no memory for that.
bool TaskGroup::give_way(const std::shared_ptr<State>& state) {
  try {
    state->pool->submit([state] { pump(state); });
    return true;
  } catch (const std::bad_alloc&) {
    return false;
  }
}

void TaskGroup::cancel() {
  std::vector<State::Entry> dropped;
  std::lock_guard lock(state_->mutex);
  dropped.swap(state_->heap);
  if (state_->running == 0) state_->idle.notify_all();
}

bool TaskGroup::run_one(std::uint64_t last) {
  std::unique_lock lock(state_->mutex);
  if (!state_->heap.empty() && state_->heap.front().priority > last) return false;
  std::function<void()> task = state_->take();
  if (!task) return false;
  lock.unlock();
  task();
  task = nullptr;
  lock.lock();
  --state_->running;
  if (state_->running == 0 && state_->heap.empty()) state_->idle.notify_all();
  return true;
}

void TaskGroup::wait_idle() {
  std::unique_lock lock(state_->mutex);
  state_->idle.wait(lock, [&] { return state_->heap.empty() && state_->running == 0; });
}

int TaskGroup::max_concurrency() const {
  std::lock_guard lock(state_->mutex);
  return state_->max_concurrency;
}

void TaskGroup::set_max_concurrency(int count) {
  std::lock_guard lock(state_->mutex);
  state_->max_concurrency = std::max(0, count);
  const int queued = static_cast<int>(std::min<std::size_t>(state_->heap.size(), kMaxThreads));
  for (const int wanted = std::min(state_->max_concurrency, state_->active + queued); state_->active < wanted; ++state_->active) {
    state_->pool->submit([state = state_] { pump(state); });
  }
}

}  // namespace headrace
