#include <pybind11/pybind11.h>

#include <optional>
#include <string>
#include <vector>

#include "headrace/bindings/paths.h"
#include "headrace/bindings/raise.h"
#include "headrace/bindings/register.h"
#include "headrace/format/abandoned_files.h"

namespace py = pybind11;

namespace headrace::bindings {
namespace {

py::list file_list(const std::vector<format::AbandonedFile>& files) {
  py::list out;
  for (const format::AbandonedFile& file : files) out.append(py::make_tuple(path_text(file.name), file.bytes));
  return out;
}

py::dict find_abandoned_files(const py::object& path, bool remove) {
  const std::string folder = file_path(path);
  std::optional<Result<format::AbandonedFiles>> found;
  {
    py::gil_scoped_release release;
    found.emplace(format::find_abandoned_files(folder, remove, {}));
  }
  const format::AbandonedFiles all = unwrap(std::move(*found));
  py::dict out;
  out["files"] = file_list(all.files);
  out["uncertain"] = file_list(all.uncertain);
  out["writers"] = all.writers;
  return out;
}

}  // namespace

void register_abandoned(py::module_& m) {
  m.def("find_abandoned_files", &find_abandoned_files, py::arg("path"), py::kw_only(), py::arg("remove") = false);
}

}  // namespace headrace::bindings
