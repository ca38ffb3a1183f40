#include "headrace/pipeline/pipeline.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <thread>

#include "in_child.h"
#include "pipeline/small_dataset.h"
#include "temp_dir.h"

using namespace headrace;
using namespace headrace::pipeline;

namespace {

constexpr std::uint64_t kSamples = 1000;

std::shared_ptr<Dataset> open_small(const std::string& path, io::ReaderKind reader = io::ReaderKind::kMmap) {
  DatasetOptions options;
  options.reader = reader;
  auto dataset = Dataset::open(path, 0, options);
  REQUIRE_MESSAGE(dataset.is_ok(), dataset.status().message());
  return *dataset;
}

PipelineOptions options_for(int threads, OrderKind order = OrderKind::kGlobal) {
  PipelineOptions options;
  options.fields = {0, 1, 2, 3};
  options.partition.batch_size = 33;
  options.order = order;
  options.window = 3;
  options.seed = 5;
  options.num_threads = threads;
  options.ragged = Ragged::kOffsets;
  return options;
}

// Every byte of a batch that a user can see.
std::string visible(const Batch& batch) {
  std::string out(reinterpret_cast<const char*>(batch.indices.data()), batch.indices.size() * 8);
  for (const FieldOut& field : batch.fields) {
    if (field.offsets_at != FieldOut::kAbsent)
      out.append(reinterpret_cast<const char*>(batch.at(field.offsets_at)), (batch.indices.size() + 1) * 8);
    if (field.lengths_at != FieldOut::kAbsent)
      out.append(reinterpret_cast<const char*>(batch.at(field.lengths_at)), batch.indices.size() * 8);
    if (field.valid_at != FieldOut::kAbsent) out.append(reinterpret_cast<const char*>(batch.at(field.valid_at)), batch.indices.size());
    out.append(reinterpret_cast<const char*>(batch.at(field.values_at)), field.values_bytes);
  }
  return out;
}

void check_content(const Batch& batch) {
  const auto* raw = reinterpret_cast<const float*>(batch.at(batch.fields[0].values_at));
  const auto* packed = reinterpret_cast<const std::int64_t*>(batch.at(batch.fields[1].values_at));
  const std::uint8_t* valid = batch.at(batch.fields[1].valid_at);
  const auto* text_at = reinterpret_cast<const std::int64_t*>(batch.at(batch.fields[2].offsets_at));
  const auto* text = reinterpret_cast<const char*>(batch.at(batch.fields[2].values_at));
  const auto* list_at = reinterpret_cast<const std::int64_t*>(batch.at(batch.fields[3].offsets_at));
  const auto* list = reinterpret_cast<const std::int16_t*>(batch.at(batch.fields[3].values_at));
  for (std::size_t slot = 0; slot < batch.indices.size(); ++slot) {
    const auto i = static_cast<std::uint64_t>(batch.indices[slot]);
    CAPTURE(i);
    REQUIRE(raw[slot * 4 + 3] == static_cast<float>(i) + 0.75F);
    REQUIRE((valid[slot] == 1) == small_valid(i));
    REQUIRE(packed[slot] == (small_valid(i) ? static_cast<std::int64_t>(i * 3) : 0));
    REQUIRE(std::string(text + text_at[slot], text + text_at[slot + 1]) == small_text(i));
    REQUIRE(list_at[slot + 1] - list_at[slot] == static_cast<std::int64_t>(i % 3));
    if (i % 3 > 0) REQUIRE(list[list_at[slot] * 2] == static_cast<std::int16_t>(i));
  }
}

Batch next_of(Pipeline& pipeline, bool* end) {
  Batch batch;
  while (true) {
    const auto next = pipeline.next(50'000'000, &batch);
    REQUIRE_MESSAGE(next.is_ok(), next.status().message());
    *end = *next == Pipeline::Next::kEnd;
    if (*next != Pipeline::Next::kNotYet) return batch;
  }
}

std::vector<std::string> run_pass(Pipeline& pipeline, std::uint64_t epoch, std::uint64_t position = 0) {
  REQUIRE(pipeline.start(epoch, position).is_ok());
  std::vector<std::string> seen;
  while (true) {
    bool end = false;
    const Batch batch = next_of(pipeline, &end);
    if (end) return seen;
    seen.push_back(visible(batch));
  }
}

std::unique_ptr<Pipeline> make(const std::shared_ptr<Dataset>& dataset, const PipelineOptions& options) {
  auto pipeline = Pipeline::create(dataset, options);
  REQUIRE_MESSAGE(pipeline.is_ok(), pipeline.status().message());
  return std::move(*pipeline);
}

// Damages one stored byte of a field's values in the chunk of sample 0; returns the samples of the block that holds it.
void damage(const std::string& dir, const std::shared_ptr<Dataset>& dataset, std::uint32_t field) {
  const format::Shard& shard = (*dataset->source(0))->shard();
  const format::SectionRef values = shard.page(0, field).section(format::Section::kValues);
  std::fstream file(dir + "/" + dataset->manifest().shards[0].file_name, std::ios::in | std::ios::out | std::ios::binary);
  file.seekg(static_cast<std::streamoff>(values.offset));
  char byte = 0;
  file.get(byte);
  file.seekp(static_cast<std::streamoff>(values.offset));
  file.put(static_cast<char>(byte ^ 0x10));
}

}  // namespace

TEST_CASE("batches do not depend on threads, reader, prefetch or earlier passes") {
  ThreadPool::shared().set_max_threads(8);
  TempDir dir;
  REQUIRE(write_small(dir / "d", kSamples, 64, 6000).is_ok());
  for (const OrderKind order : {OrderKind::kSequential, OrderKind::kGlobal, OrderKind::kWindow}) {
    const auto dataset = open_small(dir / "d");
    REQUIRE(dataset->manifest().shards.size() > 1);
    const std::vector<std::string> expected = run_pass(*make(dataset, options_for(0, order)), 2);
    REQUIRE(expected.size() == (kSamples + 32) / 33);
    for (const int threads : {0, 1, 2, 8}) {
      for (const io::ReaderKind reader : {io::ReaderKind::kMmap, io::ReaderKind::kPread, io::ReaderKind::kDirect, io::ReaderKind::kUring}) {
        PipelineOptions options = options_for(threads, order);
        options.prefetch_batches = threads == 8 ? 40 : 0;
        const auto pipeline = make(open_small(dir / "d", reader), options);
        CHECK(run_pass(*pipeline, 2) == expected);
        CHECK(run_pass(*pipeline, 3) != (order == OrderKind::kSequential ? std::vector<std::string>() : expected));
        CHECK(run_pass(*pipeline, 2) == expected);
      }
    }
  }
}

TEST_CASE("threads and batches ahead may change between any two batches, which stay what they are") {
  ThreadPool::shared().set_max_threads(8);
  TempDir dir;
  REQUIRE(write_small(dir / "d", kSamples, 64, 6000).is_ok());
  struct Case {
    io::ReaderKind reader;
    std::vector<std::uint32_t> fields;
    bool can_be_in_memory;
  };
  for (const Case& c : {Case{io::ReaderKind::kMmap, {0, 1, 2, 3}, false}, Case{io::ReaderKind::kPread, {0, 1, 2, 3}, false},
                        Case{io::ReaderKind::kMmap, {0}, true}}) {
    const auto dataset = open_small(dir / "d", c.reader);
    PipelineOptions options = options_for(0);
    options.fields = c.fields;
    const std::vector<std::string> expected = run_pass(*make(dataset, options), 2);
    options.num_threads = 2;
    const auto pipeline = make(dataset, options);
    constexpr int kThreads[] = {8, 0, 1, 2, 0, 8, 1};
    constexpr std::uint32_t kAhead[] = {40, 1, 7, 2, 3};
    std::size_t change = 0;
    bool without_threads = false;
    for (int pass = 0; pass < 5; ++pass) {
      REQUIRE(pipeline->start(2, 0).is_ok());
      for (const std::string& batch : expected) {
        const int threads = kThreads[change % 7];
        const std::uint32_t ahead = kAhead[change++ % 5];
        REQUIRE(pipeline->tune({threads, threads, ahead, ahead}).is_ok());
        CHECK(pipeline->ahead() == ahead);
        // None at all only once everything is known to be in memory.
        const int in_force = pipeline->stats().num_threads;
        CHECK((in_force == threads || (threads == 0 && in_force == 1)));
        without_threads = without_threads || in_force == 0;
        bool end = false;
        REQUIRE(visible(next_of(*pipeline, &end)) == batch);
      }
      bool end = false;
      next_of(*pipeline, &end);
      CHECK(end);
    }
    CHECK(without_threads == c.can_be_in_memory);
  }
}

TEST_CASE("bounds that hold nothing are refused, as is tuning without threads") {
  TempDir dir;
  REQUIRE(write_small(dir / "d", 50, 64, 6000).is_ok());
  const auto dataset = open_small(dir / "d");
  const auto pipeline = make(dataset, options_for(1));
  for (const SettingBounds bounds :
       {SettingBounds{-1, 1, 1, 1}, SettingBounds{2, 1, 1, 1}, SettingBounds{0, 1, 0, 1}, SettingBounds{0, 1, 3, 2}}) {
    CHECK(pipeline->tune(bounds).code() == Code::kInvalidArgument);
  }
  CHECK_FALSE(pipeline->stats().is_tuned);
  CHECK(make(dataset, options_for(0))->tune({0, 1, 1, 1}).code() == Code::kInvalidArgument);
}

TEST_CASE("every sample arrives exactly once, with its values") {
  TempDir dir;
  REQUIRE(write_small(dir / "d", kSamples, 50).is_ok());
  const auto pipeline = make(open_small(dir / "d"), options_for(2));
  REQUIRE(pipeline->start(0, 0).is_ok());
  std::map<std::int64_t, int> seen;
  std::uint64_t position = 0;
  for (bool end = false; !end;) {
    const Batch batch = next_of(*pipeline, &end);
    if (end) break;
    check_content(batch);
    for (const std::int64_t i : batch.indices) ++seen[i];
    CHECK(batch.position_after > position);
    position = batch.position_after;
  }
  CHECK(position == kSamples);
  REQUIRE(seen.size() == kSamples);
  for (const auto& [sample, count] : seen) REQUIRE(count == 1);
}

TEST_CASE("a pass resumes at a position, on any world size, and replays any step") {
  TempDir dir;
  REQUIRE(write_small(dir / "d", kSamples, 50).is_ok());
  const auto dataset = open_small(dir / "d");
  const auto whole = make(dataset, options_for(2));
  const std::vector<std::string> all = run_pass(*whole, 7);
  const std::vector<std::string> rest = run_pass(*whole, 7, 33 * 10);
  REQUIRE(rest.size() == all.size() - 10);
  CHECK(std::equal(rest.begin(), rest.end(), all.begin() + 10));
  for (const std::uint64_t step : {0ull, 11ull, 30ull}) {
    const auto batch = whole->replay(7, step);
    REQUIRE(batch.is_ok());
    CHECK(visible(*batch) == all[step]);
  }
  CHECK(whole->replay(7, 31).status().code() == Code::kInvalidArgument);

  // Three ranks of 11: together the same global batches.
  std::vector<std::vector<std::int64_t>> parts(31);
  for (std::uint64_t rank = 0; rank < 3; ++rank) {
    PipelineOptions options = options_for(1);
    options.partition = {11, rank, 3, false};
    const auto pipeline = make(dataset, options);
    REQUIRE(pipeline->start(7, 0).is_ok());
    for (std::size_t step = 0;; ++step) {
      bool end = false;
      const Batch batch = next_of(*pipeline, &end);
      if (end) break;
      parts.at(step).insert(parts.at(step).end(), batch.indices.begin(), batch.indices.end());
    }
  }
  for (std::size_t step = 0; step < 30; ++step) CHECK(parts[step] == whole->replay(7, step)->indices);
  CHECK(parts[30].size() == 12);  // 10 left: ceil(10 / 3) each, two of them from the epoch's start
}

TEST_CASE("an order of one's own is followed") {
  TempDir dir;
  REQUIRE(write_small(dir / "d", 100, 16).is_ok());
  const auto pipeline = make(open_small(dir / "d"), options_for(2));
  REQUIRE(pipeline->start_fed().is_ok());
  CHECK(pipeline->feed({100}).code() == Code::kInvalidArgument);
  REQUIRE(pipeline->feed({5, 5, 99, 0}).is_ok());
  REQUIRE(pipeline->feed({}).is_ok());
  REQUIRE(pipeline->end_feed().is_ok());
  bool end = false;
  Batch batch = next_of(*pipeline, &end);
  CHECK(batch.indices == std::vector<std::int64_t>{5, 5, 99, 0});
  check_content(batch);
  CHECK(next_of(*pipeline, &end).indices.empty());
  next_of(*pipeline, &end);
  CHECK(end);
}

TEST_CASE("a listed order is cut as an epoch is, from any position, for any number of threads") {
  TempDir dir;
  REQUIRE(write_small(dir / "d", kSamples, 50).is_ok());
  std::vector<std::uint64_t> listed;
  for (std::uint64_t i = 0; i < 1500; ++i) listed.push_back(i * 7919 % kSamples);
  for (const int threads : {0, 1, 2, 8}) {
    const auto pipeline = make(open_small(dir / "d"), options_for(threads));
    for (const std::uint64_t position : {std::uint64_t{0}, std::uint64_t{33 * 9}, std::uint64_t{1500}}) {
      REQUIRE(pipeline->start_listed(listed, position).is_ok());
      std::vector<std::uint64_t> seen;
      std::uint64_t step = position / 33;
      for (bool end = false;;) {
        const Batch batch = next_of(*pipeline, &end);
        if (end) break;
        CHECK(batch.step == step++);
        check_content(batch);
        seen.insert(seen.end(), batch.indices.begin(), batch.indices.end());
      }
      CHECK(seen == std::vector<std::uint64_t>(listed.begin() + static_cast<std::ptrdiff_t>(position), listed.end()));
    }
    CHECK(pipeline->start_listed(listed, 1501).code() == Code::kInvalidArgument);
    CHECK(pipeline->start_listed({kSamples}, 0).code() == Code::kInvalidArgument);
  }
}

TEST_CASE("places of many samples equal the places of each") {
  TempDir dir;
  for (const std::uint64_t shard_bytes : {std::uint64_t{6000}, std::uint64_t{1} << 30}) {
    const std::string path = dir / std::to_string(shard_bytes);
    REQUIRE(write_small(path, kSamples, 37, shard_bytes).is_ok());
    const auto dataset = open_small(path);
    std::vector<std::uint64_t> samples;
    for (std::uint64_t i = 0; i < kSamples; ++i) samples.push_back(i * 7 % kSamples);
    std::vector<Location> places(samples.size());
    dataset->locate(samples, places);
    for (std::size_t i = 0; i < samples.size(); ++i) {
      const Location one = dataset->locate(samples[i]);
      CHECK(std::tuple(places[i].shard, places[i].row, places[i].chunk) == std::tuple(one.shard, one.row, one.chunk));
    }
  }
}

TEST_CASE("a damaged block fails its batch and names the place; the pass goes on") {
  for (const std::uint32_t field : {0u, 1u}) {
    TempDir dir;
    REQUIRE(write_small(dir / "d", 200, 16).is_ok());
    damage(dir / "d", open_small(dir / "d"), field);
    for (const int threads : {0, 2}) {
      PipelineOptions options = options_for(threads, OrderKind::kSequential);
      options.partition.batch_size = 20;
      const auto pipeline = make(open_small(dir / "d"), options);
      REQUIRE(pipeline->start(0, 0).is_ok());
      Batch batch;
      auto next = pipeline->next(10'000'000'000, &batch);
      REQUIRE(!next.is_ok());
      CHECK(next.status().code() == Code::kCorrupt);
      for (const char* part : {"step 0", "sample 0", ".hrs", "chunk 0", field == 0 ? "'raw'" : "'packed'"}) {
        CAPTURE(next.status().message());
        CHECK(next.status().message().find(part) != std::string::npos);
      }
      bool end = false;
      for (std::int64_t step = 1; step < 10; ++step) {
        const Batch good = next_of(*pipeline, &end);
        CHECK(good.indices.front() == step * 20);
        check_content(good);
      }
    }
  }
}

TEST_CASE("damaged samples are skipped or replaced alike for any number of threads") {
  TempDir dir;
  REQUIRE(write_small(dir / "d", 200, 16).is_ok());
  damage(dir / "d", open_small(dir / "d"), 1);
  for (const OnError policy : {OnError::kSkip, OnError::kReplace}) {
    std::vector<std::string> expected;
    for (const int threads : {0, 1, 2, 8}) {
      PipelineOptions options = options_for(threads);
      options.on_error = policy;
      const auto pipeline = make(open_small(dir / "d"), options);
      const std::vector<std::string> seen = run_pass(*pipeline, 1);
      if (expected.empty()) expected = seen;
      CHECK(seen == expected);
      // A draw for a damaged sample may meet another damaged one, which counts as well.
      CHECK(pipeline->stats().errors >= 16);
      if (policy == OnError::kSkip) CHECK(pipeline->stats().errors == 16);
      const std::uint64_t failed = pipeline->stats().errors;
      REQUIRE(pipeline->start(1, 0).is_ok());
      std::size_t delivered = 0, skipped = 0;
      for (bool end = false; !end;) {
        const Batch batch = next_of(*pipeline, &end);
        if (end) break;
        check_content(batch);
        delivered += batch.indices.size();
        skipped += batch.skipped.size();
        for (const Skipped& s : batch.skipped) CHECK(s.sample < 16);
      }
      CHECK(skipped == failed);
      CHECK(delivered == (policy == OnError::kSkip ? 184 : 200));
    }
  }
}

TEST_CASE("prefetch stays within its bytes") {
  TempDir dir;
  REQUIRE(write_small(dir / "d", kSamples, 50).is_ok());
  PipelineOptions options = options_for(2);
  options.fields = {0};
  options.prefetch_batches = 1000;
  options.prefetch_bytes = 4096;  // seven batches of 33 * 16 bytes
  const auto pipeline = make(open_small(dir / "d"), options);
  run_pass(*pipeline, 0);
  CHECK(pipeline->stats().peak_bytes_in_flight <= 4096);
  CHECK(pipeline->stats().peak_bytes_in_flight >= 3 * 33 * 16);
  CHECK(pipeline->stats().bytes_in_flight == 0);
}

TEST_CASE("what small samples make a batch read is within prefetch_bytes too, and the batches are the same") {
  TempDir dir;
  REQUIRE(write_small(dir / "d", 100'000, 5000).is_ok());  // 16 bytes of a block of 16 KiB
  PipelineOptions options = options_for(2);
  options.fields = {0};
  options.partition.batch_size = 200;  // some 1.3 MB of blocks
  const auto mapped = make(open_small(dir / "d"), options);
  const std::vector<std::string> wanted = run_pass(*mapped, 0);
  std::uint64_t most = 0;
  for (const io::ReaderKind reader : {io::ReaderKind::kPread, io::ReaderKind::kDirect, io::ReaderKind::kUring}) {
    for (const int threads : {1, 2, 8}) {
      CAPTURE(threads);
      options.num_threads = threads;
      options.prefetch_batches = 64;
      options.prefetch_bytes = 8u << 20;
      const auto dataset = open_small(dir / "d", reader);
      const auto pipeline = make(dataset, options);
      CHECK(run_pass(*pipeline, 0) == wanted);
      const PipelineStats stats = pipeline->stats();
      most = std::max(most, stats.peak_bytes_in_flight);
      CHECK(stats.peak_bytes_in_flight <= options.prefetch_bytes);
      CHECK(stats.slab_bytes <= options.prefetch_bytes);
      CHECK(stats.bytes_in_flight == 0);
    }
  }
  CHECK(most >= 2u << 20);  // More than one at a time, in some of these passes at least.
}

TEST_CASE("a pass may be dropped at any moment") {
  TempDir dir;
  REQUIRE(write_small(dir / "d", kSamples, 50).is_ok());
  const auto dataset = open_small(dir / "d");
  for (int round = 0; round < 50; ++round) {
    const auto pipeline = make(dataset, options_for(2));
    REQUIRE(pipeline->start(0, 0).is_ok());
    bool end = false;
    for (int i = 0; i < round % 5; ++i) next_of(*pipeline, &end);
    if (round % 3 == 0) pipeline->stop();
    if (round % 3 == 1) REQUIRE(pipeline->start(1, 0).is_ok());
  }
}

TEST_CASE("batches outlive the pipeline and the dataset") {
  TempDir dir;
  REQUIRE(write_small(dir / "d", 100, 16).is_ok());
  std::vector<Batch> kept;
  {
    const auto pipeline = make(open_small(dir / "d"), options_for(2));
    REQUIRE(pipeline->start(0, 0).is_ok());
    for (bool end = false; !end;) {
      kept.push_back(next_of(*pipeline, &end));
      if (end) kept.pop_back();
    }
  }
  REQUIRE(kept.size() == 4);
  for (const Batch& batch : kept) check_content(batch);
}

TEST_CASE("several pipelines share a dataset and the pool") {
  TempDir dir;
  REQUIRE(write_small(dir / "d", kSamples, 50).is_ok());
  const auto dataset = open_small(dir / "d");
  const std::vector<std::string> expected = run_pass(*make(dataset, options_for(0)), 0);
  std::vector<std::vector<std::string>> seen(4);
  std::vector<std::thread> threads;
  for (auto& one : seen) threads.emplace_back([&] { one = run_pass(*make(dataset, options_for(2)), 0); });
  for (std::thread& thread : threads) thread.join();
  for (const auto& one : seen) CHECK(one == expected);
}

#if !defined(__SANITIZE_THREAD__)  // It does not follow a fork that starts threads.
TEST_CASE("in a forked child the pipeline answers kForked and the dataset works anew") {
  TempDir dir;
  REQUIRE(write_small(dir / "d", kSamples, 50).is_ok());
  const auto dataset = open_small(dir / "d");
  auto pipeline = make(dataset, options_for(2));
  const std::vector<std::string> expected = run_pass(*pipeline, 0);
  for (int round = 0; round < 20; ++round) {
    REQUIRE(pipeline->start(0, 0).is_ok());
    const int ended = in_child([&] {
      Batch batch;
      const bool refused = pipeline->next(1, &batch).status().code() == Code::kForked && pipeline->start(0, 0).code() == Code::kForked;
      pipeline.reset();
      const bool same = run_pass(*make(dataset, options_for(2)), 0) == expected;
      return refused && same ? 0 : 1;
    });
    REQUIRE(ended == 0);
  }
  CHECK(run_pass(*pipeline, 0) == expected);
}
#endif
