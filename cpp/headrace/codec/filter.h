// Reversible re-arrangements that make numbers compress better: byte shuffle, bit shuffle and delta. FORMAT.md section 5.
//
// Owns nothing; any thread. `in` and `out` must not overlap and have the same size, a multiple of `element_bytes`
// (bytes after the last whole element, which only damaged files have, are copied as they are).
#pragma once

#include <cstdint>
#include <string_view>

#include "headrace/base/bytes.h"
#include "headrace/base/status.h"

namespace headrace::codec {

enum class Filter : std::uint8_t { kNone = 0, kShuffle = 1, kDelta = 2, kDeltaShuffle = 3, kBitShuffle = 4 };

Result<Filter> filter_from_name(std::string_view name);  // "none" "shuffle" "delta" "delta+shuffle" "bitshuffle"
const char* filter_name(Filter filter);
// Whether the filter can serve elements of this size: delta takes 1, 2, 4 and 8 bytes, the shuffles any size above 0.
bool filter_allows(Filter filter, std::uint32_t element_bytes);

// REQUIRES, for both: filter_allows(filter, element_bytes).
void apply_filter(Filter filter, std::uint32_t element_bytes, Bytes in, MutableBytes out);
void revert_filter(Filter filter, std::uint32_t element_bytes, Bytes in, MutableBytes out);

}  // namespace headrace::codec
