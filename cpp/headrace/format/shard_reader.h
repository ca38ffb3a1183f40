// One open shard: its schema and its index, checked, and where every block lies. Reads no sample.
//
// Owns:     heap copies of the index and the schema. The descriptor is closed once open() returns, so ten thousand open
//           shards cost no file handles; whoever reads samples opens or maps `path()` itself (see io/).
// Threads:  immutable after open(); any thread may call anything.
// Forking:  safe: no lock, no thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "headrace/base/bytes.h"
#include "headrace/base/status.h"
#include "headrace/codec/checksum.h"
#include "headrace/format/limits.h"
#include "headrace/format/schema.h"
#include "headrace/storage/file.h"

namespace headrace::format {

enum class Section : std::uint8_t { kValidity = 0, kOffsets = 1, kValues = 2 };

// Where one section of a page lies. Blocks are numbered inside the page, sections in order.
struct SectionRef {
  std::uint64_t offset = 0;  // of its first byte, in the file
  std::uint64_t decoded_bytes = 0;
  std::uint32_t first_block = 0;
  std::uint32_t num_blocks = 0;
  std::uint32_t block_bytes = 0;  // decoded size of all its blocks but the last
};

// An index entry with what follows from it by arithmetic.
struct PageRef {
  std::uint64_t offset = 0;  // of the page (its block table) in the file
  std::uint64_t stored_bytes = 0;
  std::uint64_t first_block = 0;  // number of its first block in the shard
  std::uint32_t num_blocks = 0;
  std::uint32_t num_samples = 0;
  std::uint32_t offset_width = 0;  // 4 or 8; 0 for tensors
  SectionRef sections[3];          // by Section; absent ones have no bytes and no blocks
  std::uint64_t table_hash = 0;
  bool has_min_max = false;
  std::uint64_t min = 0, max = 0;  // FORMAT.md section 6, "Statistics"
  std::uint64_t null_count = 0;

  const SectionRef& section(Section which) const { return sections[static_cast<int>(which)]; }
};

// One entry of a page's block table.
struct BlockRef {
  std::uint64_t offset = 0;  // in the file
  std::uint32_t stored_bytes = 0;
  std::uint32_t decoded_bytes = 0;
  std::uint64_t hash = 0;
};

// What an index says, beside its entries.
struct IndexSums {
  std::vector<std::uint64_t> values_offsets, field_blocks;  // as Shard's of these names say
};

// What the manifest says of a shard, to hold its file against.
struct ShardEntry {
  std::string file_name;
  codec::Uuid uuid{};
  std::uint64_t file_bytes = 0;
  std::uint64_t num_samples = 0;
  std::uint32_t chunk_samples = 0;
  std::uint64_t footer_hash = 0;
  bool operator==(const ShardEntry&) const = default;
};

class Shard {
 public:
  // Reads and checks header, footer, index and schema: hashes, exact cover of the file, arithmetic of every page, limits.
  // With `expected`, the file must be the one that the manifest names (else kChanged).
  // Errors: kNotFound, kIoError; kTruncated (shorter than its structures, or unfinished), kCorrupt (anything else that
  // is wrong, naming region, offset, expected and found), kUnsupported (another major, a critical extension),
  // kLimitExceeded, kInvalidArgument ("not a headrace shard": wrong magic at the start; kCorrupt with `expected`).
  static Result<std::shared_ptr<const Shard>> open(const std::string& path, const Limits& limits, const ShardEntry* expected = nullptr);

  const std::string& path() const { return path_; }
  const codec::Uuid& uuid() const { return uuid_; }
  const Schema& schema() const { return schema_; }
  std::uint64_t num_samples() const { return num_samples_; }
  std::uint32_t chunk_samples() const { return chunk_samples_; }
  std::uint64_t num_chunks() const { return num_chunks_; }
  std::uint64_t num_blocks() const { return num_blocks_; }
  std::uint64_t file_bytes() const { return file_bytes_; }
  std::uint64_t footer_hash() const { return footer_hash_; }
  const storage::FileIdentity& identity() const { return identity_; }
  // True if the file says a newer minor version than this library knows.
  bool newer_minor() const { return newer_minor_; }

  std::uint32_t samples_in_chunk(std::uint64_t chunk) const;
  std::uint64_t chunk_offset(std::uint64_t chunk) const;
  std::uint64_t chunk_bytes(std::uint64_t chunk) const;  // stored, with padding
  PageRef page(std::uint64_t chunk, std::uint32_t field) const;
  // File offset of the values section of (chunk, field): what the gather of raw tensors needs, one load.
  std::uint64_t values_offset(std::uint64_t chunk, std::uint32_t field) const {
    return sums_.values_offsets[chunk * schema_.fields.size() + field];
  }
  // The table behind values_offset(): [chunk * number of fields + field].
  const std::vector<std::uint64_t>& values_offsets() const { return sums_.values_offsets; }
  std::uint64_t field_blocks(std::uint32_t field) const { return sums_.field_blocks[field]; }  // in all chunks
  std::uint64_t page_seed(std::uint64_t chunk, std::uint32_t field) const;

  // Checks a block table (`table` is its num_blocks * 24 bytes) against the index and every rule of FORMAT.md section 5.
  // Errors: kCorrupt, kLimitExceeded.
  Status check_table(std::uint64_t chunk, std::uint32_t field, Bytes table) const;
  // REQUIRES: check_table() was ok for these bytes; block < num_blocks.
  static BlockRef block(const PageRef& page, Bytes table, std::uint32_t block);
  // Checks the stored bytes of a block against its hash. Errors: kCorrupt, naming shard, chunk, field, block, offset.
  Status check_block(std::uint64_t chunk, std::uint32_t field, std::uint32_t block, const BlockRef& ref, Bytes stored) const;
  // Decodes a block of the values section (codec, then filter) into exactly ref.decoded_bytes. `scratch` is used where a
  // filter follows a codec and is resized as needed. Errors: kCorrupt, kLimitExceeded, named as above.
  Status decode_block(std::uint64_t chunk, std::uint32_t field, std::uint32_t block, const BlockRef& ref, Bytes stored, MutableBytes out,
                      std::vector<std::uint8_t>& scratch) const;
  // The codec's part of that alone: the bytes as the filter left them.
  Status decode_frame(std::uint64_t chunk, std::uint32_t field, std::uint32_t block, const BlockRef& ref, Bytes stored,
                      MutableBytes out) const;
  // Checks all offsets of a variable-length page (they start at 0, never decrease, end at the values' bytes, suit the row size).
  // `begin` is the number of the first offset in `offsets`, which may be a part: the order across two parts is checked only
  // if they share an offset. Errors: kCorrupt.
  Status check_offsets(std::uint64_t chunk, std::uint32_t field, const PageRef& page, std::uint32_t begin, Bytes offsets) const;

  // "shard x.hrs, chunk 3, field 'label'": the start of every message about a place.
  std::string describe(std::uint64_t chunk, std::uint32_t field) const;

 private:
  Shard() = default;
  Status load(const storage::File& file, const ShardEntry* expected);
  const std::uint8_t* chunk_entry(std::uint64_t chunk) const;
  std::string describe_block(std::uint64_t chunk, std::uint32_t field, std::uint32_t block, const BlockRef& ref) const;
  std::string path_;
  codec::Uuid uuid_{};
  Schema schema_;
  Dictionaries dictionaries_;  // by field
  std::uint64_t num_samples_ = 0, num_chunks_ = 0, num_blocks_ = 0, file_bytes_ = 0, footer_hash_ = 0;
  std::uint32_t chunk_samples_ = 1;
  bool newer_minor_ = false;
  Limits limits_;
  storage::FileIdentity identity_;
  std::unique_ptr<std::uint8_t[]> index_;
  IndexSums sums_;
};

}  // namespace headrace::format
