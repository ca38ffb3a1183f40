#include "headrace/format/schema.h"

#include <random>

#include "format/fixture.h"

namespace headrace::format {
namespace {

Schema rich_schema() {
  Schema schema = make_schema({make_field("x", Kind::kTensor, "float32", {3, 0, 7}), make_field("y", Kind::kRagged, "complex128", {2}),
                               make_field("été", Kind::kString), make_field("jpeg", Kind::kImage), make_field("raw", Kind::kBytes),
                               make_field("t", Kind::kTensor, "datetime64[25s]"), make_field("s", Kind::kTensor, "U7")});
  schema.metadata = R"({"origin": "test"})";
  schema.fields[1].nullable = true;
  schema.fields[1] = with_storage(schema.fields[1], codec::Codec::kZstd, codec::Filter::kDeltaShuffle, 4096);
  schema.fields[1].level = -7;
  schema.fields[2].metadata = R"({"classes": ["a", "b"]})";
  return schema;
}

Code validate(const Field& field) { return make_schema({field}).validate(Limits()).code(); }

}  // namespace

TEST_CASE("dtype names are numpy's, both ways") {
  for (const std::string name :
       {"bool",        "int8",           "uint8",           "int16",          "uint16",  "int32",     "uint32",     "int64",
        "uint64",      "float16",        "bfloat16",        "float32",        "float64", "complex64", "complex128", "datetime64",
        "timedelta64", "datetime64[ns]", "datetime64[25s]", "timedelta64[D]", "S12",     "U7"}) {
    Field field;
    CAPTURE(name);
    REQUIRE(set_dtype(name, field).is_ok());
    CHECK(dtype_name(field) == name);
    CHECK(validate([&] {
            Field f = field;
            f.name = "x";
            return f;
          }()) == Code::kOk);
  }
  Field field;
  REQUIRE(set_dtype("datetime64[25s]", field).is_ok());
  CHECK(field.unit == (25u << 8 | 7));
  REQUIRE(set_dtype("U7", field).is_ok());
  CHECK(field.itemsize == 28);
  CHECK(field.unit == 0);
}

TEST_CASE("an unsupported dtype lists what is supported") {
  for (const std::string name :
       {"", "float", "float128", "int", "S", "S0", "S-1", "U01", "S4294967296", "U1073741824", "datetime64[", "datetime64[]",
        "datetime64[0s]", "datetime64[2]", "datetime64[16777216s]", "datetime64[lightyear]", "datetime64[s]x", "object"}) {
    Field field;
    CAPTURE(name);
    const Status status = set_dtype(name, field);
    CHECK(status.code() == Code::kInvalidArgument);
    CHECK(mentions(status, "bfloat16"));
  }
}

TEST_CASE("names of kinds and containers") {
  CHECK(*kind_from_name("ragged") == Kind::kRagged);
  CHECK(std::string(kind_name(Kind::kImage)) == "image");
  CHECK(mentions(kind_from_name("blob").status(), "tensor, ragged, bytes, string, image"));
  CHECK(*container_from_name("single") == Container::kSingle);
  CHECK(container_from_name("list").status().code() == Code::kInvalidArgument);
}

TEST_CASE("sizes of rows and elements") {
  CHECK(make_field("x", Kind::kTensor, "float64", {2, 3}).row_bytes() == 48);
  CHECK(make_field("x", Kind::kTensor, "float64").row_bytes() == 8);
  CHECK(make_field("x", Kind::kTensor, "float64", {2, 0}).row_bytes() == 0);
  CHECK(make_field("x", Kind::kString).row_bytes() == 1);
  CHECK(make_field("x", Kind::kTensor, "complex128").element_bytes() == 8);
  CHECK(make_field("x", Kind::kTensor, "U3").element_bytes() == 12);
}

TEST_CASE("a schema comes back from its bytes as it was") {
  const Schema schema = rich_schema();
  REQUIRE(schema.validate(Limits()).is_ok());
  const Result<Schema> back = decode_schema(encode_schema(schema), Limits());
  REQUIRE_MESSAGE(back.is_ok(), back.status().message());
  CHECK(*back == schema);
}

TEST_CASE("same_values looks at what a delivered sample depends on") {
  const Schema schema = rich_schema();
  Schema other = schema;
  other.metadata.clear();
  other.fields[0] = with_storage(other.fields[0], codec::Codec::kLz4, codec::Filter::kShuffle, 128);
  other.fields[2].metadata = "{}";
  CHECK(other.same_values(schema));
  CHECK_FALSE(other == schema);
  other.fields[0].nullable = true;
  CHECK_FALSE(other.same_values(schema));
  other = schema;
  other.container = Container::kTuple;
  CHECK_FALSE(other.same_values(schema));
}

TEST_CASE("every prefix of a schema is refused, and so are bytes after it") {
  const Buffer whole = encode_schema(rich_schema());
  for (std::size_t length = 0; length < whole.size(); ++length) {
    CAPTURE(length);
    CHECK(decode_schema(Bytes(whole).first(length), Limits()).status().code() == Code::kCorrupt);
  }
  Buffer longer = whole;
  longer.push_back(0);
  CHECK(decode_schema(longer, Limits()).status().code() == Code::kCorrupt);
}

TEST_CASE("no damage to a schema crashes, and what is accepted is valid") {
  const Buffer whole = encode_schema(rich_schema());
  std::mt19937 random(7);
  for (int round = 0; round < 20000; ++round) {
    Buffer damaged = whole;
    for (int i = 0; i < 3; ++i) damaged[random() % damaged.size()] = static_cast<std::uint8_t>(random());
    const Result<Schema> schema = decode_schema(damaged, Limits());
    if (schema) CHECK(schema->validate(Limits()).is_ok());
  }
}

TEST_CASE("extensions: unknown ones are skipped, critical ones refused") {
  Buffer bytes = encode_schema(rich_schema());
  bytes[bytes.size() - 4] = 1;
  const Buffer extension = {0x34, 0x12, 0, 0, 3, 0, 0, 0, 7, 8, 9};
  bytes.insert(bytes.end(), extension.begin(), extension.end());
  const Result<Schema> skipped = decode_schema(bytes, Limits());
  REQUIRE(skipped.is_ok());
  CHECK(*skipped == rich_schema());
  bytes[bytes.size() - 9] = 1;
  const Status refused = decode_schema(bytes, Limits()).status();
  CHECK(refused.code() == Code::kUnsupported);
  CHECK(mentions(refused, "extension 4660"));
}

TEST_CASE("declared sizes beyond the limits are refused before anything is allocated") {
  Buffer bytes = encode_schema(make_schema({make_field("x", Kind::kTensor)}));
  Buffer many = bytes;
  store_le(many.data(), std::uint32_t{0xFFFFFFFF});
  CHECK(decode_schema(many, Limits()).status().code() == Code::kLimitExceeded);
  Buffer metadata = bytes;
  store_le(metadata.data() + 8, std::uint32_t{0x7FFFFFFF});
  CHECK(decode_schema(metadata, Limits()).status().code() == Code::kLimitExceeded);
  store_le(metadata.data() + 8, std::uint32_t{1 << 20});
  CHECK(decode_schema(metadata, Limits()).status().code() == Code::kCorrupt);
}

TEST_CASE("validate refuses what FORMAT.md forbids, naming the field") {
  const Field good = make_field("x", Kind::kTensor, "int32");
  CHECK(validate(good) == Code::kOk);
  const auto with = [&](auto change) {
    Field field = good;
    change(field);
    return validate(field);
  };
  CHECK(with([](Field& f) { f.name.clear(); }) == Code::kInvalidArgument);
  CHECK(with([](Field& f) { f.name = std::string("a\0b", 3); }) == Code::kInvalidArgument);
  CHECK(with([](Field& f) { f.name = "\xFF"; }) == Code::kInvalidArgument);
  CHECK(with([](Field& f) { f.name = std::string(1025, 'x'); }) == Code::kLimitExceeded);
  CHECK(with([](Field& f) { f.itemsize = 2; }) == Code::kInvalidArgument);
  CHECK(with([](Field& f) { f.unit = 256; }) == Code::kInvalidArgument);
  CHECK(with([](Field& f) { f.dtype = static_cast<DType>(19); }) == Code::kInvalidArgument);
  CHECK(with([](Field& f) { f.kind = static_cast<Kind>(5); }) == Code::kInvalidArgument);
  CHECK(with([](Field& f) { f.kind = Kind::kString; }) == Code::kInvalidArgument);
  CHECK(with([](Field& f) { f.shape = {1ull << 40, 1ull << 40, 0}; }) == Code::kLimitExceeded);
  CHECK(with([](Field& f) { f.shape = {1ull << 34}; }) == Code::kLimitExceeded);
  CHECK(with([](Field& f) { f.shape.assign(33, 1); }) == Code::kLimitExceeded);
  CHECK(with([](Field& f) {
          f.kind = Kind::kRagged;
          f.shape = {0};
        }) == Code::kInvalidArgument);
  CHECK(with([](Field& f) { f.block_bytes = 0; }) == Code::kInvalidArgument);
  CHECK(with([](Field& f) { f.block_bytes = (64u << 20) + 1; }) == Code::kLimitExceeded);
  CHECK(with([](Field& f) {
          f.filter = codec::Filter::kShuffle;
          f.block_bytes = 6;
        }) == Code::kInvalidArgument);
  CHECK(with([](Field& f) { f.level = 40000; }) == Code::kInvalidArgument);
  CHECK(with([](Field& f) { f.metadata = "\x80"; }) == Code::kInvalidArgument);
  Field text = make_field("s", Kind::kString);
  text.filter = codec::Filter::kShuffle;
  CHECK(validate(text) == Code::kInvalidArgument);
  Field wide = with_storage(make_field("w", Kind::kTensor, "S12"), codec::Codec::kLz4, codec::Filter::kDelta, 1200);
  CHECK(validate(wide) == Code::kInvalidArgument);
  wide.filter = codec::Filter::kShuffle;
  CHECK(validate(wide) == Code::kOk);
  CHECK(make_schema({}).validate(Limits()).code() == Code::kInvalidArgument);
  const Status twice = make_schema({good, good}).validate(Limits());
  CHECK(twice.code() == Code::kInvalidArgument);
  CHECK(mentions(twice, "field 'x'"));
  Schema single = make_schema({good, make_field("y", Kind::kTensor)});
  single.container = Container::kSingle;
  CHECK(single.validate(Limits()).code() == Code::kInvalidArgument);
}

}  // namespace headrace::format
