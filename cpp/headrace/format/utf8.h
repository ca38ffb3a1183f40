// Is this text UTF-8? Strict: no overlong forms, no surrogates, nothing beyond U+10FFFF.
//
// Owns nothing; any thread.
#pragma once

#include <cstdint>

#include "headrace/base/bytes.h"

namespace headrace::format {

// Length of the longest valid prefix that ends on a whole character; equals text.size() exactly if all of it is valid.
std::uint64_t utf8_prefix(Bytes text);
inline bool is_utf8(Bytes text) { return utf8_prefix(text) == text.size(); }
// True for a byte that continues a character, so that no string may start with it.
inline bool is_utf8_continuation(std::uint8_t byte) { return (byte & 0xC0u) == 0x80u; }

}  // namespace headrace::format
