#include "headrace/format/storage_choice.h"

#include "format/fixture.h"

namespace headrace::format {

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
