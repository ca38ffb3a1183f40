// Arrays from Python as the rows, texts and states that statistics take.
//
// What these return borrows the arrays. REQUIRES, for all: the interpreter lock is held; they throw Python's exceptions.
#pragma once

#include <pybind11/numpy.h>

#include <vector>

#include "headrace/statistics/keys.h"
#include "headrace/statistics/rows.h"

namespace headrace::bindings {

using Offsets = pybind11::array_t<std::int64_t, pybind11::array::c_style>;

// values: C-contiguous numbers of shape (rows,) or (rows, width); valid: bool of shape (rows,) or (rows, width), or None.
statistics::Rows rows_of(const pybind11::array& values, const pybind11::object& valid, std::size_t width);
// values: C-contiguous uint8 of shape (bytes,); offsets: shape (rows + 1,); valid: bool of shape (rows,), or None.
statistics::Texts texts_of(const pybind11::array& values, const Offsets& offsets, const pybind11::object& valid);
pybind11::bytes to_bytes(const std::vector<std::uint8_t>& state);
Bytes bytes_of(const pybind11::bytes& state);

// A copy of shape (size,), or (rows, size / rows).
template <typename T>
pybind11::array_t<T> to_array(const std::vector<T>& values, std::size_t rows = 0) {
  std::vector<pybind11::ssize_t> shape{static_cast<pybind11::ssize_t>(values.size())};
  if (rows > 0) shape = {static_cast<pybind11::ssize_t>(rows), static_cast<pybind11::ssize_t>(values.size() / rows)};
  pybind11::array_t<T> out(shape);
  std::copy(values.begin(), values.end(), out.mutable_data());
  return out;
}

}  // namespace headrace::bindings
