// Converts values while they are copied: rows of one dtype become rows of another, in the pass that gathers them.
//
// Values are those of numpy's astype; float to bfloat16, which numpy lacks, rounds to nearest even, integers and float64 by way of float32,
// as torch does. Allowed are casts that keep every integer exact (bool to any number, an integer to a wider one), integers to floats, and
// floats to floats; the last two may round. Bits do not depend on the processor, but for the payloads of NaNs.
//
// Owns nothing; any thread. Sources and destination must not overlap.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "headrace/format/schema.h"

namespace headrace::ops {

bool can_cast(format::DType from, format::DType to);

// out[i] = in[i] as `to`, for `count` elements. No alignment is needed. REQUIRES: can_cast(from, to).
void cast(format::DType from, format::DType to, const std::uint8_t* in, std::size_t count, std::uint8_t* out);

// The same for rows of `count` elements from anywhere, one after the other in `out`; asks for bytes ahead as gather_rows() does.
void cast_rows(format::DType from, format::DType to, std::span<const std::uint8_t* const> rows, std::size_t count, std::uint8_t* out);

}  // namespace headrace::ops
