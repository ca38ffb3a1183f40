#include "headrace/base/parallel.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <new>
#include <thread>
#include <vector>

namespace headrace {
namespace {

TEST_CASE("every number is given once, for any number of threads") {
  for (const int threads : {0, 1, 2, 8}) {
    for (const std::size_t count : {0, 1, 2, 100, 10'000}) {
      std::vector<std::atomic<int>> seen(count);
      CHECK(parallel_for(count, threads, [&](std::size_t i) {
              ++seen[i];
              return Status::ok();
            }).is_ok());
      CHECK(std::all_of(seen.begin(), seen.end(), [](const auto& times) { return times == 1; }));
    }
  }
}

TEST_CASE("with no threads all runs on the caller's") {
  const std::thread::id mine = std::this_thread::get_id();
  bool all = true;
  (void)parallel_for(100, 0, [&](std::size_t) {
    all = all && std::this_thread::get_id() == mine;
    return Status::ok();
  });
  CHECK(all);
}

TEST_CASE("the error of the lowest number is returned") {
  for (const int threads : {0, 1, 2, 8}) {
    for (int round = 0; round < 50; ++round) {
      const Status status = parallel_for(
          1000, threads, [](std::size_t i) { return i % 100 == 37 ? Status(Code::kCorrupt, strf("number %zu", i)) : Status(); });
      CHECK(status.message() == "number 37");
    }
  }
}

TEST_CASE("a body without memory is an error") {
  for (const int threads : {0, 2}) {
    const Status status = parallel_for(10, threads, [](std::size_t i) -> Status {
      if (i == 3) throw std::bad_alloc();
      return {};
    });
    CHECK(status.code() == Code::kOutOfMemory);
  }
}

TEST_CASE("several may loop at once") {
  std::atomic<int> sum = 0;
  {
    std::vector<std::jthread> callers;
    for (int t = 0; t < 4; ++t) {
      callers.emplace_back([&] {
        (void)parallel_for(500, 4, [&](std::size_t) {
          ++sum;
          return Status::ok();
        });
      });
    }
  }
  CHECK(sum == 2000);
}

}  // namespace
}  // namespace headrace
