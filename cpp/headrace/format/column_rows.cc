#include "headrace/format/column_rows.h"

#include <algorithm>
#include <cinttypes>
#include <cstring>

#include "headrace/format/utf8.h"

namespace headrace::format {
namespace {

Status bad(const Field& field, std::uint64_t row, const std::string& what) {
  return {Code::kInvalidArgument, strf("field '%s', row %" PRIu64 ": %s", field.name.c_str(), row, what.c_str())};
}

bool is_null(const ColumnView& view, std::uint64_t row) { return view.valid != nullptr && view.valid[row] == 0; }

Status check_offsets(const Field& field, const ColumnView& view, std::uint64_t rows) {
  const std::uint64_t* const offsets = view.offsets;
  if (offsets == nullptr)
    return {Code::kInvalidArgument, strf("field '%s': kind %s needs offsets", field.name.c_str(), kind_name(field.kind))};
  const std::uint64_t row_bytes = field.row_bytes();
  for (std::uint64_t row = 0; row < rows; ++row) {
    if (offsets[row + 1] < offsets[row])
      return bad(field, row, strf("offset %" PRIu64 " is followed by %" PRIu64 "; offsets never decrease", offsets[row], offsets[row + 1]));
  }
  if (offsets[rows] > view.values.size()) {
    return bad(field, rows, strf("offset %" PRIu64 " lies beyond the %zu bytes of values", offsets[rows], view.values.size()));
  }
  if (row_bytes == 1) return {};
  for (std::uint64_t row = 0; row < rows; ++row) {
    const std::uint64_t length = offsets[row + 1] - offsets[row];
    if (length % row_bytes != 0 && !is_null(view, row))
      return bad(field, row, strf("%" PRIu64 " bytes are no multiple of the inner sample's %" PRIu64, length, row_bytes));
  }
  return {};
}

Status check_bools(const Field& field, const ColumnView& view, std::uint64_t rows) {
  std::uint8_t any = 0;
  for (const std::uint8_t byte : view.values) any |= byte;
  if (any <= 1) return {};
  const std::uint64_t row_bytes = field.row_bytes();
  for (std::uint64_t row = 0; row < rows; ++row) {
    if (is_null(view, row)) continue;
    const std::uint64_t begin = field.is_variable() ? view.offsets[row] : row * row_bytes;
    const std::uint64_t end = field.is_variable() ? view.offsets[row + 1] : begin + row_bytes;
    for (std::uint64_t i = begin; i < end; ++i) {
      if (view.values[i] > 1) return bad(field, row, strf("a bool holds the byte %u; expected 0 or 1", view.values[i]));
    }
  }
  return {};
}

Status check_strings(const Field& field, const ColumnView& view, std::uint64_t rows) {
  // All of the text at once, then that no string starts inside a character: that is each string alone, at memory speed.
  const std::uint64_t begin = view.offsets[0], end = view.offsets[rows];
  bool good = is_utf8(view.values.subspan(begin, end - begin));
  for (std::uint64_t row = 0; good && row < rows; ++row)
    good = view.offsets[row] == end || !is_utf8_continuation(view.values[view.offsets[row]]);
  if (good) return {};
  for (std::uint64_t row = 0; row < rows; ++row) {
    const Bytes text = view.values.subspan(view.offsets[row], view.offsets[row + 1] - view.offsets[row]);
    const std::uint64_t prefix = utf8_prefix(text);
    if (prefix < text.size() && !is_null(view, row))
      return bad(field, row, strf("byte %" PRIu64 " of the string is not UTF-8; store such data as kind bytes", prefix));
  }
  return {};
}

template <typename T>
void append_range(std::vector<T>& to, const T* from, std::uint64_t count) {
  if (count > 0) to.insert(to.end(), from, from + count);
}

void append_tensor(const Field& field, const ColumnView& view, std::uint64_t begin, std::uint64_t end, ColumnChunk& out) {
  const std::uint64_t row_bytes = field.row_bytes();
  const std::size_t start = out.values.size();
  append_range(out.values, view.values.data() + begin * row_bytes, (end - begin) * row_bytes);
  if (view.valid == nullptr || row_bytes == 0) return;
  for (std::uint64_t row = begin; row < end; ++row) {
    if (view.valid[row] == 0) std::memset(out.values.data() + start + (row - begin) * row_bytes, 0, row_bytes);
  }
}

// Rows [begin, end), none of which is null.
void append_present(const ColumnView& view, std::uint64_t begin, std::uint64_t end, ColumnChunk& out) {
  const std::uint64_t* const offsets = view.offsets;
  const std::uint64_t shift = out.values.size() - offsets[begin];  // wraps, and wraps back
  append_range(out.values, view.values.data() + offsets[begin], offsets[end] - offsets[begin]);
  const std::size_t at = out.offsets.size();
  out.offsets.resize(at + (end - begin));
  for (std::uint64_t row = begin; row < end; ++row) out.offsets[at + (row - begin)] = offsets[row + 1] + shift;
}

void append_variable(const ColumnView& view, std::uint64_t begin, std::uint64_t end, ColumnChunk& out) {
  if (view.valid == nullptr) return append_present(view, begin, end, out);
  for (std::uint64_t row = begin; row < end;) {
    std::uint64_t stop = row;
    while (stop < end && view.valid[stop] != 0) ++stop;
    append_present(view, row, stop, out);
    for (row = stop; row < end && view.valid[row] == 0; ++row) out.offsets.push_back(out.values.size());
  }
}

ColumnView view_of(const ColumnChunk& column) {
  return {column.values, column.offsets.empty() ? nullptr : column.offsets.data(), column.valid.empty() ? nullptr : column.valid.data()};
}

std::vector<ColumnView> views_of(const std::vector<ColumnChunk>& columns) {
  std::vector<ColumnView> views;
  for (const ColumnChunk& column : columns) views.push_back(view_of(column));
  return views;
}

}  // namespace

Status check_view(const Field& field, const ColumnView& view, std::uint64_t rows) {
  if (view.valid != nullptr && !field.nullable)
    return {Code::kInvalidArgument, strf("field '%s': validity was given, and the field is not nullable", field.name.c_str())};
  if (field.is_variable()) {
    HR_RETURN_IF_ERROR(check_offsets(field, view, rows));
  } else {
    std::uint64_t expected = 0;
    if (!checked_mul(rows, field.row_bytes(), &expected) || expected != view.values.size()) {
      return {Code::kInvalidArgument, strf("field '%s': %zu bytes of values for %" PRIu64 " rows of %" PRIu64 " bytes", field.name.c_str(),
                                           view.values.size(), rows, field.row_bytes())};
    }
  }
  if (field.dtype == DType::kBool) return check_bools(field, view, rows);
  return field.kind == Kind::kString ? check_strings(field, view, rows) : Status::ok();
}

std::uint64_t view_bytes(const Schema& schema, std::span<const ColumnView> columns, std::uint64_t begin, std::uint64_t end) {
  std::uint64_t bytes = 0;
  for (std::size_t f = 0; f < columns.size(); ++f) {
    const Field& field = schema.fields[f];
    bytes +=
        field.is_variable() ? columns[f].offsets[end] - columns[f].offsets[begin] + 4 * (end - begin) : field.row_bytes() * (end - begin);
  }
  return bytes;
}

std::uint64_t rows_reaching(const Schema& schema, std::span<const ColumnView> columns, std::uint64_t begin, std::uint64_t rows,
                            std::uint64_t budget) {
  std::uint64_t low = begin + 1, high = rows;
  while (low < high) {
    const std::uint64_t middle = low + (high - low) / 2;
    if (view_bytes(schema, columns, begin, middle) >= budget) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return high;
}

void Rows::append(std::span<const ColumnView> columns, std::uint64_t begin, std::uint64_t end) {
  for (std::size_t f = 0; f < columns.size(); ++f) {
    const Field& field = schema_.fields[f];
    ColumnChunk& out = columns_[f];
    if (field.is_variable()) {
      append_variable(columns[f], begin, end, out);
    } else {
      append_tensor(field, columns[f], begin, end, out);
    }
    if (!field.nullable) continue;
    if (columns[f].valid == nullptr) {
      out.valid.insert(out.valid.end(), end - begin, std::uint8_t{1});
    } else {
      for (std::uint64_t row = begin; row < end; ++row) out.valid.push_back(columns[f].valid[row] != 0);
    }
  }
  count_ += end - begin;
}

std::uint64_t Rows::bytes() const {
  std::uint64_t bytes = 0;
  for (std::size_t f = 0; f < columns_.size(); ++f) bytes += columns_[f].values.size() + (schema_.fields[f].is_variable() ? 4 * count_ : 0);
  return bytes;
}

void Rows::clear() {
  count_ = 0;
  columns_.resize(schema_.fields.size());
  for (std::size_t f = 0; f < columns_.size(); ++f) {
    columns_[f].values.clear();
    columns_[f].offsets.clear();
    columns_[f].valid.clear();
    if (schema_.fields[f].is_variable()) columns_[f].offsets.push_back(0);
  }
}

std::vector<ColumnChunk> Rows::take(std::vector<ColumnChunk> spare) {
  std::swap(columns_, spare);
  clear();
  return spare;
}

std::vector<ColumnChunk> Rows::copy(std::uint64_t begin, std::uint64_t end) const {
  Rows part(schema_);
  part.append(views_of(columns_), begin, end);
  return std::move(part.columns_);
}

void Rows::drop_front(std::uint64_t rows) {
  std::vector<ColumnChunk> rest = copy(rows, count_);
  count_ -= rows;
  columns_ = std::move(rest);
}

}  // namespace headrace::format
