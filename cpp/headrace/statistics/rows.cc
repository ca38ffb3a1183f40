#include "headrace/statistics/rows.h"

#include <limits>

#include "headrace/base/multiversion.h"
#include "headrace/ops/cast.h"

namespace headrace::statistics {
namespace {

constexpr double kNull = std::numeric_limits<double>::quiet_NaN();

HR_MULTIVERSION
void mark_nulls(const std::uint8_t* valid, std::size_t count, double* out) {
  for (std::size_t i = 0; i < count; ++i) out[i] = valid[i] != 0 ? out[i] : kNull;
}

}  // namespace

std::size_t number_bytes(format::DType dtype) {
  using format::DType;
  switch (dtype) {
    case DType::kBool:
    case DType::kInt8:
    case DType::kUInt8: return 1;
    case DType::kInt16:
    case DType::kUInt16:
    case DType::kFloat16:
    case DType::kBFloat16: return 2;
    case DType::kInt32:
    case DType::kUInt32:
    case DType::kFloat32: return 4;
    case DType::kInt64:
    case DType::kUInt64:
    case DType::kFloat64: return 8;
    default: return 0;
  }
}

void load_tile(const Rows& rows, std::size_t first_row, std::size_t count, std::size_t first_column, std::size_t columns, double* out) {
  const std::size_t bytes = number_bytes(rows.dtype);
  const bool whole = columns == rows.width;
  const std::size_t runs = whole ? 1 : count, length = whole ? count * columns : columns;
  for (std::size_t r = 0; r < runs; ++r) {
    const std::size_t at = (first_row + r) * rows.width + first_column;
    ops::cast(rows.dtype, format::DType::kFloat64, rows.values + at * bytes, length, reinterpret_cast<std::uint8_t*>(out + r * length));
    if (rows.valid != nullptr && rows.valid_of_values) mark_nulls(rows.valid + at, length, out + r * length);
  }
  if (rows.valid == nullptr || rows.valid_of_values) return;
  for (std::size_t r = 0; r < count; ++r) {
    if (rows.valid[first_row + r] != 0) continue;
    for (std::size_t c = 0; c < columns; ++c) out[r * columns + c] = kNull;
  }
}

}  // namespace headrace::statistics
