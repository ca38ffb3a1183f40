// A batch of rows as statistics take it: numbers of one dtype, `width` a row, some of them null.
//
// Borrows its arrays. Plain values and functions; any thread.
#pragma once

#include <cstddef>
#include <cstdint>

#include "headrace/base/status.h"
#include "headrace/format/schema.h"

namespace headrace::statistics {

inline constexpr std::size_t kMaxWidth = std::size_t{1} << 26;  // values of a row; what a state that is loaded may ask for

struct Rows {
  format::DType dtype = format::DType::kFloat64;
  const std::uint8_t* values = nullptr;  // count * width of them, row by row
  std::size_t count = 0;
  std::size_t width = 1;
  const std::uint8_t* valid = nullptr;  // 0: null; one a row, or one a value; nullptr: none is
  bool valid_of_values = false;

  bool is_null(std::size_t row, std::size_t column) const {
    return valid != nullptr && valid[valid_of_values ? row * width + column : row] == 0;
  }
};

// Bytes of a number; 0 for a dtype that is none (or complex, or a date).
std::size_t number_bytes(format::DType dtype);

// out[r * columns + c] = the value of row first_row + r, column first_column + c, as float64; NaN where it is null.
void load_tile(const Rows& rows, std::size_t first_row, std::size_t count, std::size_t first_column, std::size_t columns, double* out);

}  // namespace headrace::statistics
