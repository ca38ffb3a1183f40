// The rows that a FieldPlan works on at a time: one array a register, small enough together to stay in cache.
//
// A register is [rows, width] of one type. Null is NaN in floats and kNullInt in integers; texts say it beside them.
// Owns nothing: FieldScratch (field_plan.h) holds the memory. One thread's at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <string_view>
#include <vector>

namespace headrace::ops {

enum class RegisterType : std::uint8_t { kFloat32, kFloat64, kInt64, kText };

const char* register_type_name(RegisterType type);  // "float32" "float64" "int64" "text"

struct Register {
  RegisterType type = RegisterType::kFloat32;
  std::uint32_t width = 1;  // values of a row
  // Of a row; texts lie elsewhere.
  std::size_t row_bytes() const { return type == RegisterType::kText ? 0 : std::size_t{width} * (type == RegisterType::kFloat32 ? 4 : 8); }
};

inline constexpr std::int64_t kNullInt = std::numeric_limits<std::int64_t>::min();  // as in numpy's dates

// Strings of the tile's rows: row i is values[offsets[i], offsets[i + 1]).
struct TextRows {
  const std::uint8_t* values = nullptr;
  const std::int64_t* offsets = nullptr;  // rows + 1 of them, in order
  const std::uint8_t* valid = nullptr;    // a byte a row, 0: null; null pointer: none is
  bool is_null(std::size_t row) const { return valid != nullptr && valid[row] == 0; }
  std::string_view at(std::size_t row) const {
    return {reinterpret_cast<const char*>(values) + offsets[row], static_cast<std::size_t>(offsets[row + 1] - offsets[row])};
  }
};

// Texts that a step makes, row after row, for one tile.
struct TextBuffer {
  std::vector<std::uint8_t> values, valid;
  std::vector<std::int64_t> offsets;

  void clear() {
    values.clear();
    valid.clear();
    offsets.assign(1, 0);
  }
  void append(std::string_view part) { values.insert(values.end(), part.begin(), part.end()); }
  // What was appended since the last row is a row; a null one is empty.
  void end_row(bool is_there) {
    if (!is_there) values.resize(static_cast<std::size_t>(offsets.back()));
    offsets.push_back(static_cast<std::int64_t>(values.size()));
    valid.push_back(is_there ? 1 : 0);
  }
  TextRows rows() const { return {values.data(), offsets.data(), valid.data()}; }
};

struct FieldTile {
  std::size_t rows = 0;
  std::vector<std::uint8_t*> at;                  // [register], aligned for its type
  std::vector<TextRows> texts;                    // [register], of kText
  std::vector<std::unique_ptr<TextBuffer>> made;  // [register], of kText that a step writes: clear() and fill it
  template <typename T>
  T* values(std::uint32_t index) const {
    return reinterpret_cast<T*>(at[index]);
  }
};

}  // namespace headrace::ops
