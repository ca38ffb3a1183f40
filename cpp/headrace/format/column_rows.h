// Rows on their way into a chunk: checking what the user hands over, and copying it once.
//
// Views are borrowed for one call. Rows owns its columns; one thread at a time.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "headrace/base/status.h"
#include "headrace/format/dataset_writer.h"
#include "headrace/format/schema.h"
#include "headrace/format/shard_writer.h"

namespace headrace::format {

// Sizes, offsets, bools and UTF-8 of one field's rows; what a null row holds does not matter.
// Errors: kInvalidArgument, naming field and row.
Status check_view(const Field& field, const ColumnView& view, std::uint64_t rows);

// Decoded bytes of rows [begin, end) of checked views: values, and 4 a row for each variable field's offset.
std::uint64_t view_bytes(const Schema& schema, std::span<const ColumnView> columns, std::uint64_t begin, std::uint64_t end);
// The smallest end in (begin, rows] for which view_bytes() reaches `budget`; `rows` if none does.
std::uint64_t rows_reaching(const Schema& schema, std::span<const ColumnView> columns, std::uint64_t begin, std::uint64_t rows,
                            std::uint64_t budget);

class Rows {
 public:
  explicit Rows(const Schema& schema) : schema_(schema), columns_(schema.fields.size()) { clear(); }  // `schema` outlives this.

  // Copies rows [begin, end) in; null ones become zeros or no bytes. REQUIRES: check_view() was ok.
  void append(std::span<const ColumnView> columns, std::uint64_t begin, std::uint64_t end);
  std::uint64_t count() const { return count_; }
  std::uint64_t bytes() const;  // as view_bytes() counts
  // Hands out the columns and goes on with `spare`, whose contents are dropped and whose memory is used again.
  std::vector<ColumnChunk> take(std::vector<ColumnChunk> spare);
  // Copies of rows [begin, end).
  std::vector<ColumnChunk> copy(std::uint64_t begin, std::uint64_t end) const;
  // Drops the first `rows`.
  void drop_front(std::uint64_t rows);
  const std::vector<ColumnChunk>& columns() const { return columns_; }

 private:
  void clear();
  const Schema& schema_;
  std::vector<ColumnChunk> columns_;
  std::uint64_t count_ = 0;
};

}  // namespace headrace::format
