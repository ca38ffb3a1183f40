#include "headrace/format/verify.h"

#include <random>

#include "format/dataset_fixture.h"
#include "format/doctor.h"

namespace headrace::format {
namespace {

Schema some_schema() {
  Schema schema = make_schema({make_field("x", Kind::kTensor, "uint8", {16}), make_field("s", Kind::kString)});
  schema.fields[0].block_bytes = 1024;
  return schema;
}

// 10 shards of 4 chunks of 128 samples.
void write_some(const std::string& path) {
  WriterOptions options;
  options.chunk_samples = 128;
  options.shard_bytes = 4 * 128 * 18;
  const auto writer = make_writer(path, some_schema(), options);
  const std::uint64_t rows = 5120;
  REQUIRE(extend(*writer, {{Buffer(rows * 16, 1), {}, {}}, text_column(std::vector<std::string>(rows, "é"))}, rows).is_ok());
  REQUIRE(writer->commit().is_ok());
}

void flip(const std::string& path, std::uint64_t at) {
  Buffer bytes = read_file(path);
  bytes[at] ^= 1;
  write_file(path, bytes);
}

// A shard of one chunk whose writer broke a rule that hashes cannot see.
Status broken_writer(const Schema& schema, std::uint32_t samples, const std::vector<ColumnChunk>& columns,
                     void (*change)(Doctor&) = nullptr) {
  TempDir dir;
  const std::string path = write_shard(dir.path(), schema, samples, {{samples, columns}});
  if (change != nullptr) {
    Doctor doctor(read_file(path));
    change(doctor);
    write_file(path, doctor.seal());
  }
  const Result<VerifyReport> report = verify(path, 0, true, 1, Limits(), nullptr);
  REQUIRE(report.is_ok());
  return report->damages.empty() ? Status::ok() : report->damages[0].status;
}

}  // namespace

TEST_CASE("a whole dataset: counts, progress, no damage") {
  TempDir dir;
  write_some(dir / "d");
  for (const int threads : {0, 1, 4}) {
    VerifyProgress progress;
    const Result<VerifyReport> report = verify(dir / "d", 0, true, threads, Limits(), &progress);
    REQUIRE(report.is_ok());
    CHECK(report->damages.empty());
    CHECK(report->shards == 10);
    CHECK(report->chunks == 40);
    CHECK(report->samples == 5120);
    CHECK(report->blocks == 40 * (2 + 1 + 1));
    CHECK(progress.bytes_done == report->bytes);
    CHECK(progress.bytes_total == report->bytes);
  }
}

TEST_CASE("every damage is reported, in order, whatever the number of threads") {
  TempDir dir;
  write_some(dir / "d");
  const Manifest manifest = *read_manifest(dir / "d", 0, Limits());
  const auto shard_path = [&](std::size_t i) { return dir / ("d/" + manifest.shards[i].file_name); };
  const auto shard = *Shard::open(shard_path(2), Limits());
  const PageRef page = shard->page(3, 0);
  flip(shard_path(2), page.section(Section::kValues).offset + 1030);  // block 1
  flip(shard_path(2), shard->page(0, 1).offset);                      // a table
  flip(shard_path(2), shard->page(1, 1).section(Section::kOffsets).offset);
  flip(shard_path(4), 100);  // the header
  std::filesystem::remove(shard_path(5));
  std::filesystem::resize_file(shard_path(7), 5000);
  flip(shard_path(9), 4096 + shard->chunk_bytes(0) - 1);  // padding
  std::vector<std::string> before;
  for (const int threads : {1, 3, 8}) {
    const Result<VerifyReport> report = verify(dir / "d", 0, false, threads, Limits(), nullptr);
    REQUIRE(report.is_ok());
    REQUIRE(report->damages.size() == 7);
    const std::vector<Damage>& found = report->damages;
    CHECK(found[0].path == shard_path(2));
    CHECK(found[0].chunk == 0);
    CHECK(found[0].field == "s");
    CHECK(found[1].chunk == 1);
    CHECK(found[2].chunk == 3);
    CHECK(found[2].field == "x");
    CHECK(found[2].offset == page.section(Section::kValues).offset + 1024);
    CHECK(found[2].bytes == 1024);
    CHECK(mentions(found[2].status, "block 1 at offset"));
    CHECK(found[3].path == shard_path(4));
    CHECK(found[3].chunk == -1);
    CHECK(found[3].status.code() == Code::kCorrupt);
    CHECK(found[4].status.code() == Code::kNotFound);
    CHECK(found[5].status.code() == Code::kTruncated);
    CHECK(mentions(found[6].status, "padding"));
    std::vector<std::string> messages;
    for (const Damage& damage : found) messages.push_back(damage.status.message());
    if (before.empty()) before = messages;
    CHECK(messages == before);
  }
}

TEST_CASE("another shard under the right name has changed, and is checked all the same") {
  TempDir dir;
  write_some(dir / "d");
  const Manifest manifest = *read_manifest(dir / "d", 0, Limits());
  const std::string one = dir / ("d/" + manifest.shards[1].file_name), two = dir / ("d/" + manifest.shards[2].file_name);
  Buffer bytes = read_file(two);
  bytes[4096 + 200] ^= 1;
  write_file(one, bytes);
  const Result<VerifyReport> report = verify(dir / "d", 0, false, 1, Limits(), nullptr);
  REQUIRE(report.is_ok());
  REQUIRE(report->damages.size() == 2);
  CHECK(report->damages[0].status.code() == Code::kChanged);
  CHECK(report->damages[1].status.code() == Code::kCorrupt);
  CHECK(report->damages[1].chunk == 0);
}

TEST_CASE("a damaged manifest is damage; no dataset is an error") {
  TempDir dir;
  write_some(dir / "d");
  CHECK(verify(dir / "absent", 0, false, 1, Limits(), nullptr).status().code() == Code::kNotFound);
  CHECK(verify(dir.path(), 0, false, 1, Limits(), nullptr).status().code() == Code::kNotFound);
  CHECK(verify(dir / "d", 7, false, 1, Limits(), nullptr).status().code() == Code::kNotFound);
  write_file(dir / "stranger", Buffer(9000, 5));
  CHECK(verify(dir / "stranger", 0, false, 1, Limits(), nullptr).status().code() == Code::kInvalidArgument);
  const std::string manifest = dir / ("d/" + manifest_name(1));
  flip(manifest, 50);
  const Result<VerifyReport> report = verify(dir / "d", 0, false, 1, Limits(), nullptr);
  REQUIRE(report.is_ok());
  REQUIRE(report->damages.size() == 1);
  CHECK(report->damages[0].path == manifest);
  CHECK(report->damages[0].status.code() == Code::kCorrupt);
}

TEST_CASE("all versions are checked unless one is named, and each shard once") {
  TempDir dir;
  write_some(dir / "d");
  WriterOptions append;
  append.append = true;
  {
    const auto writer = make_writer(dir / "d", some_schema(), append);
    REQUIRE(extend(*writer, {{Buffer(3 * 16, 2), {}, {}}, text_column({"a", "b", "c"})}, 3).is_ok());
    REQUIRE(*writer->commit() == 2);
  }
  for (const int threads : {1, 2, 8}) {
    VerifyProgress progress;
    const Result<VerifyReport> report = verify(dir / "d", 0, true, threads, Limits(), &progress);
    REQUIRE(report.is_ok());
    CHECK(report->damages.empty());
    CHECK(report->shards == 11);
    CHECK(report->samples == 5123);
    CHECK(progress.bytes_done == progress.bytes_total);
    CHECK(progress.bytes_total == report->bytes);
    CHECK(verify(dir / "d", 1, true, threads, Limits(), nullptr)->samples == 5120);
  }
  const std::string first = dir / ("d/" + manifest_name(1)), second = dir / ("d/" + manifest_name(2));
  const Buffer whole = read_file(first);
  flip(first, 3);
  Result<VerifyReport> report = verify(dir / "d", 0, false, 1, Limits(), nullptr);
  REQUIRE(report.is_ok());
  REQUIRE(report->damages.size() == 1);
  CHECK(report->damages[0].path == first);
  CHECK(report->damages[0].bytes == whole.size());
  CHECK(report->damages[0].status.code() == Code::kCorrupt);
  CHECK(report->samples == 5123);
  CHECK(verify(dir / "d", 2, false, 1, Limits(), nullptr)->damages.empty());
  write_file(first, whole);
  // The newest is lost: what the others name is still checked, and its damage comes after.
  const std::string shard = dir / ("d/" + read_manifest(dir / "d", 1, Limits())->shards[3].file_name);
  flip(shard, 100);
  flip(second, 60);
  report = verify(dir / "d", 0, false, 1, Limits(), nullptr);
  REQUIRE(report.is_ok());
  REQUIRE(report->damages.size() == 2);
  CHECK(report->damages[0].path == second);
  CHECK(report->damages[1].path == shard);
  CHECK(report->shards == 9);
}

TEST_CASE("a cancelled walk says so") {
  TempDir dir;
  write_some(dir / "d");
  VerifyProgress progress;
  progress.cancel = true;
  CHECK(verify(dir / "d", 0, false, 2, Limits(), &progress).status().code() == Code::kClosed);
}

TEST_CASE("a page of garbage is listed up to a bound") {
  TempDir dir;
  Schema schema = make_schema({make_field("x", Kind::kTensor, "uint8")});
  schema.fields[0].block_bytes = 16;
  const std::string path = write_shard(dir.path(), schema, 4096, {{4096, {{Buffer(4096, 1), {}, {}}}}});
  const auto shard = *Shard::open(path, Limits());
  Buffer bytes = read_file(path);
  const std::uint64_t values = shard->values_offset(0, 0);
  for (std::uint64_t i = 0; i < 4096; i += 16) bytes[values + i] ^= 1;
  write_file(path, bytes);
  const Result<VerifyReport> report = verify(path, 0, false, 1, Limits(), nullptr);
  REQUIRE(report->damages.size() == 65);
  CHECK(report->damages[64].offset == values + 64 * 16);
  CHECK(report->damages[64].bytes == 4096 - 64 * 16);
}

TEST_CASE("decoding finds what a wrong writer sealed with right hashes") {
  const Schema text = make_schema({with_storage(make_field("s", Kind::kString), codec::Codec::kNone, codec::Filter::kNone, 5)});
  const std::string smile = "\xF0\x9F\x98\x80";
  CHECK(broken_writer(text, 3, {text_column({"abc" + smile, "é" + smile + smile, "x"})}).is_ok());  // characters cut by blocks
  CHECK(mentions(broken_writer(text, 2, {text_column({"abcdefgh\xFF", "x"})}), "not UTF-8"));
  CHECK(mentions(broken_writer(text, 2, {text_column({"abcdef\xC3", "\xA9"})}), "not UTF-8"));  // one character in two strings
  CHECK(mentions(broken_writer(text, 1, {text_column({"abcdef\xC3"})}), "not UTF-8"));          // cut by the end
  const Schema flag = make_schema({make_field("b", Kind::kTensor, "bool")});
  CHECK(broken_writer(flag, 2, {{{0, 1}, {}, {}}}).is_ok());
  CHECK(mentions(broken_writer(flag, 2, {{{0, 2}, {}, {}}}), "neither 0 nor 1"));
  Schema nulls = make_schema({make_field("n", Kind::kTensor, "int32")});
  nulls.fields[0].nullable = true;
  nulls.fields[0].block_bytes = 4;
  CHECK(broken_writer(nulls, 3, {{bytes_of<std::int32_t>({1, 0, 2}), {}, {1, 0, 1}}}).is_ok());
  CHECK(mentions(broken_writer(nulls, 3, {{bytes_of<std::int32_t>({1, 5, 2}), {}, {1, 0, 1}}}),
                 "sample 1 of the chunk is null and not zero"));
  Schema null_text = text;
  null_text.fields[0].nullable = true;
  ColumnChunk column = text_column({"a", "b"});
  column.valid = {1, 0};
  CHECK(mentions(broken_writer(null_text, 2, {column}), "sample 1 of the chunk is null and has bytes"));
}

TEST_CASE("statistics must be those of the values, whatever the sign of a zero") {
  const Schema schema = make_schema({make_field("x", Kind::kTensor, "float64")});
  const std::vector<ColumnChunk> columns = {{bytes_of<double>({0.0, -0.0}), {}, {}}};
  CHECK(broken_writer(schema, 2, columns, [](Doctor& d) { store_le(d.page_entry(0, 0) + 48, -0.0); }).is_ok());
  CHECK(mentions(broken_writer(schema, 2, columns, [](Doctor& d) { store_le(d.page_entry(0, 0) + 48, -1.0); }), "min and max"));
}

TEST_CASE("validity bits and null counts must agree, and unused bits be zero") {
  Schema nulls = make_schema({make_field("n", Kind::kTensor, "int32", {1})});
  nulls.fields[0].nullable = true;
  const std::vector<ColumnChunk> columns = {{bytes_of<std::int32_t>({1, 0, 2}), {}, {1, 0, 1}}};
  CHECK(mentions(broken_writer(nulls, 3, columns, [](Doctor& d) { store_le(d.page_entry(0, 0) + 64, std::uint64_t{2}); }),
                 "the index says 2 nulls; its validity has 1"));
  CHECK(mentions(broken_writer(nulls, 3, columns,
                               [](Doctor& d) {
                                 d.table(0, 0)[64] |= 0x80;
                                 d.seal_block(0, 0, 0);
                                 d.seal_table(0, 0);
                               }),
                 "unused bits of its validity are not zero"));
}

TEST_CASE("shards of another schema than the manifest's are damage") {
  TempDir dir;
  write_some(dir / "d");
  Manifest manifest = *read_manifest(dir / "d", 0, Limits());
  manifest.schema.fields[0].shape = {4, 4};
  manifest.version = 2;
  REQUIRE(publish_manifest(dir / "d", manifest).is_ok());
  const Result<VerifyReport> report = verify(dir / "d", 0, false, 1, Limits(), nullptr);
  REQUIRE(report.is_ok());
  CHECK(report->damages.size() == 10);
  CHECK(mentions(report->damages[0].status, "its schema differs from the manifest's"));
  CHECK(verify(dir / "d", 1, false, 1, Limits(), nullptr)->damages.empty());
}

}  // namespace headrace::format
