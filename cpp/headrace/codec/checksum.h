// XXH3-64, bound to place: what is copied elsewhere fails its check. FORMAT.md section 1.
//
// Owns nothing; any thread.
#pragma once

#include <array>
#include <cstdint>

#include "headrace/base/bytes.h"

namespace headrace::codec {

using Uuid = std::array<std::uint8_t, 16>;

enum class Region : std::uint32_t { kHeader = 1, kPage = 2, kIndex = 3, kSchema = 4, kFooter = 5, kManifest = 6 };

std::uint64_t hash(Bytes bytes, std::uint64_t seed);
std::uint64_t place_seed(const Uuid& uuid, Region region, std::uint32_t field = 0, std::uint64_t chunk = 0);

}  // namespace headrace::codec
