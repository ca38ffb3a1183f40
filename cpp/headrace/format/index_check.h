// The index of a shard: its entries, and the arithmetic that they must obey. FORMAT.md section 4.
//
// Owns nothing; any thread.
#pragma once

#include <cstdint>
#include <vector>

#include "headrace/base/bytes.h"
#include "headrace/base/status.h"
#include "headrace/format/framing.h"
#include "headrace/format/limits.h"
#include "headrace/format/schema.h"
#include "headrace/format/shard_reader.h"

namespace headrace::format {

inline constexpr std::uint32_t kFlagMinMax = 1;

struct PageEntry {
  std::uint64_t offset = 0;  // from the start of the chunk
  std::uint64_t bytes = 0;
  std::uint64_t values_bytes = 0;  // decoded
  std::uint64_t first_block = 0;
  std::uint32_t num_blocks = 0;
  std::uint32_t flags = 0;
  std::uint64_t table_hash = 0;
  std::uint64_t min = 0, max = 0;
  std::uint64_t null_count = 0;
};

inline PageEntry decode_page_entry(const std::uint8_t* at) {
  return {load_le<std::uint64_t>(at),      load_le<std::uint64_t>(at + 8),  load_le<std::uint64_t>(at + 16),
          load_le<std::uint64_t>(at + 24), load_le<std::uint32_t>(at + 32), load_le<std::uint32_t>(at + 36),
          load_le<std::uint64_t>(at + 40), load_le<std::uint64_t>(at + 48), load_le<std::uint64_t>(at + 56),
          load_le<std::uint64_t>(at + 64)};
}
void encode_page_entry(const PageEntry& entry, std::uint8_t* at);  // 72 bytes

struct IndexFacts {
  const Schema& schema;
  const Footer& footer;
  std::uint32_t chunk_samples;
  const Limits& limits;
  bool newer_minor;  // then reserved bits may be set
};

// Checks that the chunks cover the file from the header to the index without hole or overlap, and every number of every
// page that follows from the others.
// REQUIRES: index has footer.num_chunks entries. Errors: kCorrupt, kLimitExceeded.
Status check_index(const IndexFacts& facts, Bytes index, IndexSums* sums);

}  // namespace headrace::format
