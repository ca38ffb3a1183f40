// What a ShardWriter writes, a Shard reads back: every dtype, kind, codec, filter; empty things of every sort.
#include <random>

#include "format/fixture.h"
#include "headrace/format/index_check.h"
#include "headrace/format/verify.h"

namespace headrace::format {
namespace {

const std::vector<std::string> kDTypes = {
    "bool",     "int8",    "uint8",   "int16",     "uint16",     "int32",          "uint32",           "int64", "uint64", "float16",
    "bfloat16", "float32", "float64", "complex64", "complex128", "datetime64[ns]", "timedelta64[25s]", "S5",    "U3"};

// Slowly growing numbers, so that every filter has something to do, and bools are 0 or 1.
Buffer some_values(const Field& field, std::uint64_t bytes, std::uint32_t seed) {
  Buffer out(bytes);
  std::mt19937 random(seed);
  for (std::uint64_t i = 0; i < bytes; ++i) {
    const bool low = i % field.element_bytes() == 0;
    out[i] = static_cast<std::uint8_t>(field.dtype == DType::kBool ? random() % 2 : low ? i / field.element_bytes() + random() % 3 : 0);
  }
  return out;
}

ColumnChunk some_column(const Field& field, std::uint32_t samples, std::uint32_t seed) {
  ColumnChunk column;
  std::mt19937 random(seed);
  for (std::uint32_t i = 0; field.nullable && i < samples; ++i) column.valid.push_back(random() % 4 != 0);
  std::uint64_t bytes = 0;
  if (field.is_variable()) column.offsets.push_back(0);
  for (std::uint32_t i = 0; i < samples; ++i) {
    if (!field.is_variable()) {
      bytes += field.row_bytes();
    } else {
      if (!field.nullable || column.valid[i] != 0) bytes += random() % 9 * field.row_bytes();
      column.offsets.push_back(bytes);
    }
  }
  column.values = some_values(field, bytes, seed);
  for (std::uint32_t i = 0; field.nullable && !field.is_variable() && i < samples; ++i) {
    if (column.valid[i] == 0)
      std::fill_n(column.values.begin() + static_cast<std::ptrdiff_t>(i * field.row_bytes()), field.row_bytes(), std::uint8_t{0});
  }
  return column;
}

void check_round_trip(const Schema& schema, std::uint32_t chunk_samples, const std::vector<TestChunk>& chunks) {
  TempDir dir;
  ShardEntry entry;
  const std::string path = write_shard(dir.path(), schema, chunk_samples, chunks, &entry);
  const auto shard = Shard::open(path, Limits(), &entry);
  REQUIRE_MESSAGE(shard.is_ok(), shard.status().message());
  CHECK((*shard)->schema() == schema);
  REQUIRE((*shard)->num_chunks() == chunks.size());
  const Buffer file = read_file(path);
  std::uint64_t samples = 0;
  for (std::size_t c = 0; c < chunks.size(); ++c) {
    samples += chunks[c].num_samples;
    CHECK((*shard)->samples_in_chunk(c) == chunks[c].num_samples);
    for (std::uint32_t f = 0; f < schema.fields.size(); ++f) {
      CAPTURE(schema.fields[f].name);
      CHECK(same_column(read_page(**shard, file, c, f), chunks[c].columns[f]));
      CHECK((*shard)->values_offset(c, f) == (*shard)->page(c, f).section(Section::kValues).offset);
    }
  }
  CHECK((*shard)->num_samples() == samples);
  const Result<VerifyReport> report = verify(path, 0, true, 1, Limits(), nullptr);
  REQUIRE(report.is_ok());
  for (const Damage& damage : report->damages) FAIL_CHECK(damage.status.message());
  CHECK(report->bytes == file.size());
}

}  // namespace

TEST_CASE("every dtype, codec and filter, plain and nullable, tensor and ragged") {
  using codec::Codec;
  using codec::Filter;
  for (const Codec codec : {Codec::kNone, Codec::kLz4, Codec::kLz4Hc, Codec::kZstd}) {
    for (const Filter filter : {Filter::kNone, Filter::kShuffle, Filter::kDelta, Filter::kDeltaShuffle}) {
      std::vector<Field> fields;
      for (const std::string& dtype : kDTypes) {
        for (int variant = 0; variant < 4; ++variant) {
          const bool ragged = variant % 2 == 1;
          Field field = make_field(strf("%s.%d", dtype.c_str(), variant), ragged ? Kind::kRagged : Kind::kTensor, dtype,
                                   ragged ? std::vector<std::uint64_t>{2} : std::vector<std::uint64_t>{3});
          const bool delta = filter == Filter::kDelta || filter == Filter::kDeltaShuffle;
          const bool allowed = !delta || codec::filter_allows(filter, field.element_bytes());
          field = with_storage(field, codec, allowed ? filter : Filter::kShuffle, 64 * field.element_bytes());
          field.nullable = variant >= 2;
          fields.push_back(field);
        }
      }
      const Schema schema = make_schema(fields);
      std::vector<TestChunk> chunks;
      for (std::uint32_t c = 0; c < 2; ++c) {
        TestChunk chunk{c == 0 ? 50u : 13u, {}};
        for (std::uint32_t f = 0; f < fields.size(); ++f) chunk.columns.push_back(some_column(fields[f], chunk.num_samples, c * 1000 + f));
        chunks.push_back(chunk);
      }
      check_round_trip(schema, 50, chunks);
    }
  }
}

TEST_CASE("bytes, strings and images of any length, empty ones too") {
  using codec::Codec;
  for (const Codec codec : {Codec::kNone, Codec::kLz4, Codec::kZstd}) {
    for (const std::uint32_t block_bytes : {1u, 3u, 4096u}) {
      std::vector<Field> fields;
      for (const Kind kind : {Kind::kBytes, Kind::kString, Kind::kImage})
        fields.push_back(with_storage(make_field(kind_name(kind), kind), codec, codec::Filter::kNone, block_bytes));
      const ColumnChunk texts = text_column({"", "a", "größer", std::string(500, 'z'), "", "\xF0\x9F\x98\x80"});
      const ColumnChunk nothing = text_column({"", ""});
      check_round_trip(make_schema(fields), 6, {{6, {texts, texts, texts}}, {2, {nothing, nothing, nothing}}});
    }
  }
}

TEST_CASE("no chunks, no samples, no bytes: all legal") {
  const Schema schema = make_schema({make_field("scalar", Kind::kTensor, "int64"), make_field("empty", Kind::kTensor, "float32", {4, 0}),
                                     make_field("text", Kind::kString), make_field("ragged", Kind::kRagged, "int16")});
  check_round_trip(schema, 8, {});
  ColumnChunk no_text;
  no_text.offsets = {0};
  check_round_trip(schema, 8, {{0, {{}, {}, no_text, no_text}}});
  ColumnChunk two;
  two.offsets = {0, 0, 0};
  check_round_trip(schema, 8, {{2, {{Buffer(16), {}, {}}, {}, two, two}}});
  // Nothing but zero-size samples: chunks of no bytes at all.
  check_round_trip(make_schema({make_field("empty", Kind::kTensor, "float32", {0})}), 3, {{3, {{}}}, {1, {{}}}});
}

TEST_CASE("side sections of more than one block") {
  Schema schema = make_schema({make_field("text", Kind::kString), make_field("flag", Kind::kTensor, "bool")});
  schema.fields[0].nullable = schema.fields[1].nullable = true;
  const std::uint32_t samples = 150000;  // validity of 18750 bytes and offsets of 600004: 2 and 37 blocks
  TestChunk chunk{samples, {some_column(schema.fields[0], samples, 1), some_column(schema.fields[1], samples, 2)}};
  for (std::uint8_t& byte : chunk.columns[0].values) byte &= 0x7F;
  check_round_trip(schema, samples, {chunk});
}

TEST_CASE("what the index says of a page: statistics, nulls, blocks") {
  TempDir dir;
  Schema schema = make_schema({make_field("n", Kind::kTensor, "int32"), make_field("v", Kind::kTensor, "float32", {2})});
  schema.fields[0].nullable = true;
  const TestChunk chunk{3, {{bytes_of<std::int32_t>({-5, 0, 9}), {}, {1, 0, 1}}, {Buffer(24), {}, {}}}};
  const std::string path = write_shard(dir.path(), schema, 3, {chunk, chunk});
  const auto shard = Shard::open(path, Limits());
  REQUIRE(shard.is_ok());
  const PageRef page = (*shard)->page(1, 0);
  CHECK(page.has_min_max);
  CHECK(static_cast<std::int64_t>(page.min) == -5);
  CHECK(page.max == 9);
  CHECK(page.null_count == 1);
  CHECK(page.num_blocks == 2);
  CHECK(page.first_block == 3);
  CHECK_FALSE((*shard)->page(1, 1).has_min_max);
  CHECK((*shard)->num_blocks() == 6);
  CHECK((*shard)->chunk_offset(0) == 4096);
  CHECK((*shard)->chunk_offset(1) == 8192);
  CHECK((*shard)->describe(1, 0) == "shard " + path + ", chunk 1, field 'n'");
}

TEST_CASE("what does not compress is stored as it is") {
  TempDir dir;
  Buffer noise(4096);
  std::mt19937 random(3);
  for (std::uint8_t& byte : noise) byte = static_cast<std::uint8_t>(random());
  const Schema schema =
      make_schema({with_storage(make_field("x", Kind::kTensor, "uint8"), codec::Codec::kZstd, codec::Filter::kNone, 1024)});
  const std::string path = write_shard(dir.path(), schema, 4096, {{4096, {{noise, {}, {}}}}});
  const auto shard = Shard::open(path, Limits());
  REQUIRE(shard.is_ok());
  CHECK((*shard)->page(0, 0).stored_bytes == 128 + 4096);  // a table of 4 * 24 bytes, padded
}

TEST_CASE("encode_chunk refuses what breaks the format") {
  const codec::Uuid uuid = test_uuid();
  const Schema schema = make_schema({make_field("n", Kind::kTensor, "int32"), make_field("r", Kind::kRagged, "int32")});
  const auto encode = [&](std::uint32_t samples, const std::vector<ColumnChunk>& columns) {
    return encode_chunk(schema, uuid, 0, samples, columns, Limits()).status();
  };
  const ColumnChunk numbers{Buffer(8), {}, {}};
  CHECK(encode(2, {numbers, {Buffer(8), {0, 4, 8}, {}}}).is_ok());
  CHECK(encode(2, {numbers}).code() == Code::kInvalidArgument);
  CHECK(mentions(encode(3, {numbers, {Buffer(8), {0, 4, 8, 8}, {}}}), "field 'n': 8 bytes of values; 3 samples of 4 bytes"));
  CHECK(encode(2, {numbers, {Buffer(8), {0, 3, 8}, {}}}).code() == Code::kInvalidArgument);
  CHECK(encode(2, {numbers, {Buffer(8), {0, 8, 4}, {}}}).code() == Code::kInvalidArgument);
  CHECK(encode(2, {numbers, {Buffer(8), {4, 4, 8}, {}}}).code() == Code::kInvalidArgument);
  CHECK(encode(2, {numbers, {Buffer(8), {0, 8}, {}}}).code() == Code::kInvalidArgument);
  CHECK(encode(2, {{Buffer(8), {0}, {}}, {Buffer(8), {0, 4, 8}, {}}}).code() == Code::kInvalidArgument);
  CHECK(encode(2, {{Buffer(8), {}, {1, 1}}, {Buffer(8), {0, 4, 8}, {}}}).code() == Code::kInvalidArgument);
  Limits tight;
  tight.chunk_bytes = 16;  // values only: offsets do not count
  CHECK(encode_chunk(schema, uuid, 0, 2, {numbers, {Buffer(8), {0, 4, 8}, {}}}, tight).is_ok());
  tight.chunk_bytes = 15;
  CHECK(encode_chunk(schema, uuid, 0, 2, {numbers, {Buffer(8), {0, 4, 8}, {}}}, tight).status().code() == Code::kLimitExceeded);
}

TEST_CASE("only the last chunk may be short") {
  TempDir dir;
  const Schema schema = make_schema({make_field("n", Kind::kTensor, "uint8")});
  const auto chunk = [&](std::uint32_t samples) {
    return *encode_chunk(schema, test_uuid(), 0, samples, {{Buffer(samples), {}, {}}}, Limits());
  };
  auto writer = ShardWriter::create(dir.path(), schema, test_uuid(), 4);
  REQUIRE(writer.is_ok());
  CHECK((*writer)->append(chunk(5)).code() == Code::kInvalidArgument);
  CHECK((*writer)->append(chunk(3)).is_ok());
  CHECK((*writer)->append(chunk(4)).code() == Code::kInvalidArgument);
  CHECK(ShardWriter::create(dir.path(), schema, test_uuid(), 0).status().code() == Code::kInvalidArgument);
}

TEST_CASE("a shard that is not finished leaves nothing behind") {
  TempDir dir;
  {
    auto writer = ShardWriter::create(dir.path(), make_schema({make_field("n", Kind::kTensor, "uint8")}), test_uuid(), 4);
    REQUIRE(writer.is_ok());
    CHECK_FALSE(std::filesystem::is_empty(dir.path()));
  }
  CHECK(std::filesystem::is_empty(dir.path()));
}

}  // namespace headrace::format
