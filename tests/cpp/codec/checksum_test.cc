#include "headrace/codec/checksum.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "headrace/codec/xxh3.h"

namespace headrace::codec {
namespace {

Uuid counting_uuid() {
  Uuid uuid;
  for (std::size_t i = 0; i < uuid.size(); ++i) uuid[i] = static_cast<std::uint8_t>(i);
  return uuid;
}

// The numbers are those of the Python package xxhash.
TEST_CASE("hash is XXH3-64 with a seed") {
  CHECK(hash({}, 0) == 0x2d06800538d394c2);
  const std::string text = "headrace";
  CHECK(hash({reinterpret_cast<const std::uint8_t*>(text.data()), text.size()}, 1) == 0x5064b94d4667944e);
  std::vector<std::uint8_t> bytes(5000);
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::uint8_t>(i % 251);
  CHECK(hash(bytes, 0xfedcba9876543210) == 0xb3d09ca0d2a50391);
}

TEST_CASE("every version of the hash that this machine runs gives the same numbers") {
  Xxh3 versions[3] = {};
  const std::size_t count = xxh3_versions(versions);
  REQUIRE(count >= 1);
  std::vector<std::uint8_t> bytes(20'000);
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::uint8_t>(i * i % 253);
  for (std::size_t size = 0; size <= bytes.size(); size += size < 600 ? 1 : 487) {
    for (const std::uint64_t seed : {0ull, 0xfedcba9876543210ull}) {
      const std::uint64_t expected = xxh3_baseline(bytes.data() + size % 7, size - std::min<std::size_t>(size, 7), seed);
      for (std::size_t v = 0; v < count; ++v)
        REQUIRE(versions[v](bytes.data() + size % 7, size - std::min<std::size_t>(size, 7), seed) == expected);
    }
  }
}

TEST_CASE("a place's seed is the hash of its 32 bytes") {
  CHECK(place_seed(counting_uuid(), Region::kPage, 7, 0x1122334455) == 0x41510c5b87187cc9);
}

TEST_CASE("every part of a place matters") {
  const Uuid uuid = counting_uuid();
  Uuid other = uuid;
  other[15] ^= 0x80;
  const std::set<std::uint64_t> seeds = {
      place_seed(uuid, Region::kPage),
      place_seed(uuid, Region::kIndex),
      place_seed(uuid, Region::kPage, 1),
      place_seed(uuid, Region::kPage, 0, 1),
      place_seed(uuid, Region::kPage, 0, std::uint64_t{1} << 32),
      place_seed(other, Region::kPage),
  };
  CHECK(seeds.size() == 6);
}

}  // namespace
}  // namespace headrace::codec
