#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include "headrace/bindings/interpreter_lock.h"
#include "headrace/bindings/raise.h"
#include "headrace/bindings/register.h"
#include "headrace/bindings/samples.h"
#include "headrace/ops/limits.h"

namespace py = pybind11;

namespace headrace::bindings {
namespace {

void require_threads(int threads) {
  if (threads < 1 || threads > 1024) throw py::value_error(strf("threads is %d; expected 1 to 1024", threads));
}

double gather_limit(const std::vector<py::array>& columns, const SampleArray& order, std::size_t batch_size, int threads) {
  require_threads(threads);
  if (batch_size < 1) throw py::value_error("batch_size is 0");
  std::vector<ops::LimitColumn> native;
  std::uint64_t rows = ~std::uint64_t{0};
  for (const py::array& column : columns) {
    if (column.ndim() < 1 || (column.flags() & py::array::c_style) == 0)
      throw py::value_error("columns must be C-contiguous arrays of rows");
    rows = std::min(rows, static_cast<std::uint64_t>(column.shape(0)));
    native.push_back({static_cast<const std::uint8_t*>(column.data()),
                      column.shape(0) == 0 ? 0 : static_cast<std::size_t>(column.nbytes() / column.shape(0))});
  }
  (void)samples_of(order, rows);
  return without_lock(
      [&] { return ops::gather_limit_seconds(native, {order.data(), static_cast<std::size_t>(order.size())}, batch_size, threads); });
}

double widen_limit(const py::array_t<std::uint16_t>& values, const SampleArray& starts, std::size_t length, std::size_t batch_size,
                   int threads) {
  require_threads(threads);
  if (batch_size < 1) throw py::value_error("batch_size is 0");
  if (values.ndim() != 1 || (values.flags() & py::array::c_style) == 0) throw py::value_error("values must be one C-contiguous row");
  const auto held = static_cast<std::uint64_t>(values.size());
  if (length < 1 || length > held) throw py::value_error(strf("length is %zu; expected 1 to the number of values", length));
  (void)samples_of(starts, held - length + 1);
  return without_lock([&] {
    return ops::widen_limit_seconds(values.data(), {starts.data(), static_cast<std::size_t>(starts.size())}, length, batch_size, threads);
  });
}

double copy_limit(std::size_t bytes, std::size_t piece_bytes, std::size_t source_bytes, int threads) {
  require_threads(threads);
  if (piece_bytes < 1) throw py::value_error("piece_bytes is 0");
  return without_lock([&] { return ops::copy_limit_seconds(bytes, piece_bytes, source_bytes, threads); });
}

}  // namespace

void register_limits(py::module_& m) {
  m.def("gather_limit", &gather_limit, py::arg("columns"), py::arg("order"), py::arg("batch_size"), py::arg("threads"));
  m.def("widen_limit", &widen_limit, py::arg("values"), py::arg("starts"), py::arg("length"), py::arg("batch_size"), py::arg("threads"));
  m.def("copy_limit", &copy_limit, py::arg("bytes"), py::arg("piece_bytes"), py::arg("source_bytes"), py::arg("threads"));
}

}  // namespace headrace::bindings
