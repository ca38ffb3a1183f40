#include "headrace/io/block_cache.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <new>
#include <random>
#include <thread>
#include <vector>

namespace headrace::io {
namespace {

BlockUse with(Keep keep) { return {nullptr, 0, keep, {}}; }
BlockKey key_of(std::uint64_t number) { return {1, number}; }

// A maker of blocks of `size` bytes that all hold the key's lowest byte.
auto filled(std::uint64_t key, std::size_t size) {
  return [=](CachedBlock& block) {
    block.data = std::make_unique<std::uint8_t[]>(size);
    block.size = size;
    std::fill_n(block.data.get(), size, static_cast<std::uint8_t>(key));
    return Status::ok();
  };
}

Status must_not_make(CachedBlock&) { return {Code::kCorrupt, "made though it was there"}; }

bool holds(const BlockHandle& block, std::uint64_t key, std::size_t size) {
  const Bytes bytes = block->bytes();
  return bytes.size() == size &&
         std::all_of(bytes.begin(), bytes.end(), [&](std::uint8_t b) { return b == static_cast<std::uint8_t>(key); });
}

// Runs `body(thread)` on eight threads at once.
void on_eight_threads(const std::function<void(unsigned)>& body) {
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 8; ++t) threads.emplace_back(body, t);
  for (std::thread& thread : threads) thread.join();
}

TEST_CASE("a block is made once and then found") {
  BlockCache cache(1 << 20);
  bool hit = true;
  CHECK_FALSE(cache.contains(key_of(7)));
  auto made = cache.get(key_of(7), {}, filled(7, 100), &hit);
  REQUIRE(made.is_ok());
  CHECK_FALSE(hit);
  CHECK(holds(*made, 7, 100));
  CHECK(cache.contains(key_of(7)));
  auto found = cache.get(key_of(7), {}, must_not_make, &hit);
  REQUIRE(found.is_ok());
  CHECK(hit);
  CHECK(found->get() == made->get());
}

// All threads ask while the block is being made; returns what they got and how many made it.
struct Flight {
  std::vector<Result<BlockHandle>> got;
  int makes;
  int hits;
};
Flight eight_ask(BlockCache& cache, std::uint64_t key, const std::function<Status(CachedBlock&)>& make) {
  std::atomic<int> makes{0}, hits{0}, arrived{0};
  Flight flight{std::vector<Result<BlockHandle>>(8, Status(Code::kTimeout, "untouched")), 0, 0};
  on_eight_threads([&](unsigned t) {
    ++arrived;
    bool hit = false;
    flight.got[t] = cache.get(
        key_of(key), {},
        [&](CachedBlock& block) {
          ++makes;
          while (arrived < 8) std::this_thread::yield();
          std::this_thread::sleep_for(std::chrono::milliseconds(50));  // So that the others are inside get() by now.
          return make(block);
        },
        &hit);
    hits += hit;
  });
  flight.makes = makes;
  flight.hits = hits;
  return flight;
}

TEST_CASE("eight threads that want a block make it once") {
  BlockCache cache(1 << 20);
  const Flight flight = eight_ask(cache, 3, filled(3, 1000));
  CHECK(flight.makes == 1);
  CHECK(flight.hits == 7);
  for (const auto& got : flight.got) {
    REQUIRE(got.is_ok());
    CHECK(got->get() == flight.got[0]->get());
    CHECK(holds(*got, 3, 1000));
  }
}

TEST_CASE("a block too large to keep is made once for all that wait") {
  BlockCache cache(1000);
  const Flight flight = eight_ask(cache, 3, filled(3, 5000));
  CHECK(flight.makes == 1);
  for (const auto& got : flight.got) {
    REQUIRE(got.is_ok());
    CHECK(holds(*got, 3, 5000));
  }
  CHECK_FALSE(cache.contains(key_of(3)));
  CHECK(cache.bytes() == 0);
}

TEST_CASE("a failure reaches all that wait and is not kept") {
  BlockCache cache(1 << 20);
  const Flight flight = eight_ask(cache, 3, [](CachedBlock&) { return Status(Code::kCorrupt, "bad block"); });
  CHECK(flight.makes == 1);
  for (const auto& got : flight.got) {
    REQUIRE_FALSE(got.is_ok());
    CHECK(got.status().code() == Code::kCorrupt);
    CHECK(got.status().message() == "bad block");
  }
  CHECK_FALSE(cache.contains(key_of(3)));
  auto again = cache.get(key_of(3), {}, filled(3, 10));
  REQUIRE(again.is_ok());
  CHECK(holds(*again, 3, 10));
}

TEST_CASE("a maker that throws leaves nobody waiting") {
  BlockCache cache(1 << 20);
  std::atomic<int> thrown{0}, failed{0};
  std::atomic<int> arrived{0};
  on_eight_threads([&](unsigned) {
    ++arrived;
    try {
      const auto got = cache.get(key_of(3), {}, [&](CachedBlock&) -> Status {
        while (arrived < 8) std::this_thread::yield();
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        throw std::bad_alloc();
      });
      failed += got.status().code() == Code::kOutOfMemory;
    } catch (const std::bad_alloc&) {
      ++thrown;
    }
  });
  CHECK(thrown >= 1);
  CHECK(thrown + failed == 8);
  CHECK_FALSE(cache.contains(key_of(3)));
}

TEST_CASE("bytes never exceed the capacity") {
  constexpr std::size_t kCapacity = 200'000;
  BlockCache cache(kCapacity);
  std::mt19937_64 random(1);
  for (int i = 0; i < 20'000; ++i) {
    const std::uint64_t key = random() % 3000;
    const std::size_t size = key * 7 % 20'000;
    const auto got = cache.get(key_of(key), {}, filled(key, size));
    REQUIRE(got.is_ok());
    REQUIRE(holds(*got, key, size));
    REQUIRE(cache.bytes() <= kCapacity);
  }
  CHECK(cache.bytes() > kCapacity / 4);
}

TEST_CASE("empty blocks are bounded too") {
  BlockCache cache(100'000);
  for (std::uint64_t key = 0; key < 10'000; ++key) REQUIRE(cache.get(key_of(key), {}, filled(key, 0)).is_ok());
  int kept = 0;
  for (std::uint64_t key = 0; key < 10'000; ++key) kept += cache.contains(key_of(key));
  CHECK(kept > 0);
  CHECK(kept < 1000);
  CHECK(cache.bytes() <= 100'000);
}

TEST_CASE("a cache of no bytes hands blocks out and keeps none") {
  BlockCache cache(0);
  for (int i = 0; i < 3; ++i) {
    bool hit = true;
    const auto got = cache.get(key_of(1), {}, filled(1, 50), &hit);
    REQUIRE(got.is_ok());
    CHECK_FALSE(hit);
    CHECK(holds(*got, 1, 50));
  }
  CHECK(cache.bytes() == 0);
}

TEST_CASE("a handle outlives its block's place in the cache") {
  BlockCache cache(16 * 4096);
  const auto got = cache.get(key_of(1), {}, filled(1, 3000));
  REQUIRE(got.is_ok());
  for (std::uint64_t key = 2; cache.contains(key_of(1)); ++key) REQUIRE(cache.get(key_of(key), {}, filled(key, 3000)).is_ok());
  CHECK(holds(*got, 1, 3000));
}

TEST_CASE("of blocks whose next use nobody knows the least recently used goes first") {
  BlockCache cache(4 * (800 + BlockCache::kEntryBytes));
  const std::vector<std::uint64_t> keys = {3, 14, 15, 92, 65};
  for (int i = 0; i < 4; ++i) REQUIRE(cache.get(key_of(keys[i]), {}, filled(keys[i], 800)).is_ok());
  for (int i = 0; i < 4; ++i) CHECK(cache.contains(key_of(keys[i])));
  REQUIRE(cache.get(key_of(keys[0]), {}, must_not_make).is_ok());  // Used again: key 1 is the oldest now.
  REQUIRE(cache.get(key_of(keys[4]), {}, filled(keys[4], 800)).is_ok());
  CHECK(cache.contains(key_of(keys[0])));
  CHECK_FALSE(cache.contains(key_of(keys[1])));
  CHECK(cache.contains(key_of(keys[2])));
  CHECK(cache.stats().evictions == 1);
}

TEST_CASE("eight threads over few keys and little room get the right bytes") {
  BlockCache cache(100'000);
  std::atomic<int> right{0};
  on_eight_threads([&](unsigned t) {
    std::mt19937_64 random(t);
    for (int i = 0; i < 3000; ++i) {
      const std::uint64_t key = random() % 200;
      const auto got = cache.get(key_of(key), {}, filled(key, 500 + key * 20));
      right += got.is_ok() && holds(*got, key, 500 + key * 20);
    }
  });
  CHECK(right == 24'000);
  CHECK(cache.bytes() <= 100'000);
}

BlockHandle block_of(std::uint64_t key, std::size_t size) {
  auto block = std::make_shared<CachedBlock>();
  REQUIRE(filled(key, size)(*block).is_ok());
  return block;
}

TEST_CASE("a block that was put is found, and the first one stays") {
  BlockCache cache(1 << 20);
  CHECK(cache.try_get(key_of(5), {}) == nullptr);
  const BlockHandle first = block_of(5, 100);
  cache.put(key_of(5), first, with(Keep::kIfRoom));
  cache.put(key_of(5), block_of(6, 100), with(Keep::kEvict));
  CHECK(cache.try_get(key_of(5), {}) == first);
  CHECK(cache.get(key_of(5), {}, must_not_make).value() == first);
}

TEST_CASE("kIfRoom pushes nothing out, kEvict does") {
  BlockCache cache(1 << 20);
  constexpr std::size_t kSize = 1000;
  for (std::uint64_t key = 0; key < 5000; ++key) cache.put(key_of(key), block_of(key, kSize), with(Keep::kIfRoom));
  const std::size_t full = cache.bytes();
  CHECK(full <= 1u << 20);
  std::uint64_t kept = 0, refused = 0;
  for (std::uint64_t key = 0; key < 5000; ++key) {
    const BlockHandle block = cache.try_get(key_of(key), {});
    if (block == nullptr) {
      refused = key;
      continue;
    }
    ++kept;
    CHECK(holds(block, key, kSize));
  }
  CHECK(kept > 500);
  CHECK(kept < 1100);
  CHECK(cache.room_for(key_of(refused), kSize, with(Keep::kIfRoom)) == nullptr);
  cache.put(key_of(refused), block_of(refused, kSize), with(Keep::kEvict));
  CHECK(cache.try_get(key_of(refused), {}) != nullptr);
  CHECK(cache.bytes() <= full);
}

TEST_CASE("a block as large as the budget is kept, a larger one is not") {
  constexpr std::size_t kSize = 1 << 20;
  BlockCache cache(kSize + BlockCache::kEntryBytes);
  cache.put(key_of(1), block_of(1, kSize), with(Keep::kIfRoom));
  CHECK(holds(cache.try_get(key_of(1), {}), 1, kSize));
  for (const Keep keep : {Keep::kIfRoom, Keep::kEvict}) {
    CHECK(cache.room_for(key_of(2), kSize + 1, with(keep)) == nullptr);
    CHECK(cache.room_for(key_of(2), ~std::size_t{0}, with(keep)) == nullptr);
    cache.put(key_of(2), block_of(2, kSize + 1), with(keep));
    CHECK(cache.try_get(key_of(2), {}) == nullptr);
  }
  CHECK(cache.contains(key_of(1)));
}

TEST_CASE("eight threads put and take") {
  BlockCache cache(1 << 18);
  std::atomic<std::uint64_t> wrong{0};
  on_eight_threads([&](unsigned thread) {
    std::mt19937_64 random(thread);
    for (int i = 0; i < 3000; ++i) {
      const std::uint64_t key = random() % 600;
      if (const BlockHandle block = cache.try_get(key_of(key), {})) {
        if (!holds(block, key, 500)) ++wrong;
      } else if (i % 3 == 0) {
        const auto made = cache.get(key_of(key), {}, filled(key, 500));
        if (!made.is_ok() || !holds(*made, key, 500)) ++wrong;
      } else {
        cache.put(key_of(key), block_of(key, 500), with(i % 2 == 0 ? Keep::kIfRoom : Keep::kEvict));
      }
    }
  });
  CHECK(wrong == 0);
  CHECK(cache.bytes() <= 1u << 18);
}

}  // namespace
}  // namespace headrace::io
