#include "headrace/pipeline/dataset.h"

#include <doctest/doctest.h>

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <functional>
#include <set>
#include <string>
#include <thread>
#include <utility>

#include "headrace/pipeline/pipeline.h"
#include "pipeline/small_dataset.h"
#include "temp_dir.h"

using namespace headrace;
using namespace headrace::pipeline;

namespace {

std::shared_ptr<Dataset> small(const std::string& path, std::uint64_t count, std::uint32_t chunk_samples,
                               std::uint64_t shard_bytes = 1ull << 30) {
  REQUIRE(write_small(path, count, chunk_samples, shard_bytes).is_ok());
  auto dataset = Dataset::open(path, 0, {});
  REQUIRE_MESSAGE(dataset.is_ok(), dataset.status().message());
  return *dataset;
}

// Calls visit(batch) for each batch of a pass.
template <typename Visit>
void for_each_batch(const std::shared_ptr<Dataset>& dataset, const PipelineOptions& options, std::uint64_t epoch, const Visit& visit) {
  auto pipeline = Pipeline::create(dataset, options);
  REQUIRE_MESSAGE(pipeline.is_ok(), pipeline.status().message());
  REQUIRE((*pipeline)->start(epoch, 0).is_ok());
  while (true) {
    Batch batch;
    const auto next = (*pipeline)->next(50'000'000, &batch);
    REQUIRE_MESSAGE(next.is_ok(), next.status().message());
    if (*next == Pipeline::Next::kEnd) return;
    if (*next == Pipeline::Next::kBatch) visit(batch);
  }
}

// The first value of "raw" of each sample, which is its number in the dataset that holds it, in the order of delivery.
std::vector<std::uint64_t> numbers(const std::shared_ptr<Dataset>& dataset, int threads, OrderKind order = OrderKind::kSequential) {
  PipelineOptions options;
  options.fields = {0};
  options.partition.batch_size = 7;
  options.order = order;
  options.window = 2;
  options.num_threads = threads;
  std::vector<std::uint64_t> seen;
  for_each_batch(dataset, options, 0, [&](const Batch& batch) {
    const auto* raw = reinterpret_cast<const float*>(batch.at(batch.fields[0].values_at));
    const std::size_t row = batch.fields[0].values_bytes / batch.indices.size() / sizeof(float);
    for (std::size_t slot = 0; slot < batch.indices.size(); ++slot) seen.push_back(static_cast<std::uint64_t>(raw[slot * row]));
  });
  return seen;
}

std::vector<std::uint64_t> counted(std::initializer_list<std::uint64_t> counts) {
  std::vector<std::uint64_t> out;
  for (const std::uint64_t count : counts)
    for (std::uint64_t i = 0; i < count; ++i) out.push_back(i);
  return out;
}

View chosen(std::vector<std::uint64_t> rows) {
  View view;
  view.fields = {0, 1, 2, 3};
  view.rows = std::make_shared<const std::vector<std::uint64_t>>(std::move(rows));
  return view;
}

constexpr io::ReaderKind kReaders[] = {io::ReaderKind::kMmap, io::ReaderKind::kPread, io::ReaderKind::kDirect, io::ReaderKind::kUring};

// All batches of a pass, byte for byte; between batches `change` may change what it likes.
std::vector<std::string> pass_of(const std::shared_ptr<Dataset>& dataset, int threads, OrderKind order,
                                 const std::function<void(std::size_t)>& change) {
  PipelineOptions options;
  options.fields = {0, 1, 2, 3};
  options.partition.batch_size = 19;
  options.order = order;
  options.window = 2;
  options.num_threads = threads;
  options.ragged = Ragged::kOffsets;
  std::vector<std::string> seen;
  for_each_batch(dataset, options, 3, [&](const Batch& batch) {
    const std::size_t count = batch.indices.size();
    std::string bytes(reinterpret_cast<const char*>(batch.indices.data()), count * 8);
    const auto append = [&](std::size_t at, std::size_t size) {
      if (at != FieldOut::kAbsent) bytes.append(reinterpret_cast<const char*>(batch.at(at)), size);
    };
    for (const FieldOut& field : batch.fields) {
      append(field.offsets_at, (count + 1) * 8);
      append(field.valid_at, count);
      append(field.values_at, field.values_bytes);
    }
    seen.push_back(std::move(bytes));
    change(seen.size());
  });
  return seen;
}

// Asks once: the kernel keeps pages that somebody still has in hand, such as a mapping that is just being given up.
void drop_pages(const std::string& path) {
  for (const auto& entry : std::filesystem::directory_iterator(path)) {
    const int file = ::open(entry.path().c_str(), O_RDONLY);
    REQUIRE(file >= 0);
    REQUIRE(::fsync(file) == 0);  // Clean pages, which can be dropped, unless they are mapped.
    ::posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
    ::close(file);
  }
}

// As where the files do not fit: there is next to no memory, and they are not in the page cache.
void leave_memory(const std::string& path, const Dataset& dataset) {
  for (int tries = 0; tries < 1000 && dataset.stays_in_memory(); ++tries) {
    if (tries > 0) std::this_thread::sleep_for(std::chrono::milliseconds(10));
    drop_pages(path);
    (void)dataset.follow_memory(1);
  }
}

}  // namespace

TEST_CASE("batches are the same whenever the reader changes") {
  TempDir dir;
  REQUIRE(write_small(dir / "d", 2000, 64, 20'000).is_ok());
  DatasetOptions options;
  options.choose_reader = true;
  for (const OrderKind order : {OrderKind::kGlobal, OrderKind::kWindow, OrderKind::kSequential}) {
    std::vector<std::string> wanted;
    {
      auto mapped = Dataset::open(dir / "d", 0, {});
      REQUIRE(mapped.is_ok());
      wanted = pass_of(*mapped, 2, order, [](std::size_t) {});
    }
    REQUIRE(wanted.size() == 106);
    for (const auto& [threads, fits] : {std::pair{0, true}, {0, false}, {1, false}, {2, true}, {2, false}, {8, true}, {8, false}}) {
      CAPTURE(threads);
      CAPTURE(fits);
      auto dataset = Dataset::open(dir / "d", 0, options);
      REQUIRE(dataset.is_ok());
      if (!fits) leave_memory(dir / "d", **dataset);
      REQUIRE((*dataset)->stays_in_memory() == fits);
      std::set<std::string> readers;
      const auto change = [&](std::size_t batch) {
        (*dataset)->set_reader(kReaders[batch / 3 % 4], "tests");
        readers.insert((*dataset)->reader_name());
      };
      CHECK(pass_of(*dataset, threads, order, change) == wanted);
      CHECK(readers.size() >= 3);  // Rings may be refused.
      CHECK(readers.count("mmap") == 1);
    }
  }
}

TEST_CASE("the reader follows the memory that is free, unless it was named") {
  TempDir dir;
  REQUIRE(write_small(dir / "d", 2000, 64).is_ok());
  DatasetOptions options;
  options.choose_reader = true;
  auto dataset = Dataset::open(dir / "d", 0, options);
  REQUIRE(dataset.is_ok());
  CHECK((*dataset)->reader() == io::ReaderKind::kMmap);
  CHECK((*dataset)->reader_reason().find("it fits into memory") == 0);
  (*dataset)->set_reader(io::ReaderKind::kDirect, "");  // Compared only: the reason stays.
  CHECK((*dataset)->reader_reason().find("it fits into memory") == 0);
  CHECK((*dataset)->follow_memory(1ull << 40));
  CHECK((*dataset)->reader() == io::ReaderKind::kMmap);
  CHECK(!(*dataset)->follow_memory(1ull << 40));
  const bool cold = (*dataset)->follow_memory(1);  // Unless its pages are all in memory, as they may be right after writing.
  CHECK(cold == ((*dataset)->reader() != io::ReaderKind::kMmap));
  CHECK((*dataset)->claim_reader(&options));
  CHECK((*dataset)->claim_reader(&options));
  CHECK(!(*dataset)->claim_reader(&dir));
  (*dataset)->release_reader(&dir);
  CHECK(!(*dataset)->claim_reader(&dir));
  (*dataset)->release_reader(&options);
  CHECK((*dataset)->claim_reader(&dir));

  auto named = Dataset::open(dir / "d", 0, {});
  CHECK(!(*named)->follow_memory(1));
  CHECK((*named)->reader_reason().empty());
}

TEST_CASE("a mapping that comparing chose stays while the files do not fit, and is for good once they do") {
  TempDir dir;
  REQUIRE(write_small(dir / "d", 2000, 64).is_ok());
  DatasetOptions options;
  options.choose_reader = true;
  auto dataset = Dataset::open(dir / "d", 0, options);
  REQUIRE(dataset.is_ok());
  CHECK((*dataset)->stays_in_memory());
  leave_memory(dir / "d", **dataset);
  REQUIRE(!(*dataset)->stays_in_memory());
  CHECK((*dataset)->reader() != io::ReaderKind::kMmap);
  (*dataset)->set_reader(io::ReaderKind::kMmap, "it delivered more");
  CHECK(!(*dataset)->follow_memory(1));
  CHECK((*dataset)->reader() == io::ReaderKind::kMmap);
  CHECK(!(*dataset)->stays_in_memory());
  CHECK((*dataset)->reader_reason() == "it delivered more");
  CHECK(!(*dataset)->in_memory({0}));
  CHECK(!(*dataset)->follow_memory(1ull << 40));  // The reader is the same, for another reason.
  CHECK((*dataset)->stays_in_memory());
  CHECK((*dataset)->reader() == io::ReaderKind::kMmap);
}

TEST_CASE("a concatenation holds the samples of its datasets one after the other, for any number of threads") {
  const TempDir dir;
  const auto first = small(dir.path() + "/a", 100, 16, 1000);
  const auto second = small(dir.path() + "/b", 1, 8);
  const auto third = small(dir.path() + "/c", 37, 5);
  auto joined = Dataset::concat({first, second, third});
  REQUIRE_MESSAGE(joined.is_ok(), joined.status().message());
  const std::shared_ptr<Dataset> all = *joined;
  CHECK(all->num_samples() == 138);
  CHECK(all->manifest().shards.size() == first->manifest().shards.size() + 2);
  for (const int threads : {0, 1, 2, 8}) CHECK(numbers(all, threads) == counted({100, 1, 37}));
  for (const OrderKind order : {OrderKind::kGlobal, OrderKind::kWindow}) {
    std::vector<std::uint64_t> shuffled = numbers(all, 2, order), sorted = counted({100, 1, 37});
    CHECK(shuffled != sorted);
    std::sort(shuffled.begin(), shuffled.end());
    std::sort(sorted.begin(), sorted.end());
    CHECK(shuffled == sorted);
  }
}

TEST_CASE("a concatenation is told from others by which datasets it holds, and in what order") {
  const TempDir dir;
  const auto first = small(dir.path() + "/a", 20, 16);
  const auto second = small(dir.path() + "/b", 21, 16);
  const auto fingerprint = [](const std::vector<std::shared_ptr<const Dataset>>& datasets) {
    return (*Dataset::concat(datasets))->fingerprint();
  };
  CHECK(fingerprint({first, second}) == fingerprint({first, second}));
  CHECK(fingerprint({first, second}) != fingerprint({second, first}));
  CHECK(fingerprint({first}) != fingerprint({first, first}));
  CHECK((*Dataset::concat({first, first}))->num_samples() == 40);
}

TEST_CASE("what cannot be concatenated is refused") {
  const TempDir dir;
  const auto dataset = small(dir.path() + "/a", 20, 16);
  CHECK(Dataset::concat({}).status().code() == Code::kInvalidArgument);
  const auto view = Dataset::view_of(dataset, chosen({1}));
  REQUIRE(view.is_ok());
  CHECK(Dataset::concat({dataset, *view}).status().code() == Code::kInvalidArgument);
  format::Schema one;
  one.fields.push_back(named("raw", format::Kind::kTensor, "float32", {5}));
  auto writer = format::DatasetWriter::create(dir.path() + "/other", one, {});
  REQUIRE(writer.is_ok());
  const std::vector<float> values(5);
  const format::ColumnView columns[] = {{{reinterpret_cast<const std::uint8_t*>(values.data()), 20}, nullptr, nullptr}};
  REQUIRE((*writer)->extend(columns, 1).is_ok());
  REQUIRE((*writer)->commit().is_ok());
  const auto other = Dataset::open(dir.path() + "/other", 0, {});
  REQUIRE(other.is_ok());
  const Status refused = Dataset::concat({dataset, *other}).status();
  CHECK(refused.code() == Code::kInvalidArgument);
  CHECK(refused.message().find("/other differ from those of") != std::string::npos);
}

TEST_CASE("a view of chosen rows delivers them in their order, also twice, of several shards, for any number of threads") {
  const TempDir dir;
  const auto dataset = small(dir.path() + "/a", 200, 16, 1000);
  REQUIRE(dataset->manifest().shards.size() > 2);
  std::vector<std::uint64_t> rows{199, 0, 7, 7, 100};
  for (std::uint64_t i = 0; i < 60; ++i) rows.push_back(i * 37 % 200);
  auto view = Dataset::view_of(dataset, chosen(rows));
  REQUIRE_MESSAGE(view.is_ok(), view.status().message());
  CHECK((*view)->num_samples() == rows.size());
  CHECK((*view)->num_rows() == 200);
  for (const int threads : {0, 1, 2, 8}) CHECK(numbers(*view, threads) == rows);
  std::vector<std::uint64_t> shuffled = numbers(*view, 2, OrderKind::kWindow);
  std::sort(shuffled.begin(), shuffled.end());
  std::sort(rows.begin(), rows.end());
  CHECK(shuffled == rows);
}

TEST_CASE("chosen rows of a view of runs are those runs, and of a concatenation its rows") {
  const TempDir dir;
  const auto dataset = small(dir.path() + "/a", 50, 16);
  View runs = chosen({3, 0});
  runs.fields = {0};
  runs.length = 4;
  runs.stride = 10;
  auto view = Dataset::view_of(dataset, runs);
  REQUIRE_MESSAGE(view.is_ok(), view.status().message());
  CHECK(numbers(*view, 1) == std::vector<std::uint64_t>{30, 0});
  auto joined = Dataset::concat({dataset, dataset});
  REQUIRE(joined.is_ok());
  auto of_joined = Dataset::view_of(*joined, chosen({99, 50, 49}));
  REQUIRE(of_joined.is_ok());
  CHECK(numbers(*of_joined, 2) == std::vector<std::uint64_t>{49, 0, 49});
}

TEST_CASE("rows that are not there are refused, none are no samples, and others are another dataset") {
  const TempDir dir;
  const auto dataset = small(dir.path() + "/a", 50, 16);
  const Status refused = Dataset::view_of(dataset, chosen({4, 50})).status();
  CHECK(refused.code() == Code::kInvalidArgument);
  CHECK(refused.message() == "row 50 is outside the 50 samples");
  const auto empty = Dataset::view_of(dataset, chosen({}));
  REQUIRE(empty.is_ok());
  CHECK((*empty)->num_samples() == 0);
  const auto fingerprint = [&](std::vector<std::uint64_t> rows) {
    return (*Dataset::view_of(dataset, chosen(std::move(rows))))->fingerprint();
  };
  CHECK(fingerprint({1, 2}) == fingerprint({1, 2}));
  CHECK(fingerprint({1, 2}) != fingerprint({2, 1}));
  CHECK(fingerprint({1, 2}) != dataset->fingerprint());
}
