// Copies text and says whether it is ASCII, in one pass: most text is, and then its bytes are its characters.
//
// Owns nothing; any thread. Source and destination must not overlap.
#pragma once

#include <cstddef>
#include <cstdint>

namespace headrace::ops {

// out[0 .. count) = in[0 .. count). False if any byte is above 127; out is written all the same.
bool copy_ascii(const std::uint8_t* in, std::size_t count, std::uint8_t* out);

}  // namespace headrace::ops
