#include "headrace/codec/checksum.h"

#include <cstring>

#include "headrace/codec/xxh3.h"

namespace headrace::codec {
namespace {

Xxh3 best() {
  Xxh3 versions[3] = {};
  return versions[xxh3_versions(versions) - 1];
}

}  // namespace

std::uint64_t hash(Bytes bytes, std::uint64_t seed) {
  static const Xxh3 function = best();
  return function(bytes.data(), bytes.size(), seed);
}

std::uint64_t place_seed(const Uuid& uuid, Region region, std::uint32_t field, std::uint64_t chunk) {
  std::array<std::uint8_t, 32> place;
  std::memcpy(place.data(), uuid.data(), uuid.size());
  store_le(place.data() + 16, static_cast<std::uint32_t>(region));
  store_le(place.data() + 20, field);
  store_le(place.data() + 24, chunk);
  return hash(place, 0);
}

}  // namespace headrace::codec
