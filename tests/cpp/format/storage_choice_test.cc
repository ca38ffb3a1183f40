#include "headrace/format/storage_choice.h"

#include <cmath>
#include <random>

#include "format/fixture.h"

namespace headrace::format {
namespace {

Field chosen(Field field, const ColumnChunk& column) {
  REQUIRE(choose_codec(column, field).is_ok());
  return field;
}

Buffer noise(std::size_t bytes) {
  Buffer out(bytes);
  std::mt19937 random(1);
  for (std::uint8_t& byte : out) byte = static_cast<std::uint8_t>(random());
  return out;
}

}  // namespace

TEST_CASE("noise and images stay as they are") {
  Field field = with_storage(make_field("x", Kind::kTensor, "float32"), codec::Codec::kZstd, codec::Filter::kShuffle, 64);
  field = chosen(field, {noise(200000), {}, {}});
  CHECK(field.codec == codec::Codec::kNone);
  CHECK(field.filter == codec::Filter::kNone);
  CHECK(chosen(make_field("x", Kind::kImage), {Buffer(100000, 1), {}, {}}).codec == codec::Codec::kNone);
  CHECK(chosen(make_field("x", Kind::kTensor, "int64"), {}).codec == codec::Codec::kNone);
}

TEST_CASE("counters get delta and shuffle; constant bytes need no filter") {
  std::vector<std::int64_t> counter(50000);
  for (std::size_t i = 0; i < counter.size(); ++i) counter[i] = static_cast<std::int64_t>(i * 1000003);
  const Field field = chosen(make_field("x", Kind::kTensor, "int64"), {bytes_of(counter), {}, {}});
  CHECK(field.codec == codec::Codec::kLz4);
  CHECK(field.filter == codec::Filter::kDeltaShuffle);
  CHECK(field.level == codec::default_level(codec::Codec::kLz4));
  const Field bytes = chosen(make_field("x", Kind::kTensor, "uint8"), {Buffer(100000, 7), {}, {}});
  CHECK(bytes.codec != codec::Codec::kNone);
  CHECK(bytes.filter == codec::Filter::kNone);
}

TEST_CASE("zstd where it saves much more than LZ4") {
  // Bytes of 4 bits of entropy and no repeats: entropy coding halves them, matching does nothing.
  Buffer nibbles = noise(300000);
  for (std::uint8_t& byte : nibbles) byte &= 0x0F;
  CHECK(chosen(make_field("x", Kind::kTensor, "uint8"), {nibbles, {}, {}}).codec == codec::Codec::kZstd);
}

TEST_CASE("block sizes: whole rows near 16 KiB raw and 64 KiB compressed, whole elements above") {
  const auto block = [](const std::string& dtype, std::vector<std::uint64_t> shape, codec::Codec codec) {
    Field field = make_field("x", Kind::kTensor, dtype, std::move(shape));
    field.codec = codec;
    return default_block_bytes(field);
  };
  CHECK(block("float32", {}, codec::Codec::kNone) == 16384);
  CHECK(block("float32", {100}, codec::Codec::kNone) == 16000);
  CHECK(block("float32", {}, codec::Codec::kLz4) == 65536);
  CHECK(block("float32", {5000}, codec::Codec::kNone) == 20000);
  CHECK(block("float32", {1 << 20}, codec::Codec::kNone) == 1 << 20);
  CHECK(block("S7", {1 << 20}, codec::Codec::kLz4) == (1 << 20) / 7 * 7);
  CHECK(block("float32", {0}, codec::Codec::kLz4) == 65536);
  CHECK(block("S2000000", {}, codec::Codec::kNone) == 2000000);
  CHECK(default_block_bytes(make_field("x", Kind::kString)) == 16384);
}

}  // namespace headrace::format
