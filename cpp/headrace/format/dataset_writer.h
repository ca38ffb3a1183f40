// Writes a dataset: cuts rows into chunks, encodes them on the thread pool, writes shards in order, publishes a manifest.
//
// Memory:   bounded whatever the dataset's size: the chunk being filled, and at most `threads + 2` chunks being encoded;
//           extend() blocks while that many are under way.
// Result:   byte-identical for any number of threads (uuids and the creation time apart).
// Threads:  calls from several threads follow one another (a lock); encoding runs on ThreadPool::shared().
// Forking:  a child that inherits a writer must not use it (kForked); its end touches no file.
// Failure:  after an error every call answers the same error, and nothing of the new version is visible. What a writer leaves whose process
//           was killed is told by locks: temporary files go with the next writer of the directory, all of it by format/abandoned_files.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "headrace/base/status.h"
#include "headrace/format/codec_choice.h"
#include "headrace/format/manifest.h"
#include "headrace/format/schema.h"

namespace headrace::format {

// Some rows of one field, borrowed for the time of one call.
struct ColumnView {
  Bytes values;                            // tensor: rows * row_bytes; else all values, one after the other
  const std::uint64_t* offsets = nullptr;  // variable fields: rows + 1, in bytes into values
  const std::uint8_t* valid = nullptr;     // nullable fields, or null for "all present": one byte a row
};

struct WriterOptions {
  bool append = false;              // add a version to a dataset that exists; else there must be none
  std::uint32_t chunk_samples = 0;  // 0: the power of two that makes chunks of about chunk_bytes, from the first rows
  std::uint64_t chunk_bytes = 2u << 20;
  std::uint64_t shard_bytes = 1ull << 30;  // a shard ends with the chunk that reaches this, counted before compression
  int threads = 0;                         // encoding at once; 0: all of the pool
  std::vector<std::uint8_t> auto_codec;    // per field: choose codec and filter from the first chunk (empty: none)
  Limits limits;
};

class DatasetWriter {
 public:
  // Makes the directory if needed. Fields whose block_bytes is 0 get a size that suits them.
  // Errors: kAlreadyExists (a dataset is there and append is off), kNotFound (append to nothing), kInvalidArgument
  // (append with another schema, naming the first difference), kIoError.
  // Where an appending schema has no metadata (its own, or a field's), that of the dataset stays.
  static Result<std::unique_ptr<DatasetWriter>> create(const std::string& path, Schema schema, WriterOptions options);
  ~DatasetWriter();  // abort(), unless committed.

  // Copies rows in. Errors: kInvalidArgument, naming field and row; then nothing of this call was taken and the writer goes on.
  Status extend(std::span<const ColumnView> columns, std::uint64_t rows);
  // Waits for all chunks, ends the shard, publishes the manifest. Returns the version. Once.
  // Errors: kAlreadyExists (another writer published this version first), kIoError. Then the shards are removed, unless the
  // manifest stands and only the sync of its directory failed.
  Result<std::uint64_t> commit();
  // Drops the shards of this writer, published or not, and the directories that it made, if empty. No version was made.
  void abort();

  struct Progress {
    std::uint64_t samples = 0;       // taken by extend
    std::uint64_t raw_bytes = 0;     // their values, decoded
    std::uint64_t stored_bytes = 0;  // written to files so far
    std::uint64_t shards = 0;        // finished
  };
  Progress progress() const;
  // The schema as written: codecs chosen, block sizes set. Complete after commit().
  Schema schema() const;
  // Why those fields are stored as they are whose codec was left open; empty until a chunk is full or commit() was called.
  std::vector<CodecChoice> choices() const;

 private:
  DatasetWriter() = default;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace headrace::format
