// What the cache keeps for readers whose order is known, against Belady's rule done by hand.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <numeric>
#include <random>
#include <set>
#include <vector>

#include "headrace/io/block_cache.h"

namespace headrace::io {
namespace {

constexpr std::size_t kSize = 1000;
constexpr std::uint64_t kOwner = 7;

// Reads blocks (row r is block r) in a listed order that it knows to its end.
class ListReader final : public CacheReader {
 public:
  explicit ListReader(std::vector<std::uint64_t> order, double step = kSize) : order_(std::move(order)), step_(step) {}
  std::uint64_t next_use(const Rows& rows, std::uint64_t from) const override {
    ++asked;
    for (std::uint64_t at = from; at < order_.size(); ++at) {
      if (order_[at] >= rows.first && order_[at] < rows.first + rows.count) return at;
    }
    return kNever;
  }
  double step_bytes() const override { return step_; }
  std::uint64_t slack() const override { return 1; }
  const std::vector<std::uint64_t>& order() const { return order_; }
  mutable std::uint64_t asked = 0;

 private:
  std::vector<std::uint64_t> order_;
  double step_;
};

std::vector<std::uint64_t> shuffles(std::uint64_t blocks, int epochs, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<std::uint64_t> out;
  for (int epoch = 0; epoch < epochs; ++epoch) {
    std::vector<std::uint64_t> one(blocks);
    std::iota(one.begin(), one.end(), 0);
    std::shuffle(one.begin(), one.end(), random);
    out.insert(out.end(), one.begin(), one.end());
  }
  return out;
}

// Hits of the best that is possible: evict what comes last, or do not take in.
std::uint64_t belady_hits(const std::vector<std::uint64_t>& order, std::size_t room) {
  std::map<std::uint64_t, std::uint64_t> kept;  // block -> next use
  std::uint64_t hits = 0;
  for (std::size_t at = 0; at < order.size(); ++at) {
    const auto next =
        static_cast<std::uint64_t>(std::find(order.begin() + static_cast<std::ptrdiff_t>(at) + 1, order.end(), order[at]) - order.begin());
    if (kept.contains(order[at])) {
      ++hits;
      kept[order[at]] = next;
      continue;
    }
    kept[order[at]] = next;
    if (kept.size() <= room) continue;
    kept.erase(std::max_element(kept.begin(), kept.end(), [](const auto& a, const auto& b) { return a.second < b.second; }));
  }
  return hits;
}

// As a reader of mapped shards does it.
void use(BlockCache& cache, const CacheReader* reader, std::uint64_t block, std::uint64_t at, std::uint64_t* hits) {
  const BlockKey key{kOwner, block};
  const BlockUse again{reader, at + 1, Keep::kEvict, {block, 1}};
  if (const BlockHandle found = cache.try_get(key, again)) {
    REQUIRE(found->size == kSize);
    REQUIRE(found->data[kSize - 1] == static_cast<std::uint8_t>(block));
    ++*hits;
  } else if (const auto room = cache.room_for(key, kSize, again)) {
    std::memset(room->data.get(), static_cast<int>(block & 0xFF), kSize);
    cache.put(key, room, again);
  }
}

std::uint64_t hits_of(BlockCache& cache, const ListReader& reader) {
  std::uint64_t hits = 0;
  for (std::uint64_t at = 0; at < reader.order().size(); ++at) use(cache, &reader, reader.order()[at], at, &hits);
  return hits;
}

TEST_CASE("one reader's hits are those of Belady's rule, half as many again as of the least recently used and more") {
  for (const std::uint64_t seed : {1, 2, 3}) {
    for (const std::size_t room : {1, 50, 100, 199, 200}) {
      const auto reader = std::make_shared<const ListReader>(shuffles(200, 5, seed));
      BlockCache cache(room * (kSize + BlockCache::kEntryBytes));
      cache.add_reader(kOwner, reader);
      const std::uint64_t hits = hits_of(cache, *reader);
      CHECK(hits == belady_hits(reader->order(), room));
      CHECK(cache.bytes() <= cache.capacity_bytes());
      CHECK(cache.stats().hits == hits);
      CHECK(cache.stats().misses == reader->order().size() - hits);
      if (room != 100) continue;
      BlockCache blind(room * (kSize + BlockCache::kEntryBytes));  // Knows no reader: least recently used.
      CHECK(hits > 3 * hits_of(blind, *reader) / 2);
    }
  }
}

TEST_CASE("where all fits, nobody is asked for next uses") {
  const auto reader = std::make_shared<const ListReader>(shuffles(100, 3, 1));
  BlockCache cache(1 << 20);
  cache.add_reader(kOwner, reader);
  CHECK(hits_of(cache, *reader) == 200);
  CHECK(reader->asked == 0);
}

TEST_CASE("of several readers the nearest use counts") {
  // The first reads blocks 0 to 9 once; the second comes back to 0 and 1 right away.
  std::vector<std::uint64_t> once(10);
  std::iota(once.begin(), once.end(), 0);
  const auto first = std::make_shared<const ListReader>(once);
  const auto second = std::make_shared<const ListReader>(std::vector<std::uint64_t>{0, 1, 0, 1, 0, 1, 0, 1});
  BlockCache cache(2 * (kSize + BlockCache::kEntryBytes));
  cache.add_reader(kOwner, first);
  cache.add_reader(kOwner, second);
  std::uint64_t hits = 0, others = 0;
  for (std::uint64_t at = 0; at < 8; ++at) {
    use(cache, second.get(), second->order()[at], at, &hits);
    use(cache, first.get(), once[at], at, &others);
  }
  CHECK(hits == 6);
  CHECK(others >= 1);
}

TEST_CASE("blocks of a reader that rests give way in the end") {
  const auto resting = std::make_shared<const ListReader>(std::vector<std::uint64_t>{0, 1, 0, 1});
  BlockCache cache(2 * (kSize + BlockCache::kEntryBytes));
  cache.add_reader(kOwner, resting);
  std::uint64_t hits = 0;
  for (std::uint64_t at = 0; at < 2; ++at) use(cache, resting.get(), at, at, &hits);
  const auto reader = std::make_shared<const ListReader>(shuffles(10, 20, 1));  // As rows of another dataset: 0 to 9 of that.
  cache.add_reader(kOwner + 1, reader);
  std::uint64_t found = 0;
  for (std::uint64_t at = 0; at < reader->order().size(); ++at) {
    const BlockKey key{kOwner + 1, reader->order()[at]};
    const BlockUse again{reader.get(), at + 1, Keep::kEvict, {key.block, 1}};
    if (cache.try_get(key, again) != nullptr) {
      ++found;
    } else if (const auto room = cache.room_for(key, kSize, again)) {
      cache.put(key, room, again);
    }
  }
  CHECK_FALSE(cache.contains({kOwner, 0}));
  CHECK_FALSE(cache.contains({kOwner, 1}));
  CHECK(found > 30);
}

TEST_CASE("blocks of a reader that is gone make room for others") {
  const auto gone = std::make_shared<const ListReader>(std::vector<std::uint64_t>{0, 1, 0, 1});
  BlockCache cache(2 * (kSize + BlockCache::kEntryBytes));
  cache.add_reader(kOwner, gone);
  std::uint64_t hits = 0;
  for (std::uint64_t at = 0; at < 2; ++at) use(cache, gone.get(), at, at, &hits);
  cache.remove_reader(kOwner, gone.get());
  const auto reader = std::make_shared<const ListReader>(std::vector<std::uint64_t>{5, 6, 5, 6, 5, 6, 5, 6});
  cache.add_reader(kOwner, reader);
  for (std::uint64_t at = 0; at < 8; ++at) use(cache, reader.get(), reader->order()[at], at, &hits);
  CHECK(cache.contains({kOwner, 5}));
  CHECK(cache.contains({kOwner, 6}));
}

TEST_CASE("what was foretold and did not happen is looked at again") {
  // It says that block 0 comes at time 2, and never reads it then.
  const auto reader = std::make_shared<const ListReader>(std::vector<std::uint64_t>{0, 1, 0, 2, 3, 2, 3, 2, 3, 2, 3, 2, 3});
  BlockCache cache(2 * (kSize + BlockCache::kEntryBytes));
  cache.add_reader(kOwner, reader);
  std::uint64_t hits = 0;
  for (std::uint64_t at = 0; at < reader->order().size(); ++at) {
    if (at != 2) use(cache, reader.get(), reader->order()[at], at, &hits);
  }
  CHECK(hits >= 7);
  CHECK_FALSE(cache.contains({kOwner, 0}));
}

TEST_CASE("a smaller budget, and an owner that goes, give back what they should") {
  const auto reader = std::make_shared<const ListReader>(shuffles(100, 2, 1));
  BlockCache cache(1 << 20);
  cache.add_reader(kOwner, reader);
  std::uint64_t hits = 0;
  for (std::uint64_t at = 0; at < 100; ++at) use(cache, reader.get(), reader->order()[at], at, &hits);
  CHECK(cache.stats().blocks == 100);
  cache.set_capacity(10 * (kSize + BlockCache::kEntryBytes));
  CHECK(cache.stats().blocks == 10);
  CHECK(cache.bytes() == cache.capacity_bytes());
  for (std::uint64_t at = 100; at < 110; ++at) CHECK(cache.contains({kOwner, reader->order()[at]}));  // What comes first stayed.
  cache.drop(kOwner + 1);
  CHECK(cache.stats().blocks == 10);
  cache.drop(kOwner);
  CHECK(cache.stats().blocks == 0);
  CHECK(cache.bytes() == 0);
}

}  // namespace
}  // namespace headrace::io
