#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include "headrace/bindings/kept_object.h"
#include "headrace/bindings/paths.h"
#include "headrace/bindings/raise.h"
#include "headrace/bindings/register.h"
#include "headrace/bindings/samples.h"
#include "headrace/pipeline/dataset.h"
#include "headrace/pipeline/memory_table.h"

namespace py = pybind11;

namespace headrace::bindings {
namespace {

using format::Field;
using pipeline::Dataset;
using pipeline::MemoryTable;

// Checks an array against its field, and takes its address and stride.
pipeline::MemoryColumn column_of(const Field& field, const py::array& array, std::uint64_t num_rows) {
  const auto fail = [&](const std::string& what) -> py::value_error { return py::value_error("field '" + field.name + "': " + what); };
  if (static_cast<std::size_t>(array.ndim()) != field.shape.size() + 1) {
    throw fail(strf("an array of %zd dimensions, expected rows of %zu", array.ndim(), field.shape.size()));
  }
  if (static_cast<std::uint64_t>(array.shape(0)) != num_rows) {
    throw fail(strf("%zd rows, the part's first field has %llu", array.shape(0), static_cast<unsigned long long>(num_rows)));
  }
  if (static_cast<std::uint64_t>(array.itemsize()) != field.itemsize) {
    throw fail(strf("items of %zd bytes, expected %u", array.itemsize(), field.itemsize));
  }
  std::int64_t expected = array.itemsize();
  bool empty = num_rows == 0;
  for (py::ssize_t i = array.ndim() - 1; i > 0; --i) {
    const std::uint64_t extent = field.shape[static_cast<std::size_t>(i) - 1];
    if (static_cast<std::uint64_t>(array.shape(i)) != extent) throw fail(strf("dimension %zd is %zd", i, array.shape(i)));
    if (extent > 1 && array.strides(i) != expected && !empty) throw fail("the values of a row are not contiguous");
    expected *= static_cast<std::int64_t>(extent);
    empty = empty || extent == 0;
  }
  return {static_cast<const std::uint8_t*>(array.data()), array.strides(0)};
}

std::shared_ptr<Dataset> make_table(const format::Schema& schema, const std::vector<std::vector<py::array>>& parts) {
  std::vector<pipeline::MemoryPart> native;
  py::list owner;
  for (const std::vector<py::array>& arrays : parts) {
    if (arrays.size() != schema.fields.size()) {
      throw py::value_error(strf("a part has %zu arrays, the schema %zu fields", arrays.size(), schema.fields.size()));
    }
    if (arrays.empty()) throw py::value_error("a table in memory needs at least one field");
    if (arrays[0].ndim() == 0) throw py::value_error("field '" + schema.fields[0].name + "': an array without rows");
    pipeline::MemoryPart& part = native.emplace_back();
    part.num_rows = static_cast<std::uint64_t>(arrays[0].shape(0));
    for (std::size_t f = 0; f < arrays.size(); ++f) {
      part.columns.push_back(column_of(schema.fields[f], arrays[f], part.num_rows));
      owner.append(arrays[f]);
    }
  }
  return Dataset::over(unwrap(MemoryTable::create(schema, std::move(native), keep_object(std::move(owner)))));
}

// One part: a column for each field but images, whose files are `names` below `folder`.
std::shared_ptr<Dataset> make_files(const format::Schema& schema, const py::object& folder, const std::vector<py::bytes>& names,
                                    const std::vector<py::array>& arrays) {
  pipeline::MemoryPart part;
  part.num_rows = names.size();
  py::list owner;
  std::size_t next = 0;
  for (const Field& field : schema.fields) {
    const bool is_file = field.kind == format::Kind::kImage;
    if (!is_file && next == arrays.size()) throw py::value_error("field '" + field.name + "': there is no array for it");
    part.columns.push_back(is_file ? pipeline::MemoryColumn{} : column_of(field, arrays[next], part.num_rows));
    if (!is_file) owner.append(arrays[next++]);
  }
  const auto files = std::make_shared<const pipeline::FileList>(file_path(folder), std::vector<std::string>(names.begin(), names.end()));
  return Dataset::over(unwrap(MemoryTable::create(schema, {std::move(part)}, keep_object(std::move(owner)), files)));
}

std::shared_ptr<Dataset> subset(const Dataset& dataset, const SampleArray& rows) {
  if (dataset.table() == nullptr) throw py::type_error("subset() is for tables in memory");
  return Dataset::over(unwrap(dataset.table()->subset(samples_of(rows, dataset.num_samples()))));
}

}  // namespace

void register_memory(py::module_& m) {
  m.def("make_table", &make_table, py::arg("schema"), py::arg("parts"));
  m.def("make_files", &make_files, py::arg("schema"), py::arg("folder"), py::arg("names"), py::arg("arrays"));
  m.def("subset_table", &subset, py::arg("table"), py::arg("rows"));
}

}  // namespace headrace::bindings
