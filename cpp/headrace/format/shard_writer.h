// Writes one shard file: chunks in order, then index, schema, footer. Encoding a chunk is apart from writing it, so that
// many threads may encode while one writes.
//
// EncodedChunk owns its bytes. ShardWriter owns the temporary file (storage/published_file.h).
// Threads:  encode_chunk() from any thread; ShardWriter from one at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "headrace/base/bytes.h"
#include "headrace/base/status.h"
#include "headrace/codec/checksum.h"
#include "headrace/format/schema.h"
#include "headrace/format/shard_reader.h"
#include "headrace/storage/published_file.h"

namespace headrace::format {

// One field's values for the samples of one chunk, as the writer gathers them. Null samples hold zeros or no bytes.
struct ColumnChunk {
  std::vector<std::uint8_t> values;
  std::vector<std::uint64_t> offsets;  // variable fields: samples + 1, in bytes, first 0; else empty
  std::vector<std::uint8_t> valid;     // nullable fields: one byte a sample, 0 or 1; else empty
};

struct EncodedChunk {
  std::vector<std::uint8_t> bytes;         // pages with their padding, a multiple of 4096
  std::vector<std::uint8_t> page_entries;  // 72 bytes a field, `first_block` relative to the chunk until it is written
  std::uint32_t num_samples = 0;
  std::uint64_t num_blocks = 0;
  std::uint64_t raw_bytes = 0;  // decoded values, for ratios
};

// `dictionaries`: of the fields that say so; the same ones go to ShardWriter::create.
// Seeds depend on the shard's uuid and on the chunk's number in it, so both must be known before encoding.
// Errors: kInvalidArgument (a value breaks the format), kLimitExceeded.
Result<EncodedChunk> encode_chunk(const Schema& schema, const codec::Uuid& uuid, std::uint64_t chunk, std::uint32_t num_samples,
                                  const std::vector<ColumnChunk>& columns, const Limits& limits, const Dictionaries& dictionaries = {});

class ShardWriter {
 public:
  // `directory` exists. The file will be `shard-<uuid>.hrs` in it.
  static Result<std::unique_ptr<ShardWriter>> create(const std::string& directory, Schema schema, const codec::Uuid& uuid,
                                                     std::uint32_t chunk_samples, Dictionaries dictionaries = {});
  // Chunks come in order; only the last may hold fewer than chunk_samples.
  Status append(EncodedChunk chunk);
  // Writes index, schema and footer, and publishes the file. Nothing may follow.
  Result<ShardEntry> finish();
  std::uint64_t bytes_written() const;

 private:
  ShardWriter() = default;
  Schema schema_;
  Dictionaries dictionaries_;
  codec::Uuid uuid_{};
  std::uint32_t chunk_samples_ = 1;
  std::string file_name_;
  storage::PublishedFile file_;
  std::vector<std::uint8_t> index_;
  std::uint64_t num_chunks_ = 0, num_samples_ = 0, num_blocks_ = 0;
  bool last_seen_ = false;
};

// 16 random bytes from the system. Errors: kIoError.
Result<codec::Uuid> random_uuid();
std::string uuid_text(const codec::Uuid& uuid);  // 32 hex digits

}  // namespace headrace::format
