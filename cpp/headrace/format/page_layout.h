// Where the sections of a page lie, by arithmetic: the one home of FORMAT.md section 5's sizes, for writer and reader.
//
// Owns nothing; any thread.
#pragma once

#include <cstdint>

#include "headrace/base/bytes.h"
#include "headrace/format/schema.h"
#include "headrace/format/shard_reader.h"

namespace headrace::format {

struct PageLayout {
  std::uint64_t table_bytes = 0;
  std::uint32_t num_blocks = 0;
  std::uint32_t offset_width = 0;  // 4 or 8; 0 for tensors
  SectionRef sections[3];          // by Section; offsets from the start of the page

  const SectionRef& section(Section which) const { return sections[static_cast<int>(which)]; }
  // Values are last, so this is the page's size but for their stored bytes.
  std::uint64_t values_offset() const { return section(Section::kValues).offset; }
  std::uint64_t values_bytes() const { return section(Section::kValues).decoded_bytes; }
};

// False if the page would have 2^32 blocks or more, or 2^62 bytes or more.
[[nodiscard]] bool layout_page(const Field& field, std::uint32_t num_samples, std::uint64_t values_bytes, PageLayout* out);

// Decoded bytes of block `block` of a section (numbered in the page).
inline std::uint32_t decoded_block_bytes(const SectionRef& section, std::uint32_t block) {
  const std::uint64_t begin = std::uint64_t{block - section.first_block} * section.block_bytes;
  const std::uint64_t left = section.decoded_bytes - begin;
  return left < section.block_bytes ? static_cast<std::uint32_t>(left) : section.block_bytes;
}

}  // namespace headrace::format
