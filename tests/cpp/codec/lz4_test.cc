#include <doctest/doctest.h>
#include <lz4.h>
#include <lz4frame.h>

#include <algorithm>
#include <string>
#include <vector>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "codec/codec_samples.h"
#include "headrace/codec/codec.h"

namespace headrace::codec {
namespace {

using Block = std::vector<std::uint8_t>;

// Decodes with liblz4's own frame reader, which knows nothing of ours.
Block decoded_by_library(const Block& frame, std::size_t bytes) {
  LZ4F_dctx* context = nullptr;
  REQUIRE(LZ4F_isError(LZ4F_createDecompressionContext(&context, LZ4F_VERSION)) == 0);
  Block out(bytes + 1);
  std::size_t done = 0, at = 0, hint = 1;
  while (hint != 0 && at < frame.size()) {
    std::size_t to = out.size() - done, from = frame.size() - at;
    hint = LZ4F_decompress(context, out.data() + done, &to, frame.data() + at, &from, nullptr);
    REQUIRE(LZ4F_isError(hint) == 0);
    done += to;
    at += from;
  }
  LZ4F_freeDecompressionContext(context);
  CHECK(hint == 0);
  CHECK(at == frame.size());
  out.resize(done);
  return out;
}

Block frame_by_library(const Block& raw, const LZ4F_preferences_t& preferences) {
  Block out(LZ4F_compressFrameBound(raw.size(), &preferences));
  const std::size_t size = LZ4F_compressFrame(out.data(), out.size(), raw.data(), raw.size(), &preferences);
  REQUIRE(LZ4F_isError(size) == 0);
  out.resize(size);
  return out;
}

LZ4F_preferences_t allowed(const Block& raw) {
  LZ4F_preferences_t out = {};
  out.frameInfo.blockMode = LZ4F_blockIndependent;
  out.frameInfo.contentSize = raw.size();
  return out;
}

// A frame from its parts, with a right header check.
struct Crafted {
  std::uint8_t flags = 0x68;
  std::uint8_t block_size = 0x40;
  std::uint64_t content = 0;
  std::vector<std::pair<std::uint32_t, Block>> blocks;
  std::uint32_t end_mark = 0;

  Block bytes() const {
    Block out(15);
    store_le(out.data(), std::uint32_t{0x184D2204});
    out[4] = flags;
    out[5] = block_size;
    store_le(out.data() + 6, content);
    out[14] = static_cast<std::uint8_t>(XXH32(out.data() + 4, 10, 0) >> 8);
    const auto word = [&](std::uint32_t value) {
      out.resize(out.size() + 4);
      store_le(out.data() + out.size() - 4, value);
    };
    for (const auto& [size, bytes] : blocks) {
      word(size);
      out.insert(out.end(), bytes.begin(), bytes.end());
    }
    word(end_mark);
    return out;
  }
};

Status decoded(const Block& frame, std::size_t bytes) {
  Block out(bytes);
  return decode(Codec::kLz4, frame, out);
}

bool contains(const Status& status, const std::string& text) { return status.message().find(text) != std::string::npos; }

TEST_CASE("our frames are what any LZ4 reader reads") {
  for (const Codec codec : {Codec::kLz4, Codec::kLz4Hc}) {
    for (const std::size_t size : {std::size_t{1}, std::size_t{1000}, std::size_t{65536}, std::size_t{65537}, std::size_t{300'000},
                                   std::size_t{3} << 20, std::size_t{11} << 20}) {
      const Block raw = mixed(size);
      Block frame;
      REQUIRE(encode(codec, default_level(codec), raw, frame).is_ok());
      CHECK(decoded_by_library(frame, size) == raw);
    }
  }
}

TEST_CASE("a frame is laid out as FORMAT.md says") {
  Block frame;
  REQUIRE(encode(Codec::kLz4, 0, Block(70'000, 'x'), frame).is_ok());
  CHECK(load_le<std::uint32_t>(frame.data()) == 0x184D2204);
  CHECK(frame[4] == 0x68);
  CHECK(frame[5] == 0x50);  // 256 KiB, the smallest block size that holds it
  CHECK(load_le<std::uint64_t>(frame.data() + 6) == 70'000);
  CHECK(load_le<std::uint32_t>(frame.data() + 15) == frame.size() - 15 - 4 - 4);
  CHECK(load_le<std::uint32_t>(frame.data() + frame.size() - 4) == 0);
}

TEST_CASE("incompressible blocks cost four bytes each, not more") {
  const std::size_t size = (std::size_t{4} << 20) * 2 + 5;
  Block frame;
  REQUIRE(encode(Codec::kLz4, 0, incompressible(size), frame).is_ok());
  CHECK(frame.size() == 15 + size + 3 * 4 + 4);
}

// Made by Python's lz4.frame 4.x.
TEST_CASE("a frame of another writer decodes") {
  const Block frame = {0x04, 0x22, 0x4d, 0x18, 0x68, 0x40, 0x31, 0,    0,    0,    0,    0,    0,    0,    0x7f, 0x0d, 0, 0,
                       0,    0x3f, 0x61, 0x62, 0x63, 0x03, 0x00, 0x16, 0x50, 0x63, 0x61, 0x62, 0x63, 0x21, 0,    0,    0, 0};
  Block out(49);
  REQUIRE(decode(Codec::kLz4, frame, out).is_ok());
  CHECK(std::string(out.begin(), out.end()) == "abcabcabcabcabcabcabcabcabcabcabcabcabcabcabcabc!");
  for (const std::size_t size : {std::size_t{10}, std::size_t{100'000}, std::size_t{9} << 20}) {
    const Block raw = mixed(size);
    for (const LZ4F_blockSizeID_t id : {LZ4F_max64KB, LZ4F_max256KB, LZ4F_max1MB, LZ4F_max4MB}) {
      LZ4F_preferences_t preferences = allowed(raw);
      preferences.frameInfo.blockSizeID = id;
      Block back(size);
      REQUIRE(decode(Codec::kLz4, frame_by_library(raw, preferences), back).is_ok());
      CHECK(back == raw);
    }
  }
}

TEST_CASE("frames outside the subset are refused") {
  const Block raw = repetitive(200'000);
  LZ4F_preferences_t linked = allowed(raw);
  linked.frameInfo.blockMode = LZ4F_blockLinked;
  LZ4F_preferences_t content_check = allowed(raw);
  content_check.frameInfo.contentChecksumFlag = LZ4F_contentChecksumEnabled;
  LZ4F_preferences_t block_check = allowed(raw);
  block_check.frameInfo.blockChecksumFlag = LZ4F_blockChecksumEnabled;
  LZ4F_preferences_t no_size = allowed(raw);
  no_size.frameInfo.contentSize = 0;
  LZ4F_preferences_t dictionary = allowed(raw);
  dictionary.frameInfo.dictID = 5;
  for (const LZ4F_preferences_t& preferences : {linked, content_check, block_check, no_size, dictionary}) {
    const Status status = decoded(frame_by_library(raw, preferences), raw.size());
    CHECK(status.code() == Code::kCorrupt);
    CHECK(contains(status, "flags at byte 4"));
  }
}

TEST_CASE("every wrong header byte is named") {
  const Crafted good{.content = 3, .blocks = {{0x80000003u, {1, 2, 3}}}};
  REQUIRE(decoded(good.bytes(), 3).is_ok());
  Block frame = good.bytes();
  frame[14] ^= 1;
  CHECK(contains(decoded(frame, 3), "header check at byte 14"));
  for (const int size : {0x00, 0x30, 0x41, 0xc0}) {
    Crafted bad = good;
    bad.block_size = static_cast<std::uint8_t>(size);
    CHECK(contains(decoded(bad.bytes(), 3), "block size (0x40 to 0x70) at byte 5"));
  }
  for (const int flags : {0x28, 0x60, 0x6a, 0x48, 0xa8}) {
    Crafted bad = good;
    bad.flags = static_cast<std::uint8_t>(flags);
    CHECK(contains(decoded(bad.bytes(), 3), "flags at byte 4"));
  }
}

TEST_CASE("block sizes that lie are refused") {
  const Block three = {1, 2, 3};
  CHECK(decoded(Crafted{.content = 3, .blocks = {{0x80000004u, three}}}.bytes(), 3).code() == Code::kCorrupt);
  CHECK(decoded(Crafted{.content = 3, .blocks = {{0xffffffffu, three}}}.bytes(), 3).code() == Code::kCorrupt);
  CHECK(decoded(Crafted{.content = 3, .blocks = {{0x7fffffffu, three}}}.bytes(), 3).code() == Code::kCorrupt);
  CHECK(decoded(Crafted{.content = 3, .blocks = {{0x80000000u, {}}, {0x80000003u, three}}}.bytes(), 3).code() == Code::kCorrupt);
  CHECK(decoded(Crafted{.content = 2, .blocks = {{0x80000003u, three}}}.bytes(), 2).code() == Code::kCorrupt);
  CHECK(decoded(Crafted{.content = 4, .blocks = {{0x80000003u, three}}}.bytes(), 4).code() == Code::kCorrupt);
  CHECK(decoded(Crafted{.content = 6, .blocks = {{0x80000003u, three}, {0x80000003u, three}}}.bytes(), 6).is_ok());
  const Crafted no_end{.content = 3, .blocks = {{0x80000003u, three}}, .end_mark = 0x80000001u};
  CHECK(decoded(no_end.bytes(), 3).code() == Code::kCorrupt);
}

TEST_CASE("a block may not decode to more than the frame's block size") {
  const Block raw(65537, 'x');
  Block block(1000);
  const int size = LZ4_compress_default(reinterpret_cast<const char*>(raw.data()), reinterpret_cast<char*>(block.data()), 65537, 1000);
  REQUIRE(size > 0);
  block.resize(static_cast<std::size_t>(size));
  Crafted frame{.content = 65537, .blocks = {{static_cast<std::uint32_t>(size), block}}};
  CHECK(decoded(frame.bytes(), 65537).code() == Code::kCorrupt);
  frame.block_size = 0x50;
  CHECK(decoded(frame.bytes(), 65537).is_ok());
}

TEST_CASE("a bomb's ratio is over the limit before it is looked at") {
  const Crafted frame{.content = std::uint64_t{1} << 26, .blocks = {}};
  const std::size_t size = frame.bytes().size();
  const Status status = decoded(frame.bytes(), std::size_t{1} << 26);
  CHECK(status.code() == Code::kLimitExceeded);
  CHECK(contains(status, std::to_string(size) + " bytes cannot hold 67108864"));
  CHECK(decoded(Block(19), 19 * 255 + 65536).code() == Code::kCorrupt);  // At the limit it is read, and is no frame.
  CHECK(decoded(Block(19), 19 * 255 + 65537).code() == Code::kLimitExceeded);
}

TEST_CASE("the best that the codec can do is inside the ratio limit") {
  for (const std::size_t size : {std::size_t{65536}, std::size_t{1} << 20, std::size_t{64} << 20}) {
    const Block raw(size, 0);
    for (const Codec codec : {Codec::kLz4, Codec::kLz4Hc}) {
      Block frame;
      REQUIRE(encode(codec, codec == Codec::kLz4 ? 0 : 12, raw, frame).is_ok());
      Block out(size, 1);
      REQUIRE(decode(codec, frame, out).is_ok());
      CHECK(out == raw);
    }
  }
}

}  // namespace
}  // namespace headrace::codec
