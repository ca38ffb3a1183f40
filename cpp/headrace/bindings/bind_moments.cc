#include <pybind11/numpy.h>

#include "headrace/bindings/interpreter_lock.h"
#include "headrace/bindings/raise.h"
#include "headrace/bindings/register.h"
#include "headrace/bindings/statistics_rows.h"
#include "headrace/pipeline/batch.h"
#include "headrace/statistics/class_moments.h"
#include "headrace/statistics/moments.h"

namespace py = pybind11;

namespace headrace::bindings {
namespace {

using statistics::ClassMoments;
using statistics::Moments;

py::dict totals(const Moments& moments) {
  const statistics::ColumnMoments all = unwrap(without_lock([&] { return moments.totals(); }));
  py::dict out;
  out["count"] = to_array(all.count);
  out["nulls"] = to_array(all.nulls);
  out["infinities"] = to_array(all.infinities);
  out["mean"] = to_array(all.mean);
  out["m2"] = to_array(all.m2);
  out["m3"] = to_array(all.m3);
  out["min"] = to_array(all.min);
  out["max"] = to_array(all.max);
  return out;
}

void update_classes(ClassMoments& moments, const py::array& values, const py::object& labels, const py::object& valid, int threads) {
  const statistics::Rows rows = rows_of(values, valid, moments.width());
  const std::int64_t* of_rows = nullptr;
  py::array_t<std::int64_t> kept;
  if (!labels.is_none()) {
    if (!py::isinstance<py::array_t<std::int64_t, py::array::c_style>>(labels)) {
      throw py::type_error("labels must be a C-contiguous numpy array of int64");
    }
    kept = py::reinterpret_borrow<py::array_t<std::int64_t>>(labels);
    if (kept.ndim() != 1 || static_cast<std::size_t>(kept.size()) != rows.count) {
      throw py::value_error(strf("labels have %zd entries; expected one for each of %zu rows", kept.size(), rows.count));
    }
    of_rows = kept.data();
  }
  check(without_lock([&] { return moments.update(rows, of_rows, threads); }));
}

// With all rows taken in; the object itself goes on as if nobody had looked.
py::dict class_totals(const ClassMoments& moments) {
  ClassMoments settled = moments;
  check(without_lock([&] { return settled.settle(0); }));
  const auto width = static_cast<py::ssize_t>(settled.width());
  py::array_t<double> within({width, width});
  auto out = within.mutable_unchecked<2>();
  for (py::ssize_t i = 0; i < width; ++i) {
    for (py::ssize_t j = i; j < width; ++j)
      out(i, j) = out(j, i) = settled.within()[static_cast<std::size_t>(i) * settled.pitch() + static_cast<std::size_t>(j)];
  }
  py::dict all;
  all["count"] = to_array(settled.count());
  all["mean"] = to_array(settled.mean(), settled.classes());
  all["within"] = within;
  all["left_out"] = settled.left_out();
  return all;
}

py::bytes save_classes(const ClassMoments& moments) {
  return to_bytes(unwrap(without_lock([&]() -> Result<std::vector<std::uint8_t>> {
    ClassMoments settled = moments;
    HR_RETURN_IF_ERROR(settled.settle(0));
    return settled.save();
  })));
}

}  // namespace

void register_moments(py::module_& m) {
  py::class_<Moments>(m, "Moments")
      .def(py::init([](std::size_t width) { return unwrap(Moments::create(width)); }), py::arg("width"))
      .def(
          "update",
          [](Moments& moments, const py::array& values, const py::object& valid, int threads) {
            const statistics::Rows rows = rows_of(values, valid, moments.width());
            check(without_lock([&] { return moments.update(rows, threads); }));
          },
          py::arg("values"), py::arg("valid") = py::none(), py::arg("threads") = 0)
      .def(
          "merge", [](Moments& moments, const Moments& other) { check(without_lock([&] { return moments.merge(other); })); },
          py::arg("other"))
      .def(
          "add",
          [](Moments& moments, const pipeline::Batch& batch, std::size_t field, int threads) {
            if (field >= batch.counted.size() || batch.fields[field].values_at != pipeline::FieldOut::kAbsent) {
              throw py::index_error(strf("field %zu of the batch was not counted", field));
            }
            check(without_lock([&] { return moments.add(batch.counted[field], threads); }));
          },
          py::arg("batch"), py::arg("field"), py::arg("threads") = 0)
      .def_property_readonly("span_rows", &Moments::span_rows)
      .def("totals", &totals)
      .def_property_readonly("width", &Moments::width)
      .def(py::pickle([](const Moments& moments) { return to_bytes(unwrap(without_lock([&] { return moments.save(); }))); },
                      [](const py::bytes& state) { return unwrap(Moments::load(bytes_of(state))); }));
  py::class_<ClassMoments>(m, "ClassMoments")
      .def(py::init([](std::size_t width, std::size_t classes) { return unwrap(ClassMoments::create(width, classes)); }), py::arg("width"),
           py::arg("classes"))
      .def("update", &update_classes, py::arg("values"), py::arg("labels"), py::arg("valid") = py::none(), py::arg("threads") = 0)
      .def(
          "merge", [](ClassMoments& moments, const ClassMoments& other) { check(without_lock([&] { return moments.merge(other); })); },
          py::arg("other"))
      .def("totals", &class_totals)
      .def_property_readonly("width", &ClassMoments::width)
      .def_property_readonly("classes", &ClassMoments::classes)
      .def(py::pickle(&save_classes, [](const py::bytes& state) { return unwrap(ClassMoments::load(bytes_of(state))); }));
}

}  // namespace headrace::bindings
