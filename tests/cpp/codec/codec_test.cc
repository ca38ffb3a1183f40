#include "headrace/codec/codec.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <thread>
#include <vector>

#include "codec/codec_samples.h"

namespace headrace::codec {
namespace {

using Block = std::vector<std::uint8_t>;

constexpr Codec kCodecs[] = {Codec::kLz4, Codec::kLz4Hc, Codec::kZstd};

Block encoded(Codec codec, int level, Bytes raw) {
  Block out;
  const Status status = encode(codec, level, raw, out);
  REQUIRE_MESSAGE(status.is_ok(), status.message());
  return out;
}

Block encoded(Codec codec, Bytes raw) { return encoded(codec, default_level(codec), raw); }

bool round_trips(Codec codec, int level, const Block& raw) {
  const Block frame = encoded(codec, level, raw);
  Block out(raw.size(), 0xa5);
  return decode(codec, frame, out).is_ok() && out == raw;
}

bool contains(const Status& status, const std::string& text) { return status.message().find(text) != std::string::npos; }

TEST_CASE("names and ids go both ways") {
  for (const char* name : {"none", "lz4", "lz4hc", "zstd"}) CHECK(codec_name(codec_from_name(name).value()) == std::string(name));
  CHECK(static_cast<int>(codec_from_name("none").value()) == 0);
  CHECK(static_cast<int>(codec_from_name("lz4").value()) == 1);
  CHECK(static_cast<int>(codec_from_name("lz4hc").value()) == 2);
  CHECK(static_cast<int>(codec_from_name("zstd").value()) == 3);
  const Status status = codec_from_name("gzip").status();
  CHECK(status.code() == Code::kInvalidArgument);
  CHECK(contains(status, "'gzip'"));
  CHECK(contains(status, "none, lz4, lz4hc or zstd"));
  CHECK(codec_from_name("").status().code() == Code::kInvalidArgument);
  CHECK(codec_name(static_cast<Codec>(9)) == std::string("unknown"));
}

TEST_CASE("levels have a range that the error names, and a default inside it") {
  for (const Codec codec : {Codec::kNone, Codec::kLz4, Codec::kLz4Hc, Codec::kZstd})
    CHECK(check_level(codec, default_level(codec)).is_ok());
  CHECK(default_level(Codec::kLz4) == 0);
  CHECK(default_level(Codec::kLz4Hc) == 9);
  CHECK(default_level(Codec::kZstd) == 3);
  CHECK(check_level(Codec::kLz4, -32768).is_ok());
  CHECK(check_level(Codec::kLz4Hc, 1).is_ok());
  CHECK(check_level(Codec::kLz4Hc, 12).is_ok());
  CHECK(check_level(Codec::kZstd, -7).is_ok());
  CHECK(check_level(Codec::kZstd, 22).is_ok());
  for (const auto& [codec, level] : {std::pair{Codec::kLz4, 1},
                                     {Codec::kLz4, -32769},
                                     {Codec::kLz4Hc, 0},
                                     {Codec::kLz4Hc, 13},
                                     {Codec::kZstd, -8},
                                     {Codec::kZstd, 23}}) {
    CHECK(check_level(codec, level).code() == Code::kInvalidArgument);
    Block out;
    CHECK(encode(codec, level, {}, out).code() == Code::kInvalidArgument);
  }
  CHECK(check_level(Codec::kZstd, 23).message() == "level of codec zstd: expected -7 to 22, found 23");
}

TEST_CASE("blocks of every size and kind come back as they were") {
  std::vector<std::size_t> sizes = {0,         1,     2,     3,     7,     12,     13,     64,      255,           256,     1000,
                                    4095,      16384, 65535, 65536, 65537, 262144, 262145, 1 << 20, (1 << 20) + 1, 4 << 20, (4 << 20) + 1,
                                    10'000'000};
  for (const Codec codec : kCodecs) {
    for (const std::size_t size : sizes) {
      CAPTURE(codec_name(codec));
      CAPTURE(size);
      CHECK(round_trips(codec, default_level(codec), Block(size, 0)));
      CHECK(round_trips(codec, default_level(codec), repetitive(size)));
      CHECK(round_trips(codec, default_level(codec), incompressible(size)));
      CHECK(round_trips(codec, default_level(codec), mixed(size)));
    }
  }
}

TEST_CASE("every level makes frames that come back") {
  const Block raw = mixed(100'000);
  for (const int level : {0, -1, -10, -1000, -32768}) CHECK(round_trips(Codec::kLz4, level, raw));
  for (int level = 1; level <= 12; ++level) CHECK(round_trips(Codec::kLz4Hc, level, raw));
  for (int level = -7; level <= 22; ++level) CHECK(round_trips(Codec::kZstd, level, raw));
}

TEST_CASE("what repeats shrinks, and harder work shrinks it more") {
  const Block raw = mixed(1 << 20);
  const std::size_t fast = encoded(Codec::kLz4, -100, raw).size();
  const std::size_t lz4 = encoded(Codec::kLz4, raw).size();
  const std::size_t hc = encoded(Codec::kLz4Hc, raw).size();
  const std::size_t zstd = encoded(Codec::kZstd, raw).size();
  CHECK(lz4 < raw.size() / 2);
  CHECK(hc <= lz4);
  CHECK(lz4 <= fast);
  CHECK(zstd < lz4);
  for (const Codec codec : kCodecs) CHECK(encoded(codec, incompressible(1 << 20)).size() > (1 << 20));
}

TEST_CASE("encode appends") {
  for (const Codec codec : kCodecs) {
    const Block raw = repetitive(1000);
    Block out = {1, 2, 3};
    REQUIRE(encode(codec, default_level(codec), raw, out).is_ok());
    CHECK(Block(out.begin(), out.begin() + 3) == Block{1, 2, 3});
    CHECK(Block(out.begin() + 3, out.end()) == encoded(codec, raw));
  }
  Block untouched = {7};
  CHECK(encode(Codec::kNone, 0, repetitive(10), untouched).is_ok());
  CHECK(untouched == Block{7});
}

TEST_CASE("another size than the frame's content is refused before anything is decoded") {
  const Block raw = repetitive(1000);
  for (const Codec codec : kCodecs) {
    const Block frame = encoded(codec, raw);
    for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{999}, std::size_t{1001}, std::size_t{5000}}) {
      Block out(size, 0xa5);
      const Status status = decode(codec, frame, out);
      CHECK(status.code() == Code::kCorrupt);
      CHECK(contains(status, "content size"));
      CHECK(contains(status, "expected " + std::to_string(size)));
      CHECK(contains(status, "found 1000"));
      CHECK(std::all_of(out.begin(), out.end(), [](std::uint8_t byte) { return byte == 0xa5; }));
    }
  }
}

TEST_CASE("every truncation is an error") {
  for (const Codec codec : kCodecs) {
    for (const Block& raw : {repetitive(600), incompressible(600), Block(600, 0), mixed(70'000)}) {
      const Block frame = encoded(codec, raw);
      const std::size_t step = frame.size() > 2000 ? 97 : 1;
      for (std::size_t size = 0; size < frame.size(); size += step) {
        const Block cut(frame.begin(), frame.begin() + static_cast<std::ptrdiff_t>(size));
        Block out(raw.size());
        // So little of an lz4 frame that it could not hold the block is over the ratio limit instead.
        const bool over_ratio = codec != Codec::kZstd && raw.size() > 255 * size + 65536;
        CHECK(decode(codec, cut, out).code() == (over_ratio ? Code::kLimitExceeded : Code::kCorrupt));
      }
    }
  }
}

TEST_CASE("bytes after the frame are an error, a second frame too") {
  const Block raw = repetitive(600);
  for (const Codec codec : kCodecs) {
    Block out(raw.size());
    for (const std::size_t extra : {std::size_t{1}, std::size_t{4}, std::size_t{100}}) {
      Block frame = encoded(codec, raw);
      frame.resize(frame.size() + extra, 0);
      CHECK(decode(codec, frame, out).code() == Code::kCorrupt);
    }
    Block twice = encoded(codec, raw);
    REQUIRE(encode(codec, default_level(codec), raw, twice).is_ok());
    CHECK(decode(codec, twice, out).code() == Code::kCorrupt);
    Block both(2 * raw.size());
    CHECK(decode(codec, twice, both).code() == Code::kCorrupt);
  }
}

// Sanitizer builds make this a test of bounds: every buffer has exactly its size.
TEST_CASE("every flipped bit is an error or decodes to exactly the asked size") {
  for (const Codec codec : kCodecs) {
    for (const Block& raw : {repetitive(300), incompressible(300), mixed(2000)}) {
      const Block frame = encoded(codec, raw);
      std::size_t errors = 0;
      for (std::size_t bit = 0; bit < frame.size() * 8; ++bit) {
        Block bad = frame;
        bad[bit / 8] = static_cast<std::uint8_t>(bad[bit / 8] ^ (1 << (bit % 8)));
        Block out(raw.size());
        const Status status = decode(codec, bad, out);
        if (status.is_ok()) continue;
        ++errors;
        CHECK((status.code() == Code::kCorrupt || status.code() == Code::kLimitExceeded));
      }
      CHECK(errors >= 6 * 8);  // The header at the least.
    }
  }
}

TEST_CASE("noise is never a frame") {
  for (std::uint64_t seed = 0; seed < 2000; ++seed) {
    const Block noise = incompressible(seed % 200, seed);
    for (const Codec codec : kCodecs) {
      Block out(100);
      CHECK(decode(codec, noise, out).code() == Code::kCorrupt);
    }
  }
}

TEST_CASE("noise behind a good header stays in bounds") {
  const Block raw = repetitive(2000);
  for (const Codec codec : kCodecs) {
    const Block frame = encoded(codec, raw);
    for (std::uint64_t seed = 0; seed < 2000; ++seed) {
      Block bad = frame;
      const std::size_t header = codec == Codec::kZstd ? 7 : 15;
      const Block noise = incompressible(bad.size(), seed);
      const std::size_t from = header + seed % (bad.size() - header);
      std::copy(noise.begin() + static_cast<std::ptrdiff_t>(from), noise.end(), bad.begin() + static_cast<std::ptrdiff_t>(from));
      Block out(raw.size());
      const Status status = decode(codec, bad, out);
      CHECK((status.is_ok() || status.code() == Code::kCorrupt));
    }
  }
}

TEST_CASE("a frame of one codec is not a frame of another") {
  const Block raw = repetitive(600);
  Block out(raw.size());
  CHECK(decode(Codec::kZstd, encoded(Codec::kLz4, raw), out).code() == Code::kCorrupt);
  CHECK(decode(Codec::kLz4, encoded(Codec::kZstd, raw), out).code() == Code::kCorrupt);
  CHECK(decode(Codec::kLz4, encoded(Codec::kLz4Hc, raw), out).is_ok());  // The same frame by another compressor.
  CHECK(decode(Codec::kNone, raw, out).code() == Code::kCorrupt);
  CHECK(decode(static_cast<Codec>(9), raw, out).code() == Code::kUnsupported);
}

TEST_CASE("threads encode and decode at the same time") {
  std::vector<int> wrong(6, 0);
  {
    std::vector<std::jthread> threads;
    for (std::size_t t = 0; t < wrong.size(); ++t) {
      threads.emplace_back([&, t] {
        for (std::size_t i = 0; i < 30; ++i) {
          const Codec codec = kCodecs[(i + t) % 3];
          const Block raw = mixed(10'000 + 1000 * i + t);
          Block frame;
          Block out(raw.size());
          if (!encode(codec, default_level(codec), raw, frame).is_ok()) ++wrong[t];
          if (!decode(codec, frame, out).is_ok() || out != raw) ++wrong[t];
        }
      });
    }
  }
  CHECK(wrong == std::vector<int>(6, 0));
}

}  // namespace
}  // namespace headrace::codec
