// Chunks read ahead: each once a pass, within the budget, let go when their window is over; and the slots of orders.
#include "headrace/pipeline/chunk_ahead.h"

#include <doctest/doctest.h>

#include <condition_variable>
#include <set>
#include <thread>

#include "headrace/pipeline/pipeline.h"
#include "pipeline/small_dataset.h"
#include "temp_dir.h"

using namespace headrace;
using namespace headrace::pipeline;

namespace {

constexpr std::uint64_t kSamples = 1000;

std::shared_ptr<Dataset> open_with(const std::string& path, io::ReaderKind reader) {
  DatasetOptions options;
  options.reader = reader;
  auto dataset = Dataset::open(path, 0, options);
  REQUIRE_MESSAGE(dataset.is_ok(), dataset.status().message());
  return *dataset;
}

std::shared_ptr<const Order> window_order(const Dataset& dataset, std::uint32_t window) {
  return std::make_shared<const Order>(OrderKind::kWindow, dataset.num_samples(), 5, 1, window, dataset.layout());
}

void wait_for(const std::shared_ptr<ChunkImage>& image) {
  std::mutex mutex;
  std::condition_variable changed;
  bool ready = false;
  image->when_ready(std::make_shared<Countdown>(1, [&] {
    std::lock_guard lock(mutex);
    ready = true;
    changed.notify_one();
  }));
  std::unique_lock lock(mutex);
  changed.wait(lock, [&] { return ready; });
}

}  // namespace

TEST_CASE("slots cover the chunks of each position, and each chunk has one") {
  TempDir dir;
  REQUIRE(write_small(dir / "d", kSamples, 37, 6000).is_ok());
  const auto dataset = open_with(dir / "d", io::ReaderKind::kMmap);
  for (const OrderKind kind : {OrderKind::kSequential, OrderKind::kWindow}) {
    const Order order(kind, kSamples, 5, 1, 3, dataset->layout());
    REQUIRE(order.takes_chunks());
    std::set<std::uint64_t> chunks;
    for (std::uint64_t slot = 0; slot < order.num_slots(); ++slot) chunks.insert(order.chunk_at(slot));
    CHECK(chunks.size() == dataset->layout()->num_chunks());
    std::vector<std::uint64_t> samples(kSamples);
    order.fill(0, samples);
    std::uint64_t previous = 0;
    for (std::uint64_t position = 0; position < kSamples; ++position) {
      const auto [first, end] = order.slots_of(position);
      CHECK(first >= previous);
      previous = first;
      bool found = false;
      for (std::uint64_t slot = first; slot < end; ++slot)
        found = found || order.chunk_at(slot) == dataset->layout()->chunk_of(samples[position]);
      REQUIRE(found);
    }
  }
  CHECK(!Order(OrderKind::kGlobal, kSamples, 5, 1, 3, dataset->layout()).takes_chunks());
}

TEST_CASE("images hold a chunk's pages, are shared, and go with their window") {
  TempDir dir;
  REQUIRE(write_small(dir / "d", kSamples, 50).is_ok());
  for (const io::ReaderKind reader : {io::ReaderKind::kPread, io::ReaderKind::kDirect, io::ReaderKind::kUring}) {
    const auto dataset = open_with(dir / "d", reader);
    const auto order = window_order(*dataset, 4);
    storage::SlabPool slabs(1 << 20);
    const auto counters = std::make_shared<io::Counters>();
    const std::uint64_t window = ChunkAhead::window_bytes(*dataset, {0, 1, 2, 3}, 4);
    REQUIRE(window > 0);
    ChunkAhead ahead(dataset, {0, 1, 2, 3}, order, &slabs, counters, 3 * window);
    const auto find_slot = [&](std::uint64_t slot) {
      const Location at = dataset->locate(dataset->layout()->first_sample(order->chunk_at(slot)));
      return ahead.find(at.shard, at.chunk);
    };
    ahead.expect(0, 0, 200);
    ahead.expect(1, 190, 20);  // the end of the first window, and the second's beginning
    CHECK(find_slot(0) == nullptr);
    ahead.start(0);
    for (std::uint64_t slot = 0; slot < 4; ++slot) {
      const auto image = find_slot(slot);
      REQUIRE(image != nullptr);
      wait_for(image);
      CHECK(find_slot(slot) == image);
      const Location at = dataset->locate(dataset->layout()->first_sample(order->chunk_at(slot)));
      const io::ShardSource& source = **dataset->source(at.shard);
      for (std::uint32_t field = 0; field < 4; ++field) {
        const format::PageRef page = source.shard().page(at.chunk, field);
        const std::uint8_t* table = image->bytes().find(0, source, page.offset, page.num_blocks * 24ull);
        REQUIRE(table != nullptr);
        CHECK(source.shard().check_table(at.chunk, field, {table, page.num_blocks * 24ull}).is_ok());
      }
    }
    ahead.taken(0);
    CHECK(find_slot(0) != nullptr);  // Step 1 wants it.
    ahead.start(1);
    CHECK(find_slot(7) != nullptr);
    const auto kept = find_slot(0);
    ahead.expect(2, 210, 20);
    ahead.taken(1);
    CHECK(find_slot(0) == nullptr);
    CHECK(find_slot(4) != nullptr);
    wait_for(kept);  // Whoever holds it goes on.
    CHECK(ahead.live_bytes() <= 4 * window);
    CHECK(find_slot(19) == nullptr);
  }
}

TEST_CASE("a pass in order of windows reads each block once, and the same for any number of threads") {
  ThreadPool::shared().set_max_threads(8);
  TempDir dir;
  REQUIRE(write_small(dir / "d", kSamples, 50).is_ok());
  for (const io::ReaderKind reader : {io::ReaderKind::kPread, io::ReaderKind::kDirect, io::ReaderKind::kUring}) {
    for (const int threads : {1, 2, 8}) {
      const auto dataset = open_with(dir / "d", reader);
      PipelineOptions options;
      options.fields = {0, 1, 2, 3};
      options.partition.batch_size = 7;
      options.order = OrderKind::kWindow;
      options.window = 4;
      options.num_threads = threads;
      options.ragged = Ragged::kOffsets;
      auto pipeline = Pipeline::create(dataset, options);
      REQUIRE(pipeline.is_ok());
      REQUIRE((*pipeline)->start(0, 0).is_ok());
      std::set<std::int64_t> seen;
      while (true) {
        Batch batch;
        const auto next = (*pipeline)->next(10'000'000'000, &batch);
        REQUIRE(next.is_ok());
        if (*next == Pipeline::Next::kEnd) break;
        seen.insert(batch.indices.begin(), batch.indices.end());
      }
      CHECK(seen.size() == kSamples);
      const PipelineStats stats = (*pipeline)->stats();
      CHECK(stats.blocks_read == (*dataset->source(0))->shard().num_blocks());
      CHECK(stats.bytes_in_flight == 0);
      CHECK(stats.batches_in_flight == 0);
    }
  }
}

TEST_CASE("a pass may be dropped while its reads are under way") {
  TempDir dir;
  REQUIRE(write_small(dir / "d", kSamples, 16).is_ok());
  for (const OrderKind order : {OrderKind::kGlobal, OrderKind::kWindow}) {
    for (int round = 0; round < 30; ++round) {
      const auto dataset = open_with(dir / "d", round % 2 == 0 ? io::ReaderKind::kUring : io::ReaderKind::kPread);
      PipelineOptions options;
      options.fields = {0, 1, 2, 3};
      options.partition.batch_size = 33;
      options.order = order;
      options.num_threads = 2;
      auto pipeline = Pipeline::create(dataset, options);
      REQUIRE(pipeline.is_ok());
      REQUIRE((*pipeline)->start(0, 0).is_ok());
      Batch batch;
      for (int taken = 0; taken < round % 3; ++taken) REQUIRE((*pipeline)->next(10'000'000'000, &batch).is_ok());
      if (round % 5 == 0) REQUIRE((*pipeline)->start(1, 0).is_ok());
    }
  }
}
