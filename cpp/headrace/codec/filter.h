// Reversible re-arrangements that make numbers compress better: byte shuffle and delta. FORMAT.md section 5.
//
// Owns nothing; any thread. `in` and `out` must not overlap and have the same size, a multiple of `element_bytes`.
#pragma once

#include <cstdint>
#include <string_view>

#include "headrace/base/bytes.h"
#include "headrace/base/status.h"

namespace headrace::codec {

enum class Filter : std::uint8_t { kNone = 0, kShuffle = 1, kDelta = 2, kDeltaShuffle = 3 };

Result<Filter> filter_from_name(std::string_view name);  // "none" "shuffle" "delta" "delta+shuffle"
const char* filter_name(Filter filter);

void apply_filter(Filter filter, std::uint32_t element_bytes, Bytes in, MutableBytes out);
void revert_filter(Filter filter, std::uint32_t element_bytes, Bytes in, MutableBytes out);

}  // namespace headrace::codec
