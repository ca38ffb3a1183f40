#include "headrace/format/dataset_writer.h"

#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <mutex>
#include <random>
#include <thread>

#include "format/dataset_fixture.h"
#include "headrace/format/verify.h"
#include "in_child.h"

namespace {
std::mutex synced_mutex;
std::vector<std::string> synced;  // paths of all that was synced, in order
}  // namespace

// In place of the C library's: notes the file.
extern "C" int fsync(int descriptor) {
  {
    std::lock_guard lock(synced_mutex);
    synced.push_back(std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(descriptor)).string());
  }
  return static_cast<int>(syscall(SYS_fsync, descriptor));
}

namespace headrace::format {
namespace {

Schema two_fields() {
  Schema schema = make_schema({make_field("n", Kind::kTensor, "int64"), make_field("text", Kind::kString)});
  schema.fields[0].block_bytes = schema.fields[1].block_bytes = 0;
  return schema;
}

// Rows [begin, end): the number itself, and its digits as often as its last digit says.
std::vector<ColumnChunk> two_columns(std::int64_t begin, std::int64_t end) {
  std::vector<std::int64_t> numbers;
  std::vector<std::string> texts;
  for (std::int64_t i = begin; i < end; ++i) {
    numbers.push_back(i);
    texts.emplace_back();
    for (std::int64_t k = 0; k < i % 10; ++k) texts.back() += std::to_string(i);
  }
  return {{bytes_of(numbers), {}, {}}, text_column(texts)};
}

void write_two(const std::string& path, std::int64_t rows, const WriterOptions& options, std::int64_t step = 1000) {
  const auto writer = make_writer(path, two_fields(), options);
  for (std::int64_t at = 0; at < rows; at += step) {
    const std::int64_t end = std::min(at + step, rows);
    const Status status = extend(*writer, two_columns(at, end), static_cast<std::uint64_t>(end - at));
    REQUIRE_MESSAGE(status.is_ok(), status.message());
  }
  const Result<std::uint64_t> version = writer->commit();
  REQUIRE_MESSAGE(version.is_ok(), version.status().message());
  CHECK(*version == 1);
}

bool same_columns(const std::vector<ColumnChunk>& a, const std::vector<ColumnChunk>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), same_column);
}

WriterOptions small_chunks() {
  WriterOptions options;
  options.chunk_samples = 128;
  options.shard_bytes = 20000;
  return options;
}

}  // namespace

TEST_CASE("rows come back in order, across chunks and shards") {
  TempDir dir;
  write_two(dir / "d", 5000, small_chunks(), 333);
  const Contents contents = read_dataset(dir / "d");
  CHECK(same_columns(contents.columns, two_columns(0, 5000)));
  CHECK(contents.manifest.num_samples() == 5000);
  CHECK(contents.manifest.shards.size() > 3);
  for (const auto& chunks : contents.chunk_samples) {
    for (std::size_t c = 0; c + 1 < chunks.size(); ++c) CHECK(chunks[c] == 128);
  }
  CHECK(files_of(dir / "d").size() == contents.manifest.shards.size() + 1);
  const Result<VerifyReport> report = verify(dir / "d", 0, true, 2, Limits(), nullptr);
  REQUIRE(report.is_ok());
  CHECK(report->damages.empty());
  CHECK(report->samples == 5000);
  CHECK(report->shards == contents.manifest.shards.size());
}

TEST_CASE("the result does not depend on threads or on how rows are handed over") {
  TempDir dir;
  std::vector<std::vector<std::pair<std::uint64_t, std::uint64_t>>> shapes;
  for (const int threads : {1, 2, 8}) {
    for (const std::int64_t step : {97, 5000}) {
      WriterOptions options = small_chunks();
      options.chunk_samples = 0;
      options.chunk_bytes = 4096;
      options.threads = threads;
      options.auto_codec = {1, 1};
      const std::string path = dir / strf("d%d.%d", threads, static_cast<int>(step));
      write_two(path, 5000, options, step);
      const Contents contents = read_dataset(path);
      CHECK(same_columns(contents.columns, two_columns(0, 5000)));
      shapes.emplace_back();
      for (const ShardEntry& shard : contents.manifest.shards) shapes.back().emplace_back(shard.file_bytes, shard.num_samples);
      CHECK(shapes.back() == shapes.front());
    }
  }
}

TEST_CASE("the chunk size follows from the first rows: the largest power of two that fits chunk_bytes") {
  TempDir dir;
  const auto chosen = [&](const std::string& name, std::uint64_t row_bytes, std::uint64_t rows) {
    Schema schema = make_schema({make_field("x", Kind::kTensor, "uint8", {row_bytes})});
    WriterOptions options;
    options.chunk_bytes = 10000;
    const auto writer = make_writer(dir / name, schema, options);
    REQUIRE(extend(*writer, {{Buffer(row_bytes * rows), {}, {}}}, rows).is_ok());
    REQUIRE(writer->commit().is_ok());
    return read_dataset(dir / name).manifest.shards.at(0).chunk_samples;
  };
  CHECK(chosen("a", 100, 1000) == 64);
  CHECK(chosen("b", 100, 1) == 64);
  CHECK(chosen("c", 20000, 3) == 1);
  CHECK(chosen("d", 0, 3) == 1u << 20);
  CHECK(chosen("e", 10000, 3) == 1);
  CHECK(chosen("f", 5000, 3) == 2);
}

TEST_CASE("nulls become zeros and nothing, whatever stood there, and need not be valid") {
  TempDir dir;
  Schema schema = make_schema({make_field("n", Kind::kTensor, "int16", {2}), make_field("s", Kind::kString),
                               make_field("r", Kind::kRagged, "int32"), make_field("b", Kind::kTensor, "bool")});
  for (Field& field : schema.fields) field.nullable = true;
  const auto writer = make_writer(dir / "d", schema, {});
  const Buffer valid = {1, 0, 0, 1};
  ColumnChunk text = text_column({"ab", "\xFF\xFE", "", "z"});
  ColumnChunk ragged{Buffer(15, 9), {0, 4, 7, 7, 15}, {}};
  ragged.valid = text.valid = valid;
  REQUIRE(extend(*writer, {{Buffer(16, 5), {}, valid}, text, ragged, {{1, 7, 9, 0}, {}, valid}}, 4).is_ok());
  ColumnChunk all_text = text_column({"é"}), all_ragged{Buffer(4, 1), {0, 4}, {}};
  REQUIRE(extend(*writer, {{Buffer(4, 6), {}, {}}, all_text, all_ragged, {{1}, {}, {}}}, 1).is_ok());  // no validity: all present
  REQUIRE(writer->commit().is_ok());
  const Contents contents = read_dataset(dir / "d");
  const Buffer all_valid = {1, 0, 0, 1, 1};
  Buffer numbers = {5, 5, 5, 5, 0, 0, 0, 0, 0, 0, 0, 0, 5, 5, 5, 5, 6, 6, 6, 6};
  CHECK(contents.columns[0].values == numbers);
  CHECK(contents.columns[0].valid == all_valid);
  ColumnChunk expected = text_column({"ab", "", "", "z", "é"});
  expected.valid = all_valid;
  CHECK(same_column(contents.columns[1], expected));
  CHECK(contents.columns[2].offsets == std::vector<std::uint64_t>{0, 4, 4, 4, 12, 16});
  CHECK(contents.columns[3].values == Buffer{1, 0, 0, 0, 1});
  CHECK(verify(dir / "d", 0, true, 1, Limits(), nullptr)->damages.empty());
}

TEST_CASE("rows of a slice: offsets may start anywhere") {
  TempDir dir;
  const auto writer = make_writer(dir / "d", make_schema({make_field("s", Kind::kBytes)}), {});
  const Buffer values = {1, 2, 3, 4, 5, 6};
  const std::vector<std::uint64_t> offsets = {2, 3, 5};
  REQUIRE(writer->extend(std::vector<ColumnView>{{values, offsets.data(), nullptr}}, 2).is_ok());
  REQUIRE(writer->commit().is_ok());
  const Contents contents = read_dataset(dir / "d");
  CHECK(contents.columns[0].values == Buffer{3, 4, 5});
  CHECK(contents.columns[0].offsets == std::vector<std::uint64_t>{0, 1, 3});
}

TEST_CASE("a bad row is named, nothing of its call is taken, and the writer goes on") {
  TempDir dir;
  const Schema schema =
      make_schema({make_field("s", Kind::kString), make_field("r", Kind::kRagged, "int32"), make_field("b", Kind::kTensor, "bool")});
  const auto writer = make_writer(dir / "d", schema, {});
  const ColumnChunk text = text_column({"a", "b"});
  const ColumnChunk ragged{Buffer(8), {0, 4, 8}, {}};
  const ColumnChunk flag{{1, 0}, {}, {}};
  const auto refused = [&](const std::vector<ColumnChunk>& columns, const std::string& what) {
    const Status status = extend(*writer, columns, 2);
    CAPTURE(status.message());
    CHECK(status.code() == Code::kInvalidArgument);
    CHECK(mentions(status, what));
  };
  refused({text_column({"a", "b\xC3"}), ragged, flag}, "field 's', row 1: byte 1 of the string is not UTF-8");
  ColumnChunk cut = text_column({"é", ""});
  cut.offsets[1] = 1;  // both strings together are valid, each alone is not
  refused({cut, ragged, flag}, "field 's', row 0");
  refused({text, {Buffer(8), {0, 3, 8}, {}}, flag}, "field 'r', row 0: 3 bytes are no multiple of the inner sample's 4");
  refused({text, {Buffer(8), {0, 8, 4}, {}}, flag}, "field 'r', row 1: offset 8 is followed by 4");
  refused({text, {Buffer(4), {0, 4, 8}, {}}, flag}, "offset 8 lies beyond the 4 bytes");
  refused({text, ragged, {{1, 2}, {}, {}}}, "field 'b', row 1: a bool holds the byte 2");
  refused({text, ragged, {{1}, {}, {}}}, "field 'b': 1 bytes of values for 2 rows of 1 bytes");
  refused({text, ragged, {{1, 0}, {}, {1, 1}}}, "field 'b': validity was given");
  refused({text, ragged}, "2 columns for 3 fields");
  refused({{text.values, {}, {}}, ragged, flag}, "field 's': kind string needs offsets");
  CHECK(writer->progress().samples == 0);
  REQUIRE(extend(*writer, {text, ragged, flag}, 2).is_ok());
  REQUIRE(extend(*writer, {{}, {}, {}}, 0).is_ok());
  CHECK(writer->progress().samples == 2);
  CHECK(writer->progress().raw_bytes == 12);
  REQUIRE(writer->commit().is_ok());
  CHECK(writer->progress().shards == 1);
  CHECK(writer->progress().stored_bytes == read_manifest(dir / "d", 0, Limits())->shards[0].file_bytes);
  CHECK(read_dataset(dir / "d").manifest.num_samples() == 2);
}

TEST_CASE("append adds a version; old ones stay as they were") {
  TempDir dir;
  Schema schema = two_fields();
  schema.metadata = R"({"a":1})";
  schema.fields[0].metadata = R"({"b":2})";
  WriterOptions options = small_chunks();
  const auto first = make_writer(dir / "d", schema, options);
  REQUIRE(extend(*first, two_columns(0, 300), 300).is_ok());
  REQUIRE(*first->commit() == 1);
  options.append = true;
  options.chunk_samples = 64;
  Schema again = two_fields();
  again.fields[0] = with_storage(again.fields[0], codec::Codec::kZstd, codec::Filter::kDelta, 4096);
  const auto second = make_writer(dir / "d", again, options);
  REQUIRE(extend(*second, two_columns(300, 500), 200).is_ok());
  REQUIRE(*second->commit() == 2);
  const Contents newest = read_dataset(dir / "d");
  CHECK(same_columns(newest.columns, two_columns(0, 500)));
  CHECK(newest.manifest.version == 2);
  CHECK(newest.manifest.schema.metadata == schema.metadata);
  CHECK(newest.manifest.schema.fields[0].metadata == schema.fields[0].metadata);
  CHECK(newest.manifest.schema.fields[0].codec == codec::Codec::kZstd);
  const Contents oldest = read_dataset(dir / "d", 1);
  CHECK(same_columns(oldest.columns, two_columns(0, 300)));
  CHECK(oldest.manifest.uuid == newest.manifest.uuid);
  CHECK(verify(dir / "d", 0, true, 1, Limits(), nullptr)->damages.empty());
}

TEST_CASE("append names the first difference") {
  TempDir dir;
  write_two(dir / "d", 10, {});
  WriterOptions options;
  options.append = true;
  const auto refused = [&](auto change, const std::string& what) {
    Schema schema = two_fields();
    change(schema);
    const Status status = DatasetWriter::create(dir / "d", schema, options).status();
    CAPTURE(status.message());
    CHECK(status.code() == Code::kInvalidArgument);
    CHECK(mentions(status, what));
  };
  refused([](Schema& s) { s.fields[0].name = "m"; }, "the name of a field is 'n' in the dataset and 'm' here");
  refused([](Schema& s) { s.fields[1].kind = Kind::kBytes; }, "the kind of field 'text' is string in the dataset and bytes here");
  refused([](Schema& s) { REQUIRE(set_dtype("int32", s.fields[0]).is_ok()); },
          "the dtype of field 'n' is int64 in the dataset and int32 here");
  refused([](Schema& s) { s.fields[0].shape = {2, 3}; }, "the shape of field 'n' is () in the dataset and (2,3,) here");
  refused([](Schema& s) { s.fields[0].nullable = true; }, "nullable of field 'n' is false in the dataset and true here");
  refused([](Schema& s) { s.container = Container::kTuple; }, "the container is dict in the dataset and tuple here");
  refused([](Schema& s) { s.fields.pop_back(); }, "the number of fields is 2 in the dataset and 1 here");
}

TEST_CASE("what must be there, and what must not") {
  TempDir dir;
  WriterOptions append;
  append.append = true;
  CHECK(DatasetWriter::create(dir / "none", two_fields(), append).status().code() == Code::kNotFound);
  std::filesystem::create_directory(dir / "bare");
  CHECK(DatasetWriter::create(dir / "bare", two_fields(), append).status().code() == Code::kNotFound);
  write_two(dir / "deep/er/d", 10, {});
  CHECK(DatasetWriter::create(dir / "deep/er/d", two_fields(), {}).status().code() == Code::kAlreadyExists);
  WriterOptions bad;
  bad.auto_codec = {1};
  CHECK(DatasetWriter::create(dir / "x", two_fields(), bad).status().code() == Code::kInvalidArgument);
  Schema level = two_fields();
  level.fields[0].codec = codec::Codec::kZstd;
  level.fields[0].level = 23;
  CHECK(DatasetWriter::create(dir / "x", level, {}).status().code() == Code::kInvalidArgument);
  CHECK(DatasetWriter::create(dir / "x", make_schema({}), {}).status().code() == Code::kInvalidArgument);
}

TEST_CASE("an empty dataset is one") {
  TempDir dir;
  const auto writer = make_writer(dir / "d", two_fields(), {});
  REQUIRE(writer->commit().is_ok());
  const Contents contents = read_dataset(dir / "d");
  CHECK(contents.manifest.shards.empty());
  CHECK(contents.manifest.num_samples() == 0);
  CHECK(writer->commit().status().code() == Code::kClosed);
  CHECK(extend(*writer, two_columns(0, 1), 1).code() == Code::kClosed);
}

TEST_CASE("what is not committed leaves no file") {
  TempDir dir;
  {
    const auto writer = make_writer(dir / "d", two_fields(), small_chunks());
    REQUIRE(extend(*writer, two_columns(0, 5000), 5000).is_ok());
  }
  CHECK(files_of(dir.path()).empty());
  const auto writer = make_writer(dir / "d", two_fields(), small_chunks());
  REQUIRE(extend(*writer, two_columns(0, 5000), 5000).is_ok());
  writer->abort();
  CHECK(files_of(dir.path()).empty());
  CHECK(writer->commit().status().code() == Code::kClosed);
}

TEST_CASE("directories that an aborted writer made go with it, those of others stay") {
  TempDir dir;
  std::filesystem::create_directory(dir / "mine");
  make_writer(dir / "mine/a/b", two_fields(), {})->abort();
  CHECK(files_of(dir / "mine").empty());
  std::filesystem::create_directory(dir / "mine/bare");
  make_writer(dir / "mine/bare", two_fields(), {})->abort();
  CHECK(files_of(dir / "mine") == std::vector<std::string>{"bare"});
  const auto first = make_writer(dir / "two", two_fields(), {});
  const auto second = make_writer(dir / "two", two_fields(), {});
  first->abort();
  REQUIRE(extend(*second, two_columns(0, 10), 10).is_ok());
  REQUIRE(second->commit().is_ok());
  CHECK(same_columns(read_dataset(dir / "two").columns, two_columns(0, 10)));
  // A schema that the format refuses is found after the directory was made.
  Schema bad = two_fields();
  bad.fields[1].name = bad.fields[0].name;
  CHECK(DatasetWriter::create(dir / "new", bad, {}).status().code() == Code::kInvalidArgument);
  CHECK_FALSE(std::filesystem::exists(dir / "new"));
}

TEST_CASE("each directory that is made is synced in its parent") {
  TempDir dir;
  synced.clear();
  make_writer(dir / "a/b/c", two_fields(), {});
  const std::string root = std::filesystem::canonical(dir.path()).string();
  CHECK(synced == std::vector<std::string>{root, root + "/a", root + "/a/b"});
}

TEST_CASE("calls from several threads follow one another") {
  for (const int threads : {1, 2, 8}) {
    TempDir dir;
    const auto writer = make_writer(dir / "d", two_fields(), small_chunks());
    {
      std::vector<std::jthread> all;
      for (int t = 0; t < threads; ++t) {
        all.emplace_back([&, t] {
          for (int i = 0; i < 10; ++i) {
            const std::int64_t begin = (t * 10 + i) * 100;
            if (!extend(*writer, two_columns(begin, begin + 100), 100).is_ok()) std::abort();
            static_cast<void>(writer->schema());
            static_cast<void>(writer->progress());
          }
        });
      }
    }
    REQUIRE(writer->commit().is_ok());
    const Contents contents = read_dataset(dir / "d");
    const auto rows = static_cast<std::int64_t>(contents.manifest.num_samples());
    REQUIRE(rows == threads * 1000);
    // Each call's rows stand together; which call came first is left to the threads.
    std::vector<std::int64_t> begins;
    for (std::int64_t at = 0; at < rows; at += 100) {
      begins.push_back(load_le<std::int64_t>(contents.columns[0].values.data() + 8 * at));
      for (std::int64_t i = 0; i < 100; ++i)
        REQUIRE(load_le<std::int64_t>(contents.columns[0].values.data() + 8 * (at + i)) == begins.back() + i);
    }
    std::sort(begins.begin(), begins.end());
    for (std::size_t i = 0; i < begins.size(); ++i) CHECK(begins[i] == static_cast<std::int64_t>(i) * 100);
  }
}

TEST_CASE("of two writers of one version the second loses, and takes its shards away") {
  TempDir dir;
  write_two(dir / "d", 10, {});
  WriterOptions options;
  options.append = true;
  const auto one = make_writer(dir / "d", two_fields(), options);
  const auto two = make_writer(dir / "d", two_fields(), options);
  REQUIRE(extend(*one, two_columns(10, 20), 10).is_ok());
  REQUIRE(extend(*two, two_columns(20, 30), 10).is_ok());
  REQUIRE(*one->commit() == 2);
  const Status lost = two->commit().status();
  CHECK(lost.code() == Code::kAlreadyExists);
  CHECK(mentions(lost, "another writer published version 2 first"));
  CHECK(two->commit().status().message() == lost.message());
  CHECK(same_columns(read_dataset(dir / "d").columns, two_columns(0, 20)));
  CHECK(files_of(dir / "d").size() == 4);  // two manifests, two shards
}

TEST_CASE("a chunk that grows beyond the limit says how to help it") {
  TempDir dir;
  WriterOptions options;
  options.chunk_samples = 4;
  options.limits.chunk_bytes = 1000;
  const auto writer = make_writer(dir / "d", make_schema({make_field("b", Kind::kBytes)}), options);
  ColumnChunk small = text_column({"a", "b", "c"}), large = text_column({std::string(1000, 'x')});
  REQUIRE(extend(*writer, {small}, 3).is_ok());
  const Status status = extend(*writer, {large}, 1);
  CHECK(status.code() == Code::kLimitExceeded);
  CHECK(mentions(status, "set chunk_samples to 2 or less"));
  CHECK(extend(*writer, {small}, 3).message() == status.message());
  CHECK(writer->commit().status().message() == status.message());
  CHECK(files_of(dir.path()).empty());
}

TEST_CASE("one sample may be larger than a chunk may be") {
  TempDir dir;
  WriterOptions options;
  options.limits.chunk_bytes = 1000;
  options.chunk_bytes = 500;
  const auto writer = make_writer(dir / "d", make_schema({make_field("b", Kind::kBytes)}), options);
  const ColumnChunk large = text_column({std::string(5000, 'x'), std::string(3000, 'y')});
  REQUIRE(extend(*writer, {large}, 2).is_ok());
  REQUIRE(writer->commit().is_ok());
  CHECK(same_column(read_dataset(dir / "d").columns[0], large));
}

// Files of this process may not grow beyond this while it lives: a full disk without a disk.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    REQUIRE(getrlimit(RLIMIT_FSIZE, &before_) == 0);
    const rlimit limit{bytes, before_.rlim_max};
    REQUIRE(setrlimit(RLIMIT_FSIZE, &limit) == 0);
  }
  ~FileSizeLimit() {
    setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;

 private:
  rlimit before_{};
  void (*handler_)(int);
};

TEST_CASE("F13: when the disk is full the error says so and nothing stays") {
  TempDir dir;
  const FileSizeLimit limit(30000);
  WriterOptions options;
  options.chunk_samples = 128;
  const auto writer = make_writer(dir / "d", make_schema({make_field("x", Kind::kTensor, "uint8", {128})}), options);
  const std::vector<ColumnChunk> rows = {{Buffer(128 * 128), {}, {}}};
  Status status;
  for (int i = 0; i < 50 && status.is_ok(); ++i) status = extend(*writer, rows, 128);
  if (status.is_ok()) status = writer->commit().status();
  CHECK(status.code() == Code::kIoError);
  CHECK(status.sys_errno() == EFBIG);
  CHECK(writer->commit().status().message() == status.message());
  CHECK(files_of(dir.path()).empty());
}

TEST_CASE("F21: a forked child cannot use the writer, and its end takes nothing away") {
  TempDir dir;
  const auto writer = make_writer(dir / "d", two_fields(), small_chunks());
  REQUIRE(extend(*writer, two_columns(0, 5000), 5000).is_ok());
  const int result = in_child([&] {
    if (extend(*writer, two_columns(0, 1), 1).code() != Code::kForked) return 1;
    if (writer->commit().status().code() != Code::kForked) return 2;
    writer->abort();
    const_cast<std::unique_ptr<DatasetWriter>&>(writer).reset();
    return 0;
  });
  CHECK(result == 0);
  REQUIRE(writer->commit().is_ok());
  CHECK(same_columns(read_dataset(dir / "d").columns, two_columns(0, 5000)));
}

}  // namespace headrace::format
