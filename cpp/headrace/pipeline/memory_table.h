// Columns that the process already holds: arrays, tensors, Arrow buffers, mapped files. Read in place, never copied but into batches.
//
// A table is one or several parts, one after the other (what was concatenated); a part has one column a field, with a stride of
// its own from row to row. An optional list of rows chooses and orders them (a subset).
//
// Owns:     nothing but the list of rows; `owner` keeps the columns alive as long as the table, on whatever thread it dies.
// Threads:  any; immutable. Bytes changed by others while a batch is built show in it, as they would in Python.
// Forking:  a child reads its own copy.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "headrace/base/status.h"
#include "headrace/format/schema.h"
#include "headrace/pipeline/file_list.h"

namespace headrace::pipeline {

struct MemoryColumn {
  const std::uint8_t* data = nullptr;  // first byte of row 0
  std::int64_t stride = 0;             // bytes from a row to the next; the bytes of a row are contiguous
};

struct MemoryPart {
  std::uint64_t num_rows = 0;
  std::vector<MemoryColumn> columns;  // one a field
};

class MemoryTable {
 public:
  // `fields` are fixed tensors without nulls, and images where `files` holds them, a file a row (their columns are empty then).
  // Errors: kInvalidArgument.
  static Result<std::shared_ptr<const MemoryTable>> create(format::Schema schema, std::vector<MemoryPart> parts,
                                                           std::shared_ptr<const void> owner,
                                                           std::shared_ptr<const FileList> files = nullptr);
  // The rows `rows` of this table, in that order; repeats are allowed. Shares the columns. Errors: kInvalidArgument (a row that is not
  // there).
  Result<std::shared_ptr<const MemoryTable>> subset(std::vector<std::uint64_t> rows) const;

  const format::Schema& schema() const { return schema_; }
  // Null where no field is an image.
  const std::shared_ptr<const FileList>& files() const { return files_; }
  // Of all rows, where a subset was chosen. REQUIRES: sample < num_rows().
  std::uint64_t row_of(std::uint64_t sample) const { return rows_.has_value() ? (*rows_)[sample] : sample; }
  std::uint64_t num_rows() const { return rows_.has_value() ? rows_->size() : first_row_.back(); }
  // Where each sample's bytes begin. REQUIRES: samples below num_rows().
  void find(std::uint32_t field, std::span<const std::uint64_t> samples, std::span<const std::uint8_t*> out) const;
  // Where a row begins, and how many rows, up to `most`, follow it side by side (itself among them). REQUIRES: row < num_rows(), most > 0.
  const std::uint8_t* find_run(std::uint32_t field, std::uint64_t row, std::uint64_t most, std::uint64_t* count) const;
  // Hash of names, dtypes, shapes, number of rows, at most kHashedRows rows spread over all, and the numbers of chosen ones: tells another
  // table from this one.
  std::uint64_t fingerprint() const;

 private:
  static constexpr std::uint64_t kHashedRows = 64;
  MemoryTable() = default;
  format::Schema schema_;
  std::vector<MemoryPart> parts_;
  std::vector<std::uint64_t> first_row_{0};  // of each part, and the end
  std::optional<std::vector<std::uint64_t>> rows_;
  std::shared_ptr<const void> owner_;
  std::shared_ptr<const FileList> files_;
};

}  // namespace headrace::pipeline
