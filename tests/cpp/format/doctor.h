// A shard file in memory whose structures can be changed and sealed again with right hashes: damage that only the
// arithmetic can find. Tests only.
#pragma once

#include <algorithm>
#include <string>

#include "format/fixture.h"
#include "headrace/codec/checksum.h"

namespace headrace::format {

class Doctor {
 public:
  explicit Doctor(Buffer file) : bytes(std::move(file)) {}

  std::uint8_t* footer() { return bytes.data() + bytes.size() - kFooterBytes; }
  std::uint64_t index_offset() { return load_le<std::uint64_t>(footer() + 56); }
  std::uint64_t schema_offset() { return load_le<std::uint64_t>(footer() + 72); }
  std::uint32_t num_fields() { return load_le<std::uint32_t>(footer() + 12); }
  std::uint8_t* chunk_entry(std::uint64_t chunk) {
    return bytes.data() + index_offset() + chunk * (kChunkEntryBytes + kPageEntryBytes * num_fields());
  }
  std::uint8_t* page_entry(std::uint64_t chunk, std::uint32_t field) {
    return chunk_entry(chunk) + kChunkEntryBytes + field * kPageEntryBytes;
  }
  codec::Uuid uuid() {
    codec::Uuid out;
    std::copy_n(bytes.begin() + 16, 16, out.begin());
    return out;
  }
  // The page's block table, and its hash in the index after a change.
  std::uint8_t* table(std::uint64_t chunk, std::uint32_t field) {
    return bytes.data() + load_le<std::uint64_t>(chunk_entry(chunk)) + load_le<std::uint64_t>(page_entry(chunk, field));
  }
  void seal_table(std::uint64_t chunk, std::uint32_t field) {
    const std::uint64_t blocks = load_le<std::uint32_t>(page_entry(chunk, field) + 32);
    const std::uint64_t seed = codec::place_seed(uuid(), codec::Region::kPage, field, chunk);
    store_le(page_entry(chunk, field) + 40, codec::hash({table(chunk, field), blocks * kBlockEntryBytes}, seed));
  }
  // Makes the hash of a stored block right again.
  void seal_block(std::uint64_t chunk, std::uint32_t field, std::uint32_t block) {
    std::uint8_t* const entry = table(chunk, field) + block * kBlockEntryBytes;
    const std::uint64_t seed = codec::place_seed(uuid(), codec::Region::kPage, field, chunk);
    store_le(entry + 16, codec::hash({table(chunk, field) + load_le<std::uint64_t>(entry), load_le<std::uint32_t>(entry + 8)}, seed));
  }
  // Makes all hashes of header, index, schema and footer right. The footer's offsets must lie inside the file.
  Buffer& seal() {
    std::uint8_t* const foot = footer();
    const auto region = [&](int at) {
      return Bytes(bytes).subspan(load_le<std::uint64_t>(foot + at), load_le<std::uint64_t>(foot + at + 8));
    };
    store_le(foot + 88, codec::hash(region(56), codec::place_seed(uuid(), codec::Region::kIndex)));
    store_le(foot + 96, codec::hash(region(72), codec::place_seed(uuid(), codec::Region::kSchema)));
    return seal_ends();
  }
  Buffer& seal_ends() {
    std::uint8_t* const foot = footer();
    store_le(foot + 112, codec::hash({foot, 112}, codec::place_seed(uuid(), codec::Region::kFooter)));
    store_le(bytes.data() + 4088, codec::hash({bytes.data(), 4088}, codec::place_seed(uuid(), codec::Region::kHeader)));
    return bytes;
  }

  Buffer bytes;
};

}  // namespace headrace::format
