#include "headrace/codec/dictionary.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <numeric>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "codec/codec_samples.h"
#include "headrace/codec/codec.h"

namespace headrace::codec {
namespace {

using Block = std::vector<std::uint8_t>;

// Short texts that share words and little else: nothing for a codec to find in one alone.
Block text(unsigned number) {
  static const char* const words[] = {"head", "race", "water", "turbine", "channel", "trainer", "batch", "sample", "shard", "epoch"};
  std::mt19937 random(number);
  std::string out = "sample " + std::to_string(number) + ":";
  for (int i = 0; i < 30; ++i) out += std::string(" ") + words[random() % 10];
  return {out.begin(), out.end()};
}

std::shared_ptr<const Dictionary> trained() {
  Block samples;
  std::vector<std::size_t> sizes;
  for (unsigned i = 0; i < 1000; ++i) {
    const Block one = text(i);
    samples.insert(samples.end(), one.begin(), one.end());
    sizes.push_back(one.size());
  }
  const auto made = Dictionary::train(samples, sizes, 4096);
  REQUIRE_MESSAGE(made.is_ok(), made.status().message());
  return *made;
}

Block encoded(const Block& raw, const Dictionary* dictionary, int level = 3) {
  Block frame;
  REQUIRE(encode(Codec::kZstd, level, raw, frame, dictionary).is_ok());
  return frame;
}

TEST_CASE("small blocks shrink with a dictionary and come back, at every level") {
  const auto dictionary = trained();
  for (const int level : {-7, 1, 3, 19, 22}) {
    for (unsigned i = 2000; i < 2050; ++i) {
      const Block raw = text(i);
      const Block frame = encoded(raw, dictionary.get(), level);
      CHECK(frame.size() < encoded(raw, nullptr, level).size());
      Block back(raw.size());
      REQUIRE(decode(Codec::kZstd, frame, back, dictionary.get()).is_ok());
      CHECK(back == raw);
    }
  }
}

TEST_CASE("a thread goes from one dictionary to none and back") {
  const auto dictionary = trained();
  const Block raw = text(3000);
  const Block with = encoded(raw, dictionary.get()), without = encoded(raw, nullptr);
  for (int i = 0; i < 3; ++i) {
    CHECK(encoded(raw, dictionary.get()) == with);
    CHECK(encoded(raw, nullptr) == without);
    Block back(raw.size());
    CHECK(decode(Codec::kZstd, without, back).is_ok());
    CHECK(back == raw);
    CHECK(decode(Codec::kZstd, with, back, dictionary.get()).is_ok());
    CHECK(back == raw);
  }
}

TEST_CASE("a dictionary that went while its thread lives leaves nothing behind") {
  Block with;
  const Block raw = text(1);
  with = encoded(raw, trained().get());
  const Block plain = encoded(raw, nullptr);
  Block back(raw.size());
  CHECK(decode(Codec::kZstd, plain, back).is_ok());
  CHECK(back == raw);
}

TEST_CASE("equal bytes are one dictionary") {
  const auto dictionary = trained();
  const auto again = Dictionary::make(dictionary->bytes());
  REQUIRE(again.is_ok());
  CHECK(*again == dictionary);
  CHECK(std::equal(dictionary->bytes().begin(), dictionary->bytes().end(), trained()->bytes().begin(), trained()->bytes().end()));
}

TEST_CASE("without its dictionary a frame is an error or other bytes") {
  const auto dictionary = trained();
  for (unsigned i = 0; i < 100; ++i) {
    const Block raw = text(i), frame = encoded(raw, dictionary.get());
    Block back(raw.size());
    const Status status = decode(Codec::kZstd, frame, back);
    if (status.is_ok()) {
      CHECK(back != raw);
    } else {
      CHECK(status.code() == Code::kCorrupt);
    }
  }
}

TEST_CASE("what is no dictionary is refused") {
  for (const std::size_t size : {std::size_t{0}, std::size_t{3}, std::size_t{255}, std::size_t{5000}}) {
    CHECK(Dictionary::make(incompressible(size)).status().code() == Code::kCorrupt);
  }
  const auto dictionary = trained();
  for (const std::size_t size : {std::size_t{4}, std::size_t{8}, std::size_t{100}, std::size_t{255}}) {
    CHECK(Dictionary::make(dictionary->bytes().first(size)).status().code() == Code::kCorrupt);
  }
  const std::vector<std::size_t> sizes(3, 5);
  CHECK(Dictionary::train(incompressible(15), sizes, 1024).status().code() == Code::kInvalidArgument);
}

TEST_CASE("mutated frames and mutated dictionaries never leave their bounds") {
  const auto dictionary = trained();
  std::mt19937_64 random(5);
  for (int round = 0; round < 4000; ++round) {
    const Block raw = text(static_cast<unsigned>(round % 50));
    Block frame = encoded(raw, dictionary.get());
    for (std::uint64_t flips = 1 + random() % 4; flips > 0; --flips)
      frame[random() % frame.size()] ^= static_cast<std::uint8_t>(1u << random() % 8);
    if (round % 5 == 0) frame.resize(random() % (frame.size() + 1));
    Block back(raw.size());  // Exactly as large: a byte too many is seen by the sanitizer.
    const Status status = decode(Codec::kZstd, frame, back, dictionary.get());
    CHECK((status.is_ok() || status.code() == Code::kCorrupt || status.code() == Code::kLimitExceeded));
  }
  const Block frame = encoded(text(7), dictionary.get());
  for (int round = 0; round < 300; ++round) {
    Block bytes(dictionary->bytes().begin(), dictionary->bytes().end());
    bytes[4 + random() % 200] ^= static_cast<std::uint8_t>(1 + random() % 255);
    const auto damaged = Dictionary::make(bytes);
    if (!damaged.is_ok()) {
      CHECK(damaged.status().code() == Code::kCorrupt);
      continue;
    }
    Block back(text(7).size());
    const Status status = decode(Codec::kZstd, frame, back, damaged->get());
    CHECK((status.is_ok() || status.code() == Code::kCorrupt));
  }
}

TEST_CASE("threads share a dictionary, and make the same one at the same time") {
  const auto dictionary = trained();
  const Block bytes(dictionary->bytes().begin(), dictionary->bytes().end());
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 8; ++t) {
    threads.emplace_back([&, t] {
      for (unsigned i = 0; i < 100; ++i) {
        const auto own = Dictionary::make(bytes);
        const Block raw = text(t * 1000 + i);
        Block frame, back(raw.size());
        if (!own.is_ok() || !encode(Codec::kZstd, 1 + static_cast<int>(i % 3), raw, frame, own->get()).is_ok() ||
            !decode(Codec::kZstd, frame, back, dictionary.get()).is_ok() || back != raw) {
          ++wrong;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == 0);
}

}  // namespace
}  // namespace headrace::codec
