#include "headrace/ops/text_parts.h"

#include <algorithm>

namespace headrace::ops {

void add_texts(const TextRows& from, std::size_t rows, TextBuffer& to) {
  if (to.offsets.empty()) to.clear();
  for (std::size_t row = 0; row < rows; ++row) {
    to.append(from.at(row));
    to.end_row(!from.is_null(row));
  }
}

std::size_t TextParts::rows() const {
  std::size_t rows = 0;
  for (const TextBuffer& part : parts_) rows += part.valid.size();
  return rows;
}

std::size_t TextParts::bytes() const {
  std::size_t bytes = 0;
  for (const TextBuffer& part : parts_) bytes += part.values.size();
  return bytes;
}

void TextParts::join(std::uint8_t* values, std::int64_t* offsets, std::uint8_t* valid) const {
  std::int64_t at = 0;
  *offsets++ = 0;
  for (const TextBuffer& part : parts_) {
    std::copy(part.values.begin(), part.values.end(), values + at);
    valid = std::copy(part.valid.begin(), part.valid.end(), valid);
    for (std::size_t i = 1; i < part.offsets.size(); ++i) *offsets++ = at + part.offsets[i];
    at += static_cast<std::int64_t>(part.values.size());
  }
}

}  // namespace headrace::ops
