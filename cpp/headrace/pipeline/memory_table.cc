#include "headrace/pipeline/memory_table.h"

#include <algorithm>
#include <array>
#include <string>

#include "headrace/codec/checksum.h"

namespace headrace::pipeline {
namespace {

std::string number(std::uint64_t value) { return std::to_string(value); }

std::uint64_t hash_text(const std::string& text, std::uint64_t seed) {
  return codec::hash({reinterpret_cast<const std::uint8_t*>(text.data()), text.size()}, seed);
}

}  // namespace

Result<std::shared_ptr<const MemoryTable>> MemoryTable::create(format::Schema schema, std::vector<MemoryPart> parts,
                                                               std::shared_ptr<const void> owner, std::shared_ptr<const FileList> files) {
  for (const format::Field& field : schema.fields) {
    const bool is_file = field.kind == format::Kind::kImage && files != nullptr;
    if ((field.kind != format::Kind::kTensor && !is_file) || field.nullable) {
      return Status(Code::kInvalidArgument, "field '" + field.name + "': only fixed-shape tensors without nulls are read from memory");
    }
  }
  std::shared_ptr<MemoryTable> table(new MemoryTable());
  for (const MemoryPart& part : parts) {
    if (part.columns.size() != schema.fields.size()) {
      return Status(Code::kInvalidArgument,
                    "a part has " + number(part.columns.size()) + " columns, the schema " + number(schema.fields.size()) + " fields");
    }
    table->first_row_.push_back(table->first_row_.back() + part.num_rows);
  }
  table->schema_ = std::move(schema);
  table->parts_ = std::move(parts);
  if (files != nullptr && files->size() != table->first_row_.back()) {
    return Status(Code::kInvalidArgument, number(files->size()) + " files for " + number(table->first_row_.back()) + " rows");
  }
  table->owner_ = std::move(owner);
  table->files_ = std::move(files);
  return std::shared_ptr<const MemoryTable>(std::move(table));
}

Result<std::shared_ptr<const MemoryTable>> MemoryTable::subset(std::vector<std::uint64_t> rows) const {
  const std::uint64_t size = num_rows();
  for (std::uint64_t& row : rows) {
    if (row >= size) return Status(Code::kInvalidArgument, "row " + number(row) + " is outside the " + number(size) + " rows");
    if (rows_.has_value()) row = (*rows_)[row];
  }
  std::shared_ptr<MemoryTable> table(new MemoryTable(*this));
  table->rows_ = std::move(rows);
  return std::shared_ptr<const MemoryTable>(std::move(table));
}

void MemoryTable::find(std::uint32_t field, std::span<const std::uint64_t> samples, std::span<const std::uint8_t*> out) const {
  const std::uint64_t* rows = rows_.has_value() ? rows_->data() : nullptr;
  if (parts_.size() == 1) {
    const MemoryColumn column = parts_[0].columns[field];
    for (std::size_t i = 0; i < samples.size(); ++i) {
      const std::uint64_t row = rows == nullptr ? samples[i] : rows[samples[i]];
      out[i] = column.data + static_cast<std::int64_t>(row) * column.stride;
    }
    return;
  }
  std::size_t part = 0;
  for (std::size_t i = 0; i < samples.size(); ++i) {
    const std::uint64_t row = rows == nullptr ? samples[i] : rows[samples[i]];
    if (row < first_row_[part] || row >= first_row_[part + 1]) {
      part = static_cast<std::size_t>(std::upper_bound(first_row_.begin(), first_row_.end(), row) - first_row_.begin()) - 1;
    }
    const MemoryColumn column = parts_[part].columns[field];
    out[i] = column.data + static_cast<std::int64_t>(row - first_row_[part]) * column.stride;
  }
}

const std::uint8_t* MemoryTable::find_run(std::uint32_t field, std::uint64_t row, std::uint64_t most, std::uint64_t* count) const {
  const std::uint64_t at = rows_.has_value() ? (*rows_)[row] : row;
  const auto next = std::upper_bound(first_row_.begin(), first_row_.end(), at);
  const auto part = static_cast<std::size_t>(next - first_row_.begin()) - 1;
  const MemoryColumn column = parts_[part].columns[field];
  const bool side_by_side = !rows_.has_value() && column.stride == static_cast<std::int64_t>(schema_.fields[field].row_bytes());
  *count = side_by_side ? std::min(most, *next - at) : 1;
  return column.data + static_cast<std::int64_t>(at - first_row_[part]) * column.stride;
}

std::uint64_t MemoryTable::fingerprint() const {
  const std::uint64_t size = num_rows();
  const std::uint64_t hashed = std::min(size, kHashedRows);
  std::uint64_t hash = hash_text(number(size), schema_.fields.size());
  if (files_ != nullptr) hash = hash_text(number(files_->fingerprint()), hash);
  for (std::uint32_t f = 0; f < schema_.fields.size(); ++f) {
    const format::Field& field = schema_.fields[f];
    std::string head = field.name + '\0' + format::dtype_name(field);
    for (const std::uint64_t extent : field.shape) head += ',' + number(extent);
    hash = hash_text(head, hash);
    if (field.kind == format::Kind::kImage) continue;
    for (std::uint64_t i = 0; i < hashed; ++i) {
      // The first and the last are always among them.
      const std::uint64_t sample = hashed == 1 ? 0 : i * ((size - 1) / (hashed - 1)) + (i * ((size - 1) % (hashed - 1))) / (hashed - 1);
      std::array<const std::uint8_t*, 1> at{};
      find(f, {&sample, 1}, at);
      hash = codec::hash({at[0], static_cast<std::size_t>(field.row_bytes())}, hash);
    }
  }
  if (!rows_.has_value()) return hash;
  return codec::hash({reinterpret_cast<const std::uint8_t*>(rows_->data()), rows_->size() * sizeof(std::uint64_t)}, hash);
}

}  // namespace headrace::pipeline
