#include <doctest/doctest.h>
#include <zstd.h>

#include <string>
#include <vector>

#include "codec/codec_samples.h"
#include "headrace/codec/codec.h"

namespace headrace::codec {
namespace {

using Block = std::vector<std::uint8_t>;

struct Options {
  bool checksum = false;
  bool content_size = true;
  int window_log = 0;
  bool streamed = false;  // then the writer does not know the size and cannot choose a single segment
};

Block frame_by_library(const Block& raw, const Options& options) {
  ZSTD_CCtx* context = ZSTD_createCCtx();
  ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, options.checksum ? 1 : 0);
  ZSTD_CCtx_setParameter(context, ZSTD_c_contentSizeFlag, options.content_size ? 1 : 0);
  if (options.window_log != 0) ZSTD_CCtx_setParameter(context, ZSTD_c_windowLog, options.window_log);
  Block out(ZSTD_compressBound(raw.size()) + 100);
  std::size_t size = 0;
  if (options.streamed) {
    ZSTD_inBuffer in = {raw.data(), raw.size(), 0};
    ZSTD_outBuffer to = {out.data(), out.size(), 0};
    REQUIRE(ZSTD_compressStream2(context, &to, &in, ZSTD_e_continue) < ZSTD_CONTENTSIZE_ERROR);
    REQUIRE(ZSTD_compressStream2(context, &to, &in, ZSTD_e_end) == 0);
    size = to.pos;
  } else {
    size = ZSTD_compress2(context, out.data(), out.size(), raw.data(), raw.size());
  }
  ZSTD_freeCCtx(context);
  REQUIRE(ZSTD_isError(size) == 0);
  out.resize(size);
  return out;
}

// Header with a window descriptor and an 8-byte content size, then one last block of `bytes` times the byte 'x'.
Block crafted(std::uint8_t descriptor, std::uint8_t window, std::uint64_t content, std::uint32_t bytes) {
  Block out(18);
  store_le(out.data(), std::uint32_t{0xFD2FB528});
  out[4] = descriptor;
  out[5] = window;
  store_le(out.data() + 6, content);
  const std::uint32_t header = bytes << 3 | 1 << 1 | 1;  // run-length block, last
  out[14] = static_cast<std::uint8_t>(header);
  out[15] = static_cast<std::uint8_t>(header >> 8);
  out[16] = static_cast<std::uint8_t>(header >> 16);
  out[17] = 'x';
  return out;
}

Status decoded(const Block& frame, std::size_t bytes) {
  Block out(bytes);
  return decode(Codec::kZstd, frame, out);
}

bool contains(const Status& status, const std::string& text) { return status.message().find(text) != std::string::npos; }

TEST_CASE("our frames are what any Zstandard reader reads, with a content size and nothing else") {
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{1000}, std::size_t{300'000}, std::size_t{3} << 20}) {
    const Block raw = mixed(size);
    Block frame;
    REQUIRE(encode(Codec::kZstd, 3, raw, frame).is_ok());
    CHECK(ZSTD_getFrameContentSize(frame.data(), frame.size()) == size);
    CHECK((frame[4] & 0x0f) == 0);
    CHECK(ZSTD_findFrameCompressedSize(frame.data(), frame.size()) == frame.size());
    Block out(size);
    CHECK(ZSTD_decompress(out.data(), out.size(), frame.data(), frame.size()) == size);
    CHECK(out == raw);
  }
}

// Made by Python's zstandard 0.2x.
TEST_CASE("a frame of another writer decodes") {
  const Block frame = {0x28, 0xb5, 0x2f, 0xfd, 0x20, 0x3d, 0x55, 0x00, 0x00, 0x20, 0x61, 0x62, 0x63, 0x21, 0x01, 0x00, 0xf6, 0x74, 0x43};
  Block out(61);
  REQUIRE(decode(Codec::kZstd, frame, out).is_ok());
  std::string expected;
  for (int i = 0; i < 20; ++i) expected += "abc";
  CHECK(std::string(out.begin(), out.end()) == expected + "!");
  const Block raw = mixed(1 << 20);
  Block back(raw.size());
  REQUIRE(decode(Codec::kZstd, frame_by_library(raw, {.window_log = 16}), back).is_ok());
  CHECK(back == raw);
}

TEST_CASE("frames outside the subset are refused") {
  const Block raw = repetitive(10'000);
  CHECK(contains(decoded(frame_by_library(raw, {.checksum = true}), raw.size()), "no checksum, no dictionary"));
  CHECK(decoded(frame_by_library(raw, {.checksum = true}), raw.size()).code() == Code::kCorrupt);
  const Status unsized = decoded(frame_by_library(raw, {.content_size = false}), raw.size());
  CHECK(unsized.code() == Code::kCorrupt);
  CHECK(contains(unsized, "content size"));
  CHECK(decoded(frame_by_library(raw, {.streamed = true}), raw.size()).code() == Code::kCorrupt);
  for (const int flag : {0x01, 0x02, 0x03, 0x04, 0x08}) {
    CHECK(decoded(crafted(static_cast<std::uint8_t>(0xc0 | flag), 0x50, 1000, 1000), 1000).code() == Code::kCorrupt);
  }
}

TEST_CASE("a skippable frame is not a frame") {
  Block frame = {0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4};
  CHECK(decoded(frame, 0).code() == Code::kCorrupt);
  REQUIRE(encode(Codec::kZstd, 3, repetitive(100), frame).is_ok());
  CHECK(decoded(frame, 100).code() == Code::kCorrupt);
}

TEST_CASE("windows are bounded") {
  REQUIRE(decoded(crafted(0xc0, 0x50, 1000, 1000), 1000).is_ok());
  CHECK(decoded(crafted(0xc0, 17 << 3, 1000, 1000), 1000).is_ok());  // 2^27, what every decoder accepts
  for (const int window : {(17 << 3) + 1, 18 << 3, 21 << 3, 31 << 3, 0xff}) {
    const Status status = decoded(crafted(0xc0, static_cast<std::uint8_t>(window), 1000, 1000), 1000);
    CHECK(status.code() == Code::kLimitExceeded);
    CHECK(contains(status, "limit of 134217728"));
  }
}

TEST_CASE("content sizes that lie are refused") {
  CHECK(decoded(crafted(0xc0, 0x50, 1001, 1000), 1000).code() == Code::kCorrupt);
  CHECK(decoded(crafted(0xc0, 0x50, 1001, 1000), 1001).code() == Code::kCorrupt);
  CHECK(decoded(crafted(0xc0, 0x50, 999, 1000), 999).code() == Code::kCorrupt);
  CHECK(decoded(crafted(0xc0, 0x50, ~std::uint64_t{0}, 1000), 1000).code() == Code::kCorrupt);
  CHECK(decoded(crafted(0xc0, 0x50, std::uint64_t{1} << 62, 1000), 1000).code() == Code::kCorrupt);
}

TEST_CASE("an error leaves the thread's decoder fit for the next frame") {
  const Block raw = mixed(50'000);
  Block frame;
  REQUIRE(encode(Codec::kZstd, 3, raw, frame).is_ok());
  for (std::size_t at = 10; at < frame.size(); at += 501) {
    Block bad = frame;
    bad[at] ^= 0xff;
    Block out(raw.size());
    (void)decode(Codec::kZstd, bad, out).is_ok();
    REQUIRE(decode(Codec::kZstd, frame, out).is_ok());
    CHECK(out == raw);
  }
}

}  // namespace
}  // namespace headrace::codec
