#include "headrace/ops/jpeg.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "ops/jpeg_samples.h"

namespace headrace::ops {
namespace {

std::vector<std::uint8_t> copy(const PixelView& view) {
  std::vector<std::uint8_t> out;
  for (std::size_t y = 0; y < view.height; ++y)
    out.insert(out.end(), view.data + y * view.stride, view.data + y * view.stride + view.width * std::size_t{3});
  return out;
}

std::vector<std::uint8_t> decode(JpegDecoder& decoder, const std::vector<std::uint8_t>& jpeg, const ImageRect& region,
                                 std::uint32_t denominator, bool exact) {
  REQUIRE(decoder.open(jpeg, {}).is_ok());
  PixelView view;
  const Status status = decoder.decode(region, denominator, exact, &view);
  REQUIRE_MESSAGE(status.is_ok(), status.message());
  return copy(view);
}

std::vector<std::uint8_t> part(const std::vector<std::uint8_t>& all, std::uint32_t width, const ImageRect& region) {
  std::vector<std::uint8_t> out;
  for (std::size_t y = region.y; y < region.y + region.height; ++y) {
    const auto row = all.begin() + static_cast<std::ptrdiff_t>((y * width + region.x) * 3);
    out.insert(out.end(), row, row + region.width * 3);
  }
  return out;
}

Status open_status(const std::vector<std::uint8_t>& bytes, const ImageLimits& limits = {}) {
  JpegDecoder decoder;
  return decoder.open(bytes, limits);
}

}  // namespace

TEST_CASE("a region is the same part of a full decode: exact ones bit for bit, others nearly") {
  JpegDecoder decoder;
  for (const bool progressive : {false, true}) {
    for (const bool grey : {false, true}) {
      const std::vector<std::uint8_t> jpeg = make_jpeg({211, 157, 92, grey, progressive});
      for (const std::uint32_t denominator : {1u, 2u, 4u, 8u}) {
        const std::uint32_t width = JpegDecoder::scaled(211, denominator), height = JpegDecoder::scaled(157, denominator);
        const std::vector<std::uint8_t> whole = decode(decoder, jpeg, {0, 0, width, height}, denominator, true);
        const std::vector<std::uint8_t> fast_whole = decode(decoder, jpeg, {0, 0, width, height}, denominator, false);
        for (const ImageRect& region : {ImageRect{0, 0, 1, 1},
                                        {width - 1, height - 1, 1, 1},
                                        {width / 3, height / 4, width / 2, height / 2},
                                        {0, height / 2, width, 3},
                                        {width / 2, 0, 5, height}}) {
          CHECK(decode(decoder, jpeg, region, denominator, true) == part(whole, width, region));
          CHECK(decode(decoder, jpeg, region, denominator, false) == part(fast_whole, width, region));
        }
      }
    }
  }
}

TEST_CASE("what is no whole JPEG is an error with the library's words, and the decoder goes on") {
  const std::vector<std::uint8_t> good = make_jpeg({64, 48});
  CHECK(open_status({}).code() == Code::kCorrupt);
  CHECK(open_status({0xFF, 0xD8, 0xFF}).code() == Code::kCorrupt);
  std::vector<std::uint8_t> cut(good.begin(), good.begin() + static_cast<std::ptrdiff_t>(good.size() / 2));
  CHECK(open_status(cut).code() == Code::kTruncated);
  CHECK(open_status(cut).message().find("was cut") != std::string::npos);
  cut.resize(8);
  CHECK_FALSE(open_status(cut).is_ok());

  JpegDecoder decoder;
  PixelView view;
  std::vector<std::uint8_t> damaged = good;
  for (std::size_t i = damaged.size() / 2; i + 2 < damaged.size(); ++i) damaged[i] = static_cast<std::uint8_t>(i * 151);
  bool failed = !decoder.open(damaged, {}).is_ok();
  if (!failed) {
    const Status status = decoder.decode({0, 0, 64, 48}, 1, false, &view);
    failed = !status.is_ok();
    CHECK(status.message().find("decode JPEG: ") == 0);
  }
  CHECK(failed);
  CHECK(decode(decoder, good, {0, 0, 64, 48}, 1, true).size() == 64 * 48 * 3);
}

TEST_CASE("a repacked file has the same pixels, all of them and those of any region") {
  JpegDecoder decoder;
  for (const JpegSample& sample : {JpegSample{211, 357, 92},
                                   {211, 357, 70, true},
                                   {130, 257, 85, false, true},
                                   {16, 16, 90},
                                   {9, 500, 90},
                                   {700, 3, 90},
                                   {1, 1, 50, true, true}}) {
    const std::vector<std::uint8_t> jpeg = make_jpeg(sample);
    const auto repacked = repack_jpeg(jpeg, {});
    REQUIRE_MESSAGE(repacked.is_ok(), repacked.status().message());
    for (const std::uint32_t denominator : {1u, 2u, 8u}) {
      const std::uint32_t width = JpegDecoder::scaled(sample.width, denominator), height = JpegDecoder::scaled(sample.height, denominator);
      const std::vector<std::uint8_t> whole = decode(decoder, jpeg, {0, 0, width, height}, denominator, true);
      CHECK(decode(decoder, *repacked, {0, 0, width, height}, denominator, true) == whole);
      for (std::uint32_t y = 0; y < height; y += 1 + height / 40) {
        const ImageRect region{width / 3, y, width - width / 3, std::min(height - y, 1 + height / 5)};
        for (const bool exact : {false, true}) CHECK(decode(decoder, *repacked, region, denominator, exact) == part(whole, width, region));
      }
    }
    const auto again = repack_jpeg(*repacked, {});
    REQUIRE(again.is_ok());
    CHECK(*again == *repacked);
  }
  const std::vector<std::uint8_t> good = make_jpeg({64, 48});
  CHECK(repack_jpeg(Bytes(good).first(good.size() / 2), {}).status().code() == Code::kTruncated);
  CHECK_FALSE(repack_jpeg({}, {}).is_ok());
}

TEST_CASE("limits hold before anything of their size is allocated") {
  std::vector<std::uint8_t> bomb = make_jpeg({64, 48});
  for (std::size_t i = 0; i + 9 < bomb.size(); ++i) {
    if (bomb[i] == 0xFF && bomb[i + 1] == 0xC0) std::memset(bomb.data() + i + 5, 0xFF, 4);  // height and width
  }
  const Status status = open_status(bomb, {1u << 20, 64});
  CHECK_FALSE(status.is_ok());
  const Status pixels = open_status(make_jpeg({100, 100}), {9999, 64});
  CHECK(pixels.code() == Code::kLimitExceeded);
  CHECK(pixels.message().find("100 x 100") != std::string::npos);

  JpegDecoder decoder;
  PixelView view;
  const std::vector<std::uint8_t> progressive = make_jpeg({64, 48, 90, false, true});
  REQUIRE(decoder.open(progressive, {1u << 20, 2}).is_ok());
  const Status scans = decoder.decode({0, 0, 64, 48}, 1, false, &view);
  CHECK(scans.code() == Code::kLimitExceeded);
  CHECK(scans.message().find("more than 2 scans") != std::string::npos);
}

TEST_CASE("every cut and many a flipped byte is an error or an image, never more") {
  JpegDecoder decoder;
  PixelView view;
  for (const bool progressive : {false, true}) {
    const std::vector<std::uint8_t> good = make_jpeg({40, 30, 80, false, progressive});
    for (std::size_t size = 0; size < good.size(); size += 3) {
      std::vector<std::uint8_t> cut(good.begin(), good.begin() + static_cast<std::ptrdiff_t>(size));
      CHECK_FALSE(decoder.open(cut, {}).is_ok());
    }
    std::uint32_t random = 7;
    for (int round = 0; round < 3000; ++round) {
      std::vector<std::uint8_t> bytes = good;
      random = random * 1664525u + 1013904223u;
      bytes[random % bytes.size()] = static_cast<std::uint8_t>(random >> 24);
      if (!decoder.open(bytes, {1u << 20, 64}).is_ok()) continue;
      const std::uint32_t denominator = 1u << (round % 4);
      const ImageRect all{0, 0, JpegDecoder::scaled(decoder.width(), denominator), JpegDecoder::scaled(decoder.height(), denominator)};
      const bool decoded = decoder.decode(all, denominator, round % 2 == 0, &view).is_ok();
      if (decoded) CHECK(copy(view).size() == std::size_t{all.width} * all.height * 3);
    }
  }
}

}  // namespace headrace::ops
