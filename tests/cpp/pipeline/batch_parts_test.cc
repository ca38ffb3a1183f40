#include "headrace/pipeline/batch_parts.h"

#include <doctest/doctest.h>

#include <fstream>

#include "headrace/pipeline/pipeline.h"
#include "pipeline/small_dataset.h"
#include "temp_dir.h"

using namespace headrace;
using namespace headrace::pipeline;

namespace {

constexpr std::uint64_t kSamples = 500;

std::shared_ptr<const Dataset> open_small(const std::string& path, io::ReaderKind reader) {
  DatasetOptions options;
  options.reader = reader;
  auto dataset = Dataset::open(path, 0, options);
  REQUIRE_MESSAGE(dataset.is_ok(), dataset.status().message());
  return *dataset;
}

// Fields of the second part first, then of the first: batches have them in the order that they were asked for in.
PipelineOptions options_for(int threads, OrderKind order) {
  PipelineOptions options;
  options.fields = {4, 5, 6, 7, 2, 1};
  options.partition.batch_size = 33;
  options.order = order;
  options.window = 3;
  options.seed = 5;
  options.num_threads = threads;
  options.ragged = Ragged::kOffsets;
  return options;
}

template <typename T>
const T* values(const Batch& batch, std::size_t field, std::size_t at) {
  return reinterpret_cast<const T*>(batch.at(batch.fields[field], at));
}

void check_content(const Batch& batch) {
  const auto* raw = values<float>(batch, 0, batch.fields[0].values_at);
  const auto* packed = values<std::int64_t>(batch, 5, batch.fields[5].values_at);
  const std::size_t texts[] = {2, 4};
  for (std::size_t slot = 0; slot < batch.indices.size(); ++slot) {
    const auto i = static_cast<std::uint64_t>(batch.indices[slot]);
    CAPTURE(i);
    REQUIRE(raw[slot * 4 + 3] == static_cast<float>(i) + 0.75F);
    REQUIRE(packed[slot] == (small_valid(i) ? static_cast<std::int64_t>(i * 3) : 0));
    for (const std::size_t field : texts) {
      const auto* at = values<std::int64_t>(batch, field, batch.fields[field].offsets_at);
      const auto* text = values<char>(batch, field, batch.fields[field].values_at);
      REQUIRE(std::string(text + at[slot], text + at[slot + 1]) == small_text(i));
    }
  }
}

std::vector<std::vector<std::int64_t>> run_pass(Pipeline& pipeline) {
  REQUIRE(pipeline.start(0, 0).is_ok());
  std::vector<std::vector<std::int64_t>> seen;
  while (true) {
    Batch batch;
    const auto next = pipeline.next(50'000'000, &batch);
    REQUIRE_MESSAGE(next.is_ok(), next.status().message());
    if (*next == Pipeline::Next::kEnd) return seen;
    if (*next == Pipeline::Next::kNotYet) continue;
    check_content(batch);
    CHECK(batch.more_slabs.size() == 1);
    CHECK(batch.schema->fields[batch.fields[0].field].name == "1.raw");
    seen.push_back(batch.indices);
  }
}

}  // namespace

TEST_CASE("datasets side by side give the same batches on any number of threads, whatever reads them") {
  const TempDir dir;
  REQUIRE(write_small(dir.path() + "/a", kSamples, 64).is_ok());
  REQUIRE(write_small(dir.path() + "/b", kSamples, 50, 4096).is_ok());
  for (const OrderKind order : {OrderKind::kGlobal, OrderKind::kWindow}) {
    std::vector<std::vector<std::int64_t>> first;
    for (const io::ReaderKind reader : {io::ReaderKind::kMmap, io::ReaderKind::kPread}) {
      const auto zip = Dataset::zip({open_small(dir.path() + "/a", reader), open_small(dir.path() + "/b", io::ReaderKind::kPread)});
      REQUIRE_MESSAGE(zip.is_ok(), zip.status().message());
      for (const int threads : {0, 1, 2, 8}) {
        CAPTURE(threads);
        auto pipeline = Pipeline::create(*zip, options_for(threads, order));
        REQUIRE_MESSAGE(pipeline.is_ok(), pipeline.status().message());
        const auto seen = run_pass(**pipeline);
        if (first.empty()) first = seen;
        CHECK(seen == first);
        CHECK(seen.size() == (kSamples + 32) / 33);
        const auto again = (*pipeline)->replay(0, 3);
        REQUIRE(again.is_ok());
        CHECK(again->indices == seen[3]);
      }
    }
  }
}

TEST_CASE("a zip refuses parts that do not fit, and what is for one dataset only") {
  const TempDir dir;
  REQUIRE(write_small(dir.path() + "/a", kSamples, 64).is_ok());
  REQUIRE(write_small(dir.path() + "/b", 7, 64).is_ok());
  const auto a = open_small(dir.path() + "/a", io::ReaderKind::kMmap), b = open_small(dir.path() + "/b", io::ReaderKind::kMmap);
  CHECK(Dataset::zip({}).status().code() == Code::kInvalidArgument);
  const Status other = Dataset::zip({a, b}).status();
  CHECK(other.code() == Code::kInvalidArgument);
  CHECK(other.message().find("/b has 7 samples") != std::string::npos);
  const auto zip = *Dataset::zip({a, a});
  CHECK(Dataset::zip({zip, a}).status().code() == Code::kInvalidArgument);
  CHECK(Dataset::concat({zip}).status().code() == Code::kInvalidArgument);
  CHECK(Dataset::view_of(zip, View{{0}, 2, 1, {}, nullptr}).status().code() == Code::kInvalidArgument);
  PipelineOptions options = options_for(1, OrderKind::kGlobal);
  options.images.emplace_back(0, nullptr);
  CHECK(Pipeline::create(zip, options).status().code() == Code::kInvalidArgument);
}
