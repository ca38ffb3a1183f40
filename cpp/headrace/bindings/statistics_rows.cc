#include "headrace/bindings/statistics_rows.h"

#include "headrace/bindings/raise.h"

namespace py = pybind11;

namespace headrace::bindings {
namespace {

using format::DType;

DType dtype_of(const py::array& values) {
  const py::dtype dtype = values.dtype();
  const auto bytes = dtype.itemsize();
  if (dtype.byteorder() == '>') throw py::type_error("values are big-endian; convert them: values.astype(values.dtype.newbyteorder('='))");
  switch (dtype.kind()) {
    case 'b': return DType::kBool;
    case 'i': return bytes == 1 ? DType::kInt8 : bytes == 2 ? DType::kInt16 : bytes == 4 ? DType::kInt32 : DType::kInt64;
    case 'u': return bytes == 1 ? DType::kUInt8 : bytes == 2 ? DType::kUInt16 : bytes == 4 ? DType::kUInt32 : DType::kUInt64;
    case 'f':
      if (bytes == 2) return DType::kFloat16;
      if (bytes == 4) return DType::kFloat32;
      if (bytes == 8) return DType::kFloat64;
      [[fallthrough]];
    default:
      throw py::type_error("values are " + std::string(py::str(py::handle(dtype))) +
                           "; expected numbers: bool, integers or floats of up to 8 bytes");
  }
}

std::size_t rows_in(const py::array& values, std::size_t width) {
  if ((values.flags() & py::array::c_style) == 0) throw py::value_error("values are not C-contiguous; pass np.ascontiguousarray(values)");
  const bool flat = values.ndim() == 1 && width == 1;
  const bool wide = values.ndim() == 2 && static_cast<std::size_t>(values.shape(1)) == width;
  if (!flat && !wide) {
    throw py::value_error(strf("values have shape %s; expected (rows, %zu)%s", std::string(py::str(values.attr("shape"))).c_str(), width,
                               width == 1 ? " or (rows,)" : ""));
  }
  return static_cast<std::size_t>(values.shape(0));
}

// nullptr for None.
const std::uint8_t* valid_of(const py::object& valid, std::size_t count, std::size_t width, bool* of_values) {
  *of_values = false;
  if (valid.is_none()) return nullptr;
  if (!py::isinstance<py::array>(valid)) throw py::type_error("valid must be a numpy array of bool, or None");
  const auto array = py::reinterpret_borrow<py::array>(valid);
  *of_values = array.ndim() == 2;
  const bool fits = (array.ndim() == 1 || (array.ndim() == 2 && static_cast<std::size_t>(array.shape(1)) == width)) &&
                    static_cast<std::size_t>(array.shape(0)) == count;
  if (array.dtype().kind() != 'b' || !fits || (array.flags() & py::array::c_style) == 0) {
    throw py::value_error(strf("valid is %s of shape %s; expected C-contiguous bool of shape (%zu,)%s",
                               std::string(py::str(array.dtype())).c_str(), std::string(py::str(array.attr("shape"))).c_str(), count,
                               width > 1 ? strf(" or (%zu, %zu)", count, width).c_str() : ""));
  }
  return static_cast<const std::uint8_t*>(array.data());
}

}  // namespace

statistics::Rows rows_of(const py::array& values, const py::object& valid, std::size_t width) {
  statistics::Rows rows;
  rows.dtype = dtype_of(values);
  rows.count = rows_in(values, width);
  rows.width = width;
  rows.values = static_cast<const std::uint8_t*>(values.data());
  rows.valid = valid_of(valid, rows.count, width, &rows.valid_of_values);
  return rows;
}

statistics::Texts texts_of(const py::array& values, const Offsets& offsets, const py::object& valid) {
  if (values.dtype().kind() != 'u' || values.itemsize() != 1 || values.ndim() != 1 || (values.flags() & py::array::c_style) == 0) {
    throw py::value_error("the values of texts must be C-contiguous uint8 of shape (bytes,)");
  }
  if (offsets.ndim() != 1 || offsets.size() < 1) throw py::value_error("offsets must have shape (rows + 1,)");
  statistics::Texts texts;
  texts.bytes = static_cast<const std::uint8_t*>(values.data());
  texts.offsets = offsets.data();
  texts.count = static_cast<std::size_t>(offsets.size() - 1);
  bool of_values = false;
  texts.valid = valid_of(valid, texts.count, 1, &of_values);
  check(statistics::check_offsets(texts.offsets, texts.count, static_cast<std::size_t>(values.size())));
  return texts;
}

py::bytes to_bytes(const std::vector<std::uint8_t>& state) { return {reinterpret_cast<const char*>(state.data()), state.size()}; }

Bytes bytes_of(const py::bytes& state) {
  const std::string_view raw = state;
  return {reinterpret_cast<const std::uint8_t*>(raw.data()), raw.size()};
}

}  // namespace headrace::bindings
