// One process-wide pool of threads, shared by every loader, writer and verifier.
//
// Owns:     its threads; they are started when first needed and retire after kIdleSeconds without work.
// Threads:  every method may be called from any thread. Tasks run on pool threads, hold no pool lock, and must neither block
//           on another task of the same group nor throw. Engine threads never touch Python and take no signals.
// Forking:  shared() in a forked child is a new pool; the parent's is abandoned, never joined. A pool or group made before
//           the fork may only be destroyed in the child: that leaks it and its queued tasks.
// Exit:     shared() is never destroyed, so nothing joins at exit; tasks must touch only what they own a share of.
// Locks:    ThreadPool::mutex_ guards the queue and the counts. TaskGroup state has its own mutex, taken before the pool's.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <queue>
#include <vector>

namespace headrace {

class ThreadPool {
 public:
  explicit ThreadPool(int max_threads);
  ~ThreadPool();  // Finishes queued tasks, then joins. Only pools made in tests are ever destroyed.
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  // The process's pool. Sized by HEADRACE_NUM_THREADS, else by available_cores().
  static ThreadPool& shared();
  // Takes up what affinity and quota are by now, those of the calling thread: its threads move there, and their number follows, unless
  // HEADRACE_NUM_THREADS or set_max_threads() chose it. For whoever makes a loader.
  void follow_machine();

  int max_threads() const;
  // Takes effect for threads started or taking a task from now on. REQUIRES: 1 <= count <= 1024.
  void set_max_threads(int count);
  int running_threads() const;

  // Queues one task, first in, first out. Never blocks. Throws std::system_error, the task dropped, if the system refuses
  // the pool its only thread.
  void submit(std::function<void()> task);
  // Whether a thread that could go on with work of its own should give way: tasks are queued, or there are more threads than allowed.
  bool is_contended() const;

 private:
  struct State;
  static void run(const std::shared_ptr<State>& state);
  std::shared_ptr<State> state_;
};

// Tasks that belong together: at most `max_concurrency` run at once on the pool, lowest priority number first.
//
// The pool must outlive the group's tasks, as shared() does.
// A group outlives its tasks by shared ownership: destroying it drops queued tasks and lets running ones finish.
class TaskGroup {
 public:
  TaskGroup(ThreadPool& pool, int max_concurrency);
  ~TaskGroup();
  TaskGroup(const TaskGroup&) = delete;
  TaskGroup& operator=(const TaskGroup&) = delete;

  // Queues a task; equal priorities run in the order of submission. Never blocks. Throws as ThreadPool::submit does.
  void submit(std::uint64_t priority, std::function<void()> task);
  // Drops every queued task; running ones go on.
  void cancel();
  // Runs the first queued task on the calling thread, beside those on the pool; false if none is queued of a priority number up to `last`.
  bool run_one(std::uint64_t last = ~std::uint64_t{0});
  // Blocks until nothing is queued or running. Not from a task of this group.
  void wait_idle();
  int max_concurrency() const;
  // Counts for tasks that begin from now on; those that run go on. 0: none begins on the pool, and run_one() is all there is. Throws as
  // submit() does, with the new number in force: the next submit() or call tries again.
  void set_max_concurrency(int count);

 private:
  struct State;
  static void pump(const std::shared_ptr<State>& state);
  static bool give_way(const std::shared_ptr<State>& state);
  std::shared_ptr<State> state_;
};

}  // namespace headrace
