#include <pybind11/numpy.h>

#include "headrace/bindings/raise.h"
#include "headrace/bindings/register.h"
#include "headrace/pipeline/token_batches.h"

namespace py = pybind11;

namespace headrace::bindings {
namespace {

using Lengths = py::array_t<std::uint64_t, py::array::c_style>;

std::span<const std::uint64_t> lengths_of(const Lengths& array, std::uint64_t most, bool ascending) {
  if (array.ndim() != 1) throw py::value_error("lengths must be one number a sample");
  const std::span<const std::uint64_t> lengths(array.data(), static_cast<std::size_t>(array.size()));
  for (std::size_t i = 0; i < lengths.size(); ++i) {
    if (lengths[i] > most) throw py::value_error("a length is beyond the budget");
    if (i > 0 && (ascending ? lengths[i] < lengths[i - 1] : lengths[i] > lengths[i - 1])) throw py::value_error("lengths are not sorted");
  }
  return lengths;
}

py::array_t<std::int64_t> to_array(const std::vector<std::uint64_t>& values) {
  py::array_t<std::int64_t> out(static_cast<py::ssize_t>(values.size()));
  std::copy(values.begin(), values.end(), reinterpret_cast<std::uint64_t*>(out.mutable_data()));
  return out;
}

}  // namespace

void register_token_batches(py::module_& m) {
  m.def(
      "cut_by_longest",
      [](const Lengths& lengths, std::uint64_t budget, std::uint64_t ranks) {
        if (ranks < 1 || budget >> 63 != 0) throw py::value_error("ranks must be at least 1, the budget below 2^63");
        return to_array(pipeline::cut_by_longest(lengths_of(lengths, budget, true), budget, ranks));
      },
      py::arg("lengths"), py::arg("budget"), py::arg("ranks"));
  m.def(
      "pack_best_fit",
      [](const Lengths& lengths, std::uint64_t capacity) {
        return to_array(pipeline::pack_best_fit(lengths_of(lengths, capacity, false), capacity));
      },
      py::arg("lengths"), py::arg("capacity"));
}

}  // namespace headrace::bindings
