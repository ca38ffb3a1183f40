#include "headrace/format/utf8.h"

namespace headrace::format {
namespace {

// Bytes of the valid character at the start of `text`, or 0.
std::uint64_t character_bytes(Bytes text) {
  const std::uint32_t first = text[0];
  if (first < 0x80) return 1;
  const std::uint32_t length = first < 0xC2 ? 0 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : first < 0xF5 ? 4 : 0;
  if (length == 0 || text.size() < length) return 0;
  std::uint32_t point = first & (0x7Fu >> length);
  for (std::uint32_t i = 1; i < length; ++i) {
    if (!is_utf8_continuation(text[i])) return 0;
    point = point << 6 | (text[i] & 0x3Fu);
  }
  const bool overlong = (length == 3 && point < 0x800) || (length == 4 && point < 0x10000);
  const bool surrogate = point >= 0xD800 && point < 0xE000;
  return overlong || surrogate || point > 0x10FFFF ? 0 : length;
}

}  // namespace

std::uint64_t utf8_prefix(Bytes text) {
  constexpr std::uint64_t kHighBits = 0x8080808080808080u;
  std::uint64_t at = 0;
  while (at < text.size()) {
    while (text.size() - at >= 16) {  // Most text is mostly ASCII: two words a step.
      const auto a = load_le<std::uint64_t>(text.data() + at);
      const auto b = load_le<std::uint64_t>(text.data() + at + 8);
      if (((a | b) & kHighBits) != 0) break;
      at += 16;
    }
    if (at == text.size()) break;
    // Past the word that stopped the loop: character by character up to the next ASCII stretch.
    const std::uint64_t stop = text.size() - at < 16 ? text.size() : at + 16;
    while (at < stop) {
      const std::uint64_t length = character_bytes(text.subspan(at));
      if (length == 0) return at;
      at += length;
    }
  }
  return at;
}

}  // namespace headrace::format
