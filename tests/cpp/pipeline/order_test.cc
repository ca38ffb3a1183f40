// Order and Permutation as arithmetic: bijections, inverses, random access. Their randomness: tests/sampling/test_order.py.
#include "headrace/pipeline/order.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <set>

namespace headrace::pipeline {
namespace {

using ShardChunks = ChunkLayout::ShardChunks;

std::vector<std::uint64_t> fill(const Order& order, std::uint64_t begin, std::uint64_t end) {
  std::vector<std::uint64_t> out(end - begin);
  order.fill(begin, out);
  return out;
}

// True if the values are 0 .. size - 1, once each.
bool is_permutation_of_all(const std::vector<std::uint64_t>& values) {
  std::vector<bool> seen(values.size());
  for (const std::uint64_t value : values) {
    if (value >= values.size() || seen[value]) return false;
    seen[value] = true;
  }
  return true;
}

void check_bijection(std::uint64_t size, std::uint64_t key) {
  const Permutation permutation(size, key);
  std::vector<std::uint64_t> values(size);
  permutation.forward(0, values);
  REQUIRE(is_permutation_of_all(values));
  for (std::uint64_t i = 0; i < size; i += 1 + size / 200) {
    REQUIRE(permutation.forward(i) == values[i]);
    REQUIRE(permutation.inverse(values[i]) == i);
  }
}

TEST_CASE("bijections walked together give what each gives alone") {
  std::vector<std::uint64_t> sizes, keys, values;
  for (std::uint64_t i = 0; i < 1000; ++i) {
    sizes.push_back(i % 7 == 0 ? 1 + i % 3 : mix_key(i, 1) % (1ull << (1 + i % 40)) + 1);
    keys.push_back(mix_key(i, 2));
    values.push_back(mix_key(i, 3) % sizes.back());
  }
  for (const std::size_t count : {std::size_t{0}, std::size_t{1}, std::size_t{127}, std::size_t{129}, std::size_t{1000}}) {
    std::vector<std::uint64_t> walked(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(count));
    forward_each({sizes.data(), count}, {keys.data(), count}, walked);
    bool same = true;
    for (std::size_t i = 0; i < count; ++i) same = same && walked[i] == Permutation(sizes[i], keys[i]).forward(values[i]);
    CHECK(same);
  }
}

TEST_CASE("a permutation of any size up to 3000 holds every value once") {
  for (std::uint64_t size = 0; size <= 3000; ++size) check_bijection(size, size * 31);
}

TEST_CASE("a permutation of random sizes and of sizes beside powers of two holds every value once") {
  std::mt19937_64 random(1);
  for (int i = 0; i < 12; ++i) check_bijection(1 + random() % (1 << 20), random());
  for (int bits = 11; bits <= 18; ++bits) {
    for (const std::uint64_t size : {(1ull << bits) - 1, 1ull << bits, (1ull << bits) + 1}) check_bijection(size, random());
  }
}

TEST_CASE("inverse undoes forward up to 2^48, within the size") {
  std::mt19937_64 random(2);
  std::vector<std::uint64_t> sizes = {1, 2, 1023, 1024, 1025, 1ull << 47, (1ull << 48) - 1, 1ull << 48};
  for (int bits = 10; bits < 48; ++bits) sizes.push_back((1ull << bits) + random() % (1ull << bits));
  for (const std::uint64_t size : sizes) {
    const Permutation permutation(size, random());
    std::vector<std::uint64_t> points = {0, size / 2, size - 1};
    for (int i = 0; i < 100; ++i) points.push_back(random() % size);
    for (const std::uint64_t point : points) {
      REQUIRE(permutation.forward(point) < size);
      REQUIRE(permutation.inverse(permutation.forward(point)) == point);
      REQUIRE(permutation.forward(permutation.inverse(point)) == point);
    }
  }
}

TEST_CASE("filling a range equals asking for each place") {
  std::mt19937_64 random(3);
  for (const std::uint64_t size : {5ull, 1500ull, 1ull << 20, (1ull << 33) + 7}) {
    const Permutation permutation(size, random());
    for (int i = 0; i < 50; ++i) {
      const std::uint64_t begin = random() % size;
      std::vector<std::uint64_t> values(std::min<std::uint64_t>(size - begin, random() % 200));
      permutation.forward(begin, values);
      for (std::uint64_t k = 0; k < values.size(); ++k) REQUIRE(values[k] == permutation.forward(begin + k));
    }
  }
}

TEST_CASE("keys are mixed, not added") {
  std::set<std::uint64_t> keys;
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    for (std::uint64_t epoch = 0; epoch < 100; ++epoch) keys.insert(mix_key(seed, epoch));
  }
  CHECK(keys.size() == 10'000);
  CHECK(mix_key(0, 1) != mix_key(1, 0));
}

TEST_CASE("orders have names") {
  CHECK(*order_from_name("global") == OrderKind::kGlobal);
  CHECK(*order_from_name("window") == OrderKind::kWindow);
  CHECK(*order_from_name("sequential") == OrderKind::kSequential);
  CHECK(order_from_name("random").status().message() ==
        "order is 'random'; expected 'global', 'window', 'weighted', 'mixed', 'strata' or 'sequential'");
}

TEST_CASE("the sequential order is the identity") {
  const Order order(OrderKind::kSequential, 1000, 1, 2, 32, nullptr);
  CHECK(order.size() == 1000);
  const auto values = fill(order, 10, 1000);
  for (std::uint64_t i = 0; i < values.size(); ++i) REQUIRE(values[i] == i + 10);
}

TEST_CASE("the global order holds every sample once and depends on seed and epoch") {
  std::set<std::vector<std::uint64_t>> orders;
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    for (std::uint64_t epoch = 0; epoch < 10; ++epoch) {
      auto values = fill(Order(OrderKind::kGlobal, 777, seed, epoch, 32, nullptr), 0, 777);
      REQUIRE(is_permutation_of_all(values));
      orders.insert(std::move(values));
    }
  }
  CHECK(orders.size() == 100);
}

// What a layout is, the slow way.
struct Chunk {
  std::uint64_t first, count;
};
std::vector<Chunk> chunks_of(const std::vector<ShardChunks>& shards) {
  std::vector<Chunk> chunks;
  std::uint64_t sample = 0;
  for (const ShardChunks& shard : shards) {
    for (std::uint64_t left = shard.num_samples; left > 0;) {
      const std::uint64_t count = std::min<std::uint64_t>(left, shard.chunk_samples);
      chunks.push_back({sample, count});
      sample += count;
      left -= count;
    }
  }
  return chunks;
}

void check_layout(const std::vector<ShardChunks>& shards) {
  const ChunkLayout layout(shards);
  const std::vector<Chunk> chunks = chunks_of(shards);
  REQUIRE(layout.num_chunks() == chunks.size());
  REQUIRE(layout.num_samples() == (chunks.empty() ? 0 : chunks.back().first + chunks.back().count));
  std::vector<std::uint64_t> missing(chunks.size());
  for (const ChunkLayout::Short& chunk : layout.short_chunks()) {
    REQUIRE(chunk.chunk < chunks.size());
    REQUIRE(chunk.missing > 0);
    missing[chunk.chunk] += chunk.missing;
  }
  for (std::uint64_t i = 0; i < chunks.size(); ++i) {
    REQUIRE(layout.first_sample(i) == chunks[i].first);
    REQUIRE(layout.samples_in(i) == chunks[i].count);
    REQUIRE(layout.chunk_samples() - missing[i] == chunks[i].count);
  }
}

// Every sample once; each window's samples are those of exactly its chunks, and all windows but the last have `window` chunks;
// and any range, filled alone, is the same.
void check_windows(const std::vector<ShardChunks>& shards, std::uint32_t window, std::uint64_t seed) {
  const auto layout = std::make_shared<const ChunkLayout>(shards);
  const std::vector<Chunk> chunks = chunks_of(shards);
  const Order order(OrderKind::kWindow, layout->num_samples(), seed, 3, window, layout);
  const auto values = fill(order, 0, order.size());
  REQUIRE(is_permutation_of_all(values));

  std::uint64_t position = 0, windows = 0;
  for (std::uint64_t first = 0; first < chunks.size(); first += window, ++windows) {
    const std::uint64_t held = std::min<std::uint64_t>(window, chunks.size() - first);
    std::set<std::uint64_t> seen;
    std::uint64_t expected = 0;  // Samples of the chunks met so far in this window: it ends when all of theirs were met.
    const std::uint64_t begin = position;
    while (seen.size() < held || position - begin < expected) {
      REQUIRE(position < values.size());
      const auto after =
          std::upper_bound(chunks.begin(), chunks.end(), values[position++], [](std::uint64_t s, const Chunk& c) { return s < c.first; });
      const auto chunk = static_cast<std::uint64_t>(after - chunks.begin()) - 1;
      if (seen.insert(chunk).second) expected += chunks[chunk].count;
      REQUIRE(seen.size() <= held);
    }
    REQUIRE(position - begin == expected);
  }
  REQUIRE(position == values.size());

  std::mt19937_64 random(seed);
  for (int i = 0; i < 60 && !values.empty(); ++i) {
    const std::uint64_t begin = random() % values.size();
    const std::uint64_t end = begin + random() % std::min<std::uint64_t>(values.size() - begin + 1, 300);
    REQUIRE(fill(order, begin, end) == std::vector<std::uint64_t>(values.begin() + static_cast<std::ptrdiff_t>(begin),
                                                                  values.begin() + static_cast<std::ptrdiff_t>(end)));
  }
}

const std::vector<std::vector<ShardChunks>> kLayouts = {
    {{1, 1}},
    {{1, 100}},
    {{1000, 100}},
    {{1001, 100}},
    {{999, 100}},
    {{1000, 1}},
    {{300, 64}, {300, 64}, {300, 64}},
    {{640, 64}, {0, 64}, {5, 64}, {64, 64}, {0, 64}},
    {{0, 64}, {0, 64}, {129, 64}},
    {{500, 7}, {500, 64}, {13, 100}, {1, 3}, {200, 1}},
    {{100, 1000}, {100, 10}, {5, 10}, {2000, 1000}},
    {{100, 10}, {0, 4096}},  // The largest chunk size is that of a shard without chunks.
    {{64, 64}, {63, 64}, {65, 64}, {127, 64}, {128, 64}, {129, 64}},
};

TEST_CASE("a layout says where chunks begin and how much they hold") {
  for (const auto& shards : kLayouts) check_layout(shards);
  check_layout({});
  check_layout({{0, 16}});
  std::mt19937_64 random(4);
  for (int i = 0; i < 200; ++i) {
    std::vector<ShardChunks> shards(random() % 6);
    for (ShardChunks& shard : shards) shard = {random() % 500, static_cast<std::uint32_t>(1 + random() % 90)};
    check_layout(shards);
  }
}

TEST_CASE("a layout of equal shards lists only chunks that are not full") {
  CHECK(ChunkLayout({{1ull << 40, 1024}, {(1ull << 40) + 1, 1024}}).short_chunks().size() == 1);
  CHECK(ChunkLayout({{1ull << 40, 1024}, {1ull << 40, 1024}}).short_chunks().empty());
}

TEST_CASE("the window order holds every sample once, window by window") {
  for (const auto& shards : kLayouts) {
    for (const std::uint32_t window : {1u, 2u, 3u, 7u, 32u, 1000u, 0xffffffffu}) {
      for (std::uint64_t seed = 0; seed < 5; ++seed) check_windows(shards, window, seed);
    }
  }
}

TEST_CASE("the window order of random layouts holds every sample once, window by window") {
  std::mt19937_64 random(5);
  for (int i = 0; i < 150; ++i) {
    std::vector<ShardChunks> shards(1 + random() % 6);
    for (ShardChunks& shard : shards) shard = {random() % 600, static_cast<std::uint32_t>(1 + random() % (i % 2 == 0 ? 20 : 200))};
    check_windows(shards, static_cast<std::uint32_t>(1 + random() % 12), random());
  }
}

TEST_CASE("an empty window order has no positions") {
  const auto layout = std::make_shared<const ChunkLayout>(std::vector<ShardChunks>{{0, 64}});
  const Order order(OrderKind::kWindow, 0, 1, 1, 4, layout);
  CHECK(order.size() == 0);
  CHECK(fill(order, 0, 0).empty());
}

TEST_CASE("the window order reaches far positions at once") {
  const std::uint64_t samples = (1ull << 47) + 12'345;
  const auto layout = std::make_shared<const ChunkLayout>(std::vector<ShardChunks>{{samples, 4096}});
  const Order order(OrderKind::kWindow, samples, 1, 1, 32, layout);
  const auto tail = fill(order, samples - 200'000, samples);
  std::set<std::uint64_t> distinct(tail.begin(), tail.end());
  CHECK(distinct.size() == tail.size());
  CHECK(*distinct.rbegin() < samples);
  const auto shifted = fill(order, samples - 1000, samples);
  CHECK(std::equal(shifted.begin(), shifted.end(), tail.end() - 1000));
}

// By looking at every position.
std::uint64_t looked_up(const std::vector<std::uint64_t>& order, std::uint64_t first, std::uint64_t count, std::uint64_t from) {
  for (std::uint64_t at = from; at < order.size(); ++at) {
    if (order[at] >= first && order[at] - first < count) return at;
  }
  return Order::kNever;
}

void check_next_use(const Order& order, std::uint64_t samples, std::mt19937_64& random) {
  REQUIRE(order.knows_next_use());
  const std::vector<std::uint64_t> all = fill(order, 0, order.size());
  for (int i = 0; i < 200; ++i) {
    const std::uint64_t first = random() % samples;
    const std::uint64_t count = random() % std::min<std::uint64_t>(Order::kMostAsked + 1, samples - first + 1);
    const std::uint64_t from = random() % (order.size() + 2);
    REQUIRE(order.next_use(first, count, from) == looked_up(all, first, count, from));
    // Every third position only.
    const std::uint64_t mine = order.next_use(first, count, from, [](std::uint64_t position) { return position % 3 == 0; });
    std::uint64_t expected = looked_up(all, first, count, from);
    while (expected != Order::kNever && expected % 3 != 0) expected = looked_up(all, first, count, expected + 1);
    REQUIRE(mine == expected);
  }
}

TEST_CASE("the next use of samples is the one that looking finds") {
  std::mt19937_64 random(5);
  for (int i = 0; i < 60; ++i) {
    const std::uint64_t size = i < 5 ? static_cast<std::uint64_t>(i) + 1 : 1 + random() % 3000;
    const std::uint64_t seed = random();
    check_next_use(Order(OrderKind::kSequential, size, seed, 0, 1, nullptr), size, random);
    check_next_use(Order(OrderKind::kGlobal, size, seed, 1, 1, nullptr), size, random);
    std::vector<ShardChunks> shards;
    for (std::uint64_t left = size; left > 0;) {
      const std::uint64_t held = 1 + random() % left;
      shards.push_back({held, static_cast<std::uint32_t>(1 + random() % 70)});
      left -= held;
    }
    const auto layout = std::make_shared<const ChunkLayout>(shards);
    for (const std::uint32_t window : {1u, 4u, 100u})
      check_next_use(Order(OrderKind::kWindow, size, seed, 2, window, layout), size, random);
    std::vector<std::uint64_t> listed(random() % 500);  // Some samples several times, most never.
    for (std::uint64_t& sample : listed) sample = random() % size;
    check_next_use(Order(listed), size, random);
  }
}

TEST_CASE("of a long run of samples the first few are asked for") {
  const Order order(OrderKind::kGlobal, 5000, 1, 1, 1, nullptr);
  const std::vector<std::uint64_t> all = fill(order, 0, 5000);
  CHECK(order.next_use(100, 4000, 7) == looked_up(all, 100, Order::kMostAsked, 7));
  CHECK(Order(OrderKind::kSequential, 5000, 1, 1, 1, nullptr).next_use(100, 4000, 3000) == 3000);
}

TEST_CASE("inverses of a run are those of its values") {
  std::mt19937_64 random(6);
  for (int i = 0; i < 200; ++i) {
    const std::uint64_t size = 1 + random() % (i < 100 ? 40 : 100'000);
    const Permutation permutation(size, random());
    std::vector<std::uint64_t> out(random() % std::min<std::uint64_t>(size, 200) + 1);
    const std::uint64_t begin = random() % 3 == 0 ? 0 : random() % (size - out.size() + 1);
    permutation.inverse(begin, out);
    for (std::size_t k = 0; k < out.size(); ++k) REQUIRE(permutation.forward(out[k]) == begin + k);
  }
}

}  // namespace
}  // namespace headrace::pipeline
