// What a pipeline's times say while it times one batch in eight: nothing that was slow is missing, and waits count for all batches.
#include <doctest/doctest.h>

#include <cstdlib>

#include "headrace/io/block_cache.h"
#include "headrace/pipeline/pipeline.h"
#include "pipeline/small_dataset.h"
#include "temp_dir.h"

using namespace headrace;
using namespace headrace::pipeline;

namespace {

constexpr std::uint64_t kSamples = 4000, kBatch = 4, kBatches = kSamples / kBatch;

std::unique_ptr<Pipeline> make(const std::shared_ptr<Dataset>& dataset, int threads, std::vector<std::uint32_t> fields) {
  PipelineOptions options;
  options.fields = std::move(fields);
  options.partition.batch_size = kBatch;
  options.num_threads = threads;
  options.ragged = Ragged::kOffsets;
  auto pipeline = Pipeline::create(dataset, options);
  REQUIRE_MESSAGE(pipeline.is_ok(), pipeline.status().message());
  return std::move(*pipeline);
}

void run_pass(Pipeline& pipeline) {
  REQUIRE(pipeline.start(0, 0).is_ok());
  for (std::uint64_t batches = 0;;) {
    Batch batch;
    const auto next = pipeline.next(50'000'000, &batch);
    REQUIRE_MESSAGE(next.is_ok(), next.status().message());
    if (*next == Pipeline::Next::kBatch) ++batches;
    if (*next != Pipeline::Next::kEnd) continue;
    CHECK(batches == kBatches);
    return;
  }
}

struct Waits {
  std::uint64_t batches = 0, least_ns = 0, most_ns = 0, stall_ns = 0;
};

Waits waits_of(const Pipeline& pipeline) {
  Waits out;
  out.stall_ns = pipeline.stats().stall_ns;
  for (std::size_t i = 0; i < WaitCounts::kBuckets; ++i) {
    const std::uint64_t count = pipeline.waits().count(i);
    out.batches += count;
    out.least_ns += count * WaitCounts::begin_ns(i);
    out.most_ns += count * WaitCounts::begin_ns(i + 1);
  }
  return out;
}

std::shared_ptr<Dataset> open_small(const std::string& path) {
  REQUIRE(write_small(path, kSamples, 500).is_ok());
  auto dataset = Dataset::open(path, 0, {});
  REQUIRE_MESSAGE(dataset.is_ok(), dataset.status().message());
  return *dataset;
}

}  // namespace

TEST_CASE("rare decoding among quick batches is in the times of all stages around it, and in the wait of who did it") {
  TempDir dir;
  const auto dataset = open_small(dir / "d");
  for (const int threads : {0, 1, 2, 8}) {
    CAPTURE(threads);
    const auto pipeline = make(dataset, threads, {2});
    for (int pass = 0; pass < 3; ++pass) run_pass(*pipeline);
    WARN(pipeline->stats().timed_one_in == TimedBatches::kRow);  // Else, on a slow machine, all are timed, and this tests less.
    for (int pass = 0; pass < 5; ++pass) {
      // One batch in a hundred meets a block that is not decoded.
      io::BlockCache::shared().set_capacity(0);
      io::BlockCache::shared().set_capacity(std::size_t{64} << 20);
      const PipelineStats before = pipeline->stats();
      run_pass(*pipeline);
      const PipelineStats after = pipeline->stats();
      const std::uint64_t decoded = after.decode_ns - before.decode_ns;
      REQUIRE(after.cache_misses > before.cache_misses);
      REQUIRE(decoded > 0);
      CHECK(after.assemble_ns - before.assemble_ns >= decoded);
      if (threads == 0) CHECK(after.stall_ns - before.stall_ns >= decoded);
      CHECK(after.batches - before.batches == kBatches);
      CHECK(after.samples - before.samples == kSamples);
    }
  }
  io::BlockCache::shared().set_capacity({});
}

TEST_CASE("waits count for as many batches as there were, and add up to the stall") {
  TempDir dir;
  const auto dataset = open_small(dir / "d");
  const auto pipeline = make(dataset, 0, {0});
  constexpr std::uint64_t kPasses = 10;
  run_pass(*pipeline);  // Which touches the file.
  const Waits before = waits_of(*pipeline);
  for (std::uint64_t pass = 0; pass < kPasses; ++pass) run_pass(*pipeline);
  // The first of a pass counts for itself, which its row does not know.
  const Waits after = waits_of(*pipeline);
  const auto off = static_cast<std::int64_t>(after.batches - before.batches) - static_cast<std::int64_t>(kPasses * kBatches);
  CHECK(std::abs(off) <= static_cast<std::int64_t>(kPasses * TimedBatches::kRow));
  CHECK(after.stall_ns - before.stall_ns >= after.least_ns - before.least_ns);
  CHECK(after.stall_ns - before.stall_ns <= after.most_ns - before.most_ns);
}
