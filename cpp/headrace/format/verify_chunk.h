// Checks every byte of one chunk of an open shard.
//
// ChunkChecker owns its buffers and is used again and again; one thread at a time.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "headrace/base/bytes.h"
#include "headrace/base/status.h"
#include "headrace/format/shard_reader.h"
#include "headrace/format/verify.h"
#include "headrace/storage/mapping.h"

namespace headrace::format {

// A mapped file, front to back, a stretch at a time: each is read into memory before it is touched.
class Window {
 public:
  void open(const storage::Mapping* file, std::uint64_t end);
  // [offset, offset + length), in place. Reads ahead, but never beyond `end`. REQUIRES: offset + length <= end.
  Result<Bytes> view(std::uint64_t offset, std::uint64_t length);

 private:
  const storage::Mapping* file_ = nullptr;
  std::uint64_t end_ = 0;
  std::uint64_t ready_begin_ = 0, ready_end_ = 0;  // in memory
};

class ChunkChecker {
 public:
  explicit ChunkChecker(bool decode) : decode_(decode) {}
  // Adds what is damaged to `damages`, in file order. Padding, tables, block hashes, offsets, validity; with `decode` also
  // the decoding of all blocks, bools, UTF-8, the zeros under nulls, and the statistics of scalar fields.
  void check(const Shard& shard, const storage::Mapping& file, std::uint64_t chunk, std::vector<Damage>* damages);

 private:
  void check_page();
  bool check_table();
  // Checks the hashes of a section's blocks, copying them to `copy` if given; false if some block is damaged.
  bool check_section(Section which, std::vector<std::uint8_t>* copy);
  void check_validity();
  void check_offsets();
  void check_values();
  Status check_decoded(const BlockRef& ref, std::uint32_t block, Bytes stored);
  Status check_text(std::uint32_t block, std::uint64_t size);
  Status check_nulls(std::uint64_t begin, Bytes decoded) const;
  void check_statistics();
  void check_padding(std::uint64_t begin, std::uint64_t end);
  void report(std::uint64_t offset, std::uint64_t bytes, Status status);
  Status wrong(const std::string& what) const;
  const Field& field() const { return shard_->schema().fields[field_]; }
  bool is_null(std::uint64_t sample) const { return (validity_[sample / 8] >> (sample % 8) & 1) == 0; }
  std::uint64_t offset_at(std::uint64_t i) const;

  const bool decode_;
  Window window_;
  const Shard* shard_ = nullptr;
  std::uint64_t chunk_ = 0;
  std::uint32_t field_ = 0;
  PageRef page_;
  std::vector<Damage>* damages_ = nullptr;
  std::size_t page_damages_ = 0;
  bool has_validity_ = false, has_offsets_ = false, text_broken_ = false;
  std::uint64_t text_row_ = 0;    // first string not yet checked to start on a character
  std::uint64_t text_carry_ = 0;  // bytes of a character cut by the end of the block before, at the front of decoded_
  std::vector<std::uint8_t> table_, validity_, offsets_, decoded_, scratch_;
  std::vector<std::uint8_t> scalars_;  // decoded values of a page that has statistics
};

}  // namespace headrace::format
