#include "headrace/base/thread_pool.h"

#include <doctest/doctest.h>
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <latch>
#include <mutex>
#include <semaphore>
#include <thread>
#include <vector>

#include "headrace/base/fork.h"
#include "in_child.h"

namespace headrace {
namespace {

// Holds back tasks until it is opened.
class Gate {
 public:
  void open() {
    opened_ = true;
    opened_.notify_all();
  }
  void wait() const { opened_.wait(false); }

 private:
  std::atomic<bool> opened_ = false;
};

// Counts how many run at once.
struct Concurrency {
  std::atomic<int> now = 0;
  std::atomic<int> most = 0;
  void enter() {
    const int count = ++now;
    for (int seen = most; seen < count && !most.compare_exchange_weak(seen, count);) {
    }
  }
  void leave() { --now; }
};

TEST_CASE("how many tasks of a group run at once can be changed while they run") {
  ThreadPool pool(4);
  TaskGroup group(pool, 1);
  Gate first, rest;
  std::latch all_run(4);
  Concurrency running;
  for (int i = 0; i < 4; ++i) {
    group.submit(0, [&] {
      running.enter();
      all_run.count_down();
      first.wait();
      running.leave();
    });
  }
  group.set_max_concurrency(4);
  all_run.wait();  // All four run now, though only one might when they were queued.
  CHECK(running.most == 4);
  group.set_max_concurrency(1);
  first.open();
  group.wait_idle();
  running.most = 0;
  for (int i = 0; i < 50; ++i) {
    group.submit(0, [&] {
      running.enter();
      running.leave();
    });
  }
  group.wait_idle();
  CHECK(running.most == 1);
}

TEST_CASE("a group of no concurrency leaves its tasks to run_one(), and to the pool again once it has some") {
  ThreadPool pool(2);
  TaskGroup group(pool, 1);
  group.set_max_concurrency(0);
  std::atomic<int> ran = 0;
  std::thread::id by;
  group.submit(1, [&] { ++ran; });
  group.submit(0, [&] { by = std::this_thread::get_id(); });
  CHECK(group.run_one());
  CHECK(by == std::this_thread::get_id());
  CHECK(ran == 0);
  CHECK(pool.running_threads() == 0);
  group.set_max_concurrency(2);
  group.wait_idle();
  CHECK(ran == 1);
}

TEST_CASE("a pool starts no thread before the first task, and never more than its maximum") {
  ThreadPool pool(3);
  CHECK(pool.max_threads() == 3);
  CHECK(pool.running_threads() == 0);
  Gate gate;
  std::latch started(3);
  for (int i = 0; i < 20; ++i) {
    pool.submit([&, i] {
      if (i < 3) started.count_down();
      gate.wait();
    });
  }
  started.wait();  // Three tasks run although none of them has ended.
  CHECK(pool.running_threads() == 3);
  gate.open();
}

TEST_CASE("as many threads start as tasks wait, not more") {
  ThreadPool pool(64);
  Gate gate;
  for (int i = 1; i <= 10; ++i) {
    pool.submit([&] { gate.wait(); });
    CHECK(pool.running_threads() == i);
  }
  gate.open();
}

TEST_CASE("a pool of one thread runs tasks in the order of submission") {
  std::vector<int> order;
  {
    ThreadPool pool(1);
    for (int i = 0; i < 100; ++i) pool.submit([&order, i] { order.push_back(i); });
  }
  REQUIRE(order.size() == 100);
  CHECK(std::is_sorted(order.begin(), order.end()));
}

TEST_CASE("destroying a pool runs what is queued, also what the tasks queue themselves") {
  std::atomic<int> ran = 0;
  {
    ThreadPool pool(2);
    for (int i = 0; i < 100; ++i) {
      pool.submit([&] {
        ++ran;
        pool.submit([&] { ++ran; });
      });
    }
  }
  CHECK(ran == 200);
}

TEST_CASE("many threads may submit at once, and every task runs once") {
  std::vector<std::atomic<int>> ran(8000);
  {
    ThreadPool pool(4);
    std::vector<std::jthread> submitters;
    for (std::size_t t = 0; t < 8; ++t) {
      submitters.emplace_back([&, t] {
        for (std::size_t i = 0; i < 1000; ++i) pool.submit([&, at = t * 1000 + i] { ++ran[at]; });
      });
    }
  }
  CHECK(std::all_of(ran.begin(), ran.end(), [](const auto& count) { return count == 1; }));
}

TEST_CASE("raising the maximum starts threads for tasks that wait already") {
  ThreadPool pool(1);
  Gate gate;
  std::latch started(4);
  for (int i = 0; i < 4; ++i) {
    pool.submit([&] {
      started.count_down();
      gate.wait();
    });
  }
  pool.set_max_threads(4);
  started.wait();
  CHECK(pool.running_threads() == 4);
  gate.open();
}

TEST_CASE("lowering the maximum ends the threads that are too many") {
  ThreadPool pool(4);
  Gate gate;
  std::latch started(4);
  for (int i = 0; i < 4; ++i) {
    pool.submit([&] {
      started.count_down();
      gate.wait();
    });
  }
  started.wait();
  pool.set_max_threads(1);
  gate.open();
  while (pool.running_threads() != 1) std::this_thread::yield();
  std::latch done(1);
  pool.submit([&] { done.count_down(); });
  done.wait();
  CHECK(pool.running_threads() == 1);
}

TEST_CASE("engine threads take no signals, except those of their own faults") {
  ThreadPool pool(1);
  sigset_t mask;
  std::latch done(1);
  pool.submit([&] {
    pthread_sigmask(SIG_BLOCK, nullptr, &mask);
    done.count_down();
  });
  done.wait();
  CHECK(sigismember(&mask, SIGINT) == 1);
  CHECK(sigismember(&mask, SIGALRM) == 1);
  CHECK(sigismember(&mask, SIGSEGV) == 0);
  CHECK(sigismember(&mask, SIGBUS) == 0);
  sigset_t mine;
  pthread_sigmask(SIG_BLOCK, nullptr, &mine);
  CHECK(sigismember(&mine, SIGINT) == 0);  // The submitting thread's own mask is as before.
}

TEST_CASE("shared() is one pool from every thread") {
  std::vector<ThreadPool*> seen(8);
  {
    std::vector<std::jthread> threads;
    for (ThreadPool*& slot : seen) threads.emplace_back([&slot] { slot = &ThreadPool::shared(); });
  }
  for (ThreadPool* pool : seen) CHECK(pool == &ThreadPool::shared());
}

TEST_CASE("a group runs the lowest priority first, equals in the order of submission") {
  ThreadPool pool(2);
  TaskGroup group(pool, 1);
  Gate gate;
  std::latch started(1);
  group.submit(0, [&] {
    started.count_down();
    gate.wait();
  });
  started.wait();
  std::vector<int> order;
  const std::vector<std::uint64_t> priorities = {5, 1, 3, 1, 9, 0, 3};
  for (int i = 0; i < 7; ++i) group.submit(priorities[static_cast<std::size_t>(i)], [&order, i] { order.push_back(i); });
  gate.open();
  group.wait_idle();
  CHECK(order == std::vector<int>{5, 1, 3, 2, 6, 0, 4});
}

TEST_CASE("a group runs as many at once as it may, and no more") {
  ThreadPool pool(8);
  TaskGroup group(pool, 3);
  CHECK(group.max_concurrency() == 3);
  Concurrency concurrency;
  std::latch three(3);
  std::atomic<int> ran = 0;
  for (int i = 0; i < 300; ++i) {
    group.submit(0, [&, i] {
      concurrency.enter();
      if (i < 3) three.arrive_and_wait();  // Ends only if three do run at once.
      ++ran;
      concurrency.leave();
    });
  }
  group.wait_idle();
  CHECK(ran == 300);
  CHECK(concurrency.most == 3);
}

TEST_CASE("groups take turns: a long one does not hold up a short one") {
  ThreadPool pool(1);
  TaskGroup large(pool, 1);
  TaskGroup small(pool, 1);
  Gate gate;
  std::latch started(1);
  std::atomic<int> large_ran = 0;
  large.submit(0, [&] {
    started.count_down();
    gate.wait();
  });
  started.wait();
  for (int i = 0; i < 1000; ++i) large.submit(1, [&] { ++large_ran; });
  int when = -1;
  small.submit(0, [&] { when = large_ran; });
  gate.open();
  small.wait_idle();
  large.wait_idle();
  CHECK(when <= 1);
  CHECK(when >= 0);
  CHECK(large_ran == 1000);
}

TEST_CASE("cancel drops what is queued, with its captures, and lets running tasks end") {
  ThreadPool pool(2);
  TaskGroup group(pool, 1);
  Gate gate;
  std::latch started(1);
  std::atomic<bool> ended = false;
  std::atomic<int> others = 0;
  auto token = std::make_shared<int>(0);
  group.submit(0, [&] {
    started.count_down();
    gate.wait();
    ended = true;
  });
  started.wait();
  for (int i = 0; i < 10; ++i) group.submit(1, [&others, token] { ++others; });
  CHECK(token.use_count() == 11);
  group.cancel();
  CHECK(token.use_count() == 1);
  CHECK_FALSE(ended);
  gate.open();
  group.wait_idle();
  CHECK(ended);
  CHECK(others == 0);
  group.submit(0, [&] { ++others; });  // The group goes on working.
  group.wait_idle();
  CHECK(others == 1);
}

TEST_CASE("destroying a group drops its queue but not a running task") {
  ThreadPool pool(1);
  Gate gate;
  std::binary_semaphore ended(0);
  std::latch started(1);
  std::atomic<int> others = 0;
  {
    TaskGroup group(pool, 1);
    group.submit(0, [&] {
      started.count_down();
      gate.wait();
      ended.release();
    });
    for (int i = 0; i < 5; ++i) group.submit(1, [&] { ++others; });
    started.wait();
  }
  gate.open();
  ended.acquire();
  std::latch after(1);
  pool.submit([&] { after.count_down(); });
  after.wait();
  CHECK(others == 0);
}

TEST_CASE("run_one runs the first queued task on the calling thread") {
  ThreadPool pool(1);
  TaskGroup group(pool, 1);
  CHECK_FALSE(group.run_one());
  Gate gate;
  std::latch started(1);
  group.submit(0, [&] {
    started.count_down();
    gate.wait();
  });
  started.wait();
  std::vector<int> order;
  std::thread::id where;
  group.submit(2, [&] { order.push_back(2); });
  group.submit(1, [&] {
    order.push_back(1);
    where = std::this_thread::get_id();
  });
  CHECK(group.run_one());
  CHECK(order == std::vector<int>{1});
  CHECK(where == std::this_thread::get_id());
  gate.open();
  group.wait_idle();
  CHECK(order == std::vector<int>{1, 2});
}

TEST_CASE("run_one leaves tasks of later priority numbers alone") {
  ThreadPool pool(1);
  std::atomic<bool> hold{true};
  std::atomic<int> ran{0};
  TaskGroup blocker(pool, 1);
  blocker.submit(0, [&] {
    while (hold) std::this_thread::yield();
  });
  TaskGroup group(pool, 1);
  group.submit(7, [&] { ++ran; });
  CHECK_FALSE(group.run_one(6));
  CHECK(ran == 0);
  CHECK(group.run_one(7));
  CHECK(ran == 1);
  hold = false;
  blocker.wait_idle();
  group.wait_idle();
}

TEST_CASE("wait_idle waits for tasks on the pool and in run_one alike") {
  ThreadPool pool(4);
  for (int round = 0; round < 50; ++round) {
    TaskGroup group(pool, 2);
    std::atomic<int> ran = 0;
    for (int i = 0; i < 40; ++i) {
      group.submit(static_cast<std::uint64_t>(i), [&, i] {
        if (i < 10) group.submit(0, [&] { ++ran; });
        ++ran;
      });
    }
    std::jthread helper([&] {
      while (group.run_one()) {
      }
    });
    group.wait_idle();
    CHECK(ran == 50);
  }
}

#if !defined(__SANITIZE_THREAD__)
TEST_CASE("each fork makes a generation, in the child only") {
  const std::uint64_t mine = fork_generation();
  CHECK(in_child([&] { return fork_generation() == mine + 1 ? 0 : 1; }) == 0);
  CHECK(in_child([&] { return in_child([&] { return fork_generation() == mine + 2 ? 0 : 1; }); }) == 0);
  CHECK(fork_generation() == mine);
}

TEST_CASE("a forked child gets a shared pool of its own that runs tasks") {
  ThreadPool* const mine = &ThreadPool::shared();
  std::latch done(1);
  mine->submit([&] { done.count_down(); });
  done.wait();
  for (int round = 0; round < 20; ++round) {
    const int code = in_child([&] {
      ThreadPool& pool = ThreadPool::shared();
      if (&pool == mine || pool.running_threads() != 0) return 1;
      TaskGroup group(pool, 2);
      std::atomic<int> ran = 0;
      for (int i = 0; i < 10; ++i) group.submit(0, [&] { ++ran; });
      group.wait_idle();
      return ran == 10 ? 0 : 2;
    });
    CHECK(code == 0);
  }
  CHECK(&ThreadPool::shared() == mine);
}

#if !defined(__SANITIZE_ADDRESS__)  // Its allocator's own lock may be the one that is held.
TEST_CASE("a child may destroy what it inherited while the parent was using it") {
  auto pool = std::make_unique<ThreadPool>(2);
  auto group = std::make_unique<TaskGroup>(*pool, 2);
  std::atomic<bool> stop = false;
  std::jthread busy([&] {
    while (!stop) group->submit(0, [] {});
  });
  for (int round = 0; round < 50; ++round) {  // Some of these forks fall where the parent holds a lock.
    const int code = in_child([&] {
      group.reset();
      pool.reset();
      return 0;
    });
    CHECK(code == 0);
  }
  stop = true;
  busy.join();
  group->wait_idle();
}
#endif
#endif

}  // namespace
}  // namespace headrace
