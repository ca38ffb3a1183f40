// Texts that steps make, kept beyond their tile: a buffer for each task, which are one field in the end.
//
// Owns:     the bytes. Threads: each buffer is one task's; join() once all have ended.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "headrace/ops/field_tile.h"

namespace headrace::ops {

// Adds the first `rows` of a tile's texts. Throws bad_alloc.
void add_texts(const TextRows& from, std::size_t rows, TextBuffer& to);

// In the order of rows; a part that was never added to holds none.
class TextParts {
 public:
  explicit TextParts(std::size_t parts) : parts_(parts) {}
  TextBuffer& part(std::size_t number) { return parts_[number]; }

  std::size_t rows() const;
  std::size_t bytes() const;
  // values: bytes(); offsets: rows() + 1, from 0 on; valid: rows(), a byte each.
  void join(std::uint8_t* values, std::int64_t* offsets, std::uint8_t* valid) const;

 private:
  std::vector<TextBuffer> parts_;
};

}  // namespace headrace::ops
