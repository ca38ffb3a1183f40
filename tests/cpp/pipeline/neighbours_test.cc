// Seats of automatic loaders, on a clock of the test's own.
#include "headrace/pipeline/neighbours.h"

#include <doctest/doctest.h>

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "in_child.h"

using headrace::in_child;
using headrace::pipeline::LoaderSeat;
using headrace::pipeline::Neighbours;

namespace {

constexpr std::int64_t kSecond = 1'000'000'000;

}  // namespace

TEST_CASE("a loader hears of others that delivered within a second") {
  const std::int64_t now = 100 * kSecond;
  LoaderSeat a, b;
  CHECK(a.others(now).count == 0);  // b has not begun.
  a.deliver(now, 0);
  b.deliver(now, 5);
  b.deliver(now, 7);
  const Neighbours::Progress heard = a.others(now);
  REQUIRE(heard.count == 1);
  CHECK(heard.batches[0] == 12);
  CHECK(b.others(now).count == 1);
  CHECK(a.others(now + kSecond - 1).count == 1);
  CHECK(a.others(now + kSecond).count == 0);
  b.deliver(now + 3 * kSecond, 1);
  CHECK(a.others(now + 3 * kSecond).batches[0] == 13);
  CHECK(a.others(now + 3 * kSecond).loader[0] == heard.loader[0]);
}

TEST_CASE("loaders whose batches one thread takes have one consumer") {
  const std::int64_t now = 150 * kSecond;
  LoaderSeat a, b, c;
  a.deliver(now, 1);
  b.deliver(now, 1);
  CHECK(a.others(now).consumers == 1);
  std::thread([&] {
    c.deliver(now, 1);
    CHECK(a.others(now).consumers == 2);
    b.deliver(now, 1);
  }).join();
  CHECK(a.others(now).consumers == 2);
  CHECK(c.others(now + kSecond).consumers == 1);
}

TEST_CASE("a seat that is taken again is another loader's") {
  const std::int64_t now = 200 * kSecond;
  LoaderSeat a;
  auto b = std::make_unique<LoaderSeat>();
  b->deliver(now, 5);
  const std::uint64_t before = a.others(now).loader[0];
  b.reset();
  CHECK(a.others(now).count == 0);
  b = std::make_unique<LoaderSeat>();
  CHECK(a.others(now).count == 0);
  b->deliver(now, 1);
  REQUIRE(a.others(now).count == 1);
  CHECK(a.others(now).loader[0] != before);
}

TEST_CASE("one searches at a time, who asked first before the others") {
  std::int64_t now = 300 * kSecond;
  LoaderSeat a, b, c;
  for (LoaderSeat* seat : {&a, &b, &c}) seat->deliver(now, 1);
  CHECK(a.claim_search(now));
  CHECK(a.claim_search(now));
  CHECK_FALSE(c.claim_search(now + 1));
  CHECK_FALSE(b.claim_search(now + 2));
  a.release_search();
  CHECK_FALSE(b.claim_search(now + 3));
  CHECK_FALSE(a.claim_search(now + 4));
  CHECK(c.claim_search(now + 5));
  c.release_search();
  b.release_search();  // It no longer asks.
  CHECK(a.claim_search(now + 6));

  // Who has stopped delivering holds nobody up.
  CHECK_FALSE(b.claim_search(now + 7));
  now += 2 * kSecond;
  b.deliver(now, 1);
  CHECK(b.claim_search(now));
  a.deliver(now, 1);
  CHECK_FALSE(a.claim_search(now));
  a.release_search();  // Not its own: b goes on.
  CHECK_FALSE(c.claim_search(now));
}

TEST_CASE("a loader that goes while it searches leaves the search to others") {
  const std::int64_t now = 400 * kSecond;
  LoaderSeat a;
  {
    LoaderSeat b;
    b.deliver(now, 1);
    CHECK(b.claim_search(now));
    CHECK_FALSE(a.claim_search(now));
  }
  CHECK(a.claim_search(now));
}

TEST_CASE("where no seat is free a loader is alone, and may search") {
  const std::int64_t now = 500 * kSecond;
  std::vector<std::unique_ptr<LoaderSeat>> seats;
  for (int i = 0; i < 300; ++i) {
    seats.push_back(std::make_unique<LoaderSeat>());
    seats.back()->deliver(now, 1);
  }
  CHECK(seats.front()->others(now).count == Neighbours::kMost);
  CHECK(seats.front()->claim_search(now));
  CHECK_FALSE(seats[100]->claim_search(now));
  CHECK(seats.back()->claim_search(now));
  seats.clear();
  LoaderSeat again;
  again.deliver(now, 1);
  CHECK(again.others(now).count == 0);
}

TEST_CASE("loaders come, deliver, ask and go on eight threads") {
  std::atomic<int> searching{0};
  std::atomic<std::int64_t> clock{600 * kSecond};
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&] {
      for (int round = 0; round < 200; ++round) {
        LoaderSeat seat;
        for (int batch = 0; batch < 20; ++batch) {
          const std::int64_t now = clock.fetch_add(1);
          seat.deliver(now, 1);
          const Neighbours::Progress heard = seat.others(now);
          CHECK(heard.count <= 7);
          for (std::size_t i = 0; i < heard.count; ++i) CHECK(heard.batches[i] <= 20);
          if (!seat.claim_search(now)) continue;
          CHECK(searching.fetch_add(1) == 0);
          searching.fetch_sub(1);
          seat.release_search();
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST_CASE("a forked child begins with an empty table") {
  const std::int64_t now = 700 * kSecond;
  LoaderSeat a, b;
  b.deliver(now, 1);
  CHECK(b.claim_search(now));
  CHECK(in_child([&] {
          LoaderSeat own;
          if (own.others(now).count != 0 || !own.claim_search(now)) return 1;
          b.deliver(now, 1);  // Abandoned: nothing comes of it.
          return own.others(now).count == 0 ? 0 : 2;
        }) == 0);
  CHECK(a.others(now).count == 1);
  CHECK_FALSE(a.claim_search(now));
}
