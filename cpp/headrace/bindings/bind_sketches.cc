#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <bit>

#include "headrace/bindings/interpreter_lock.h"
#include "headrace/bindings/raise.h"
#include "headrace/bindings/register.h"
#include "headrace/bindings/statistics_rows.h"
#include "headrace/statistics/distinct.h"
#include "headrace/statistics/frequencies.h"
#include "headrace/statistics/quantiles.h"

namespace py = pybind11;

namespace headrace::bindings {
namespace {

using statistics::Distinct;
using statistics::Frequencies;
using statistics::KeyKind;
using statistics::Quantiles;

py::array_t<double> quantiles_at(const Quantiles& quantiles, const py::array_t<double, py::array::c_style>& q) {
  const auto asked = static_cast<std::size_t>(q.size()), width = quantiles.width();
  for (std::size_t i = 0; i < asked; ++i) {
    if (!(q.data()[i] >= 0 && q.data()[i] <= 1)) throw py::value_error(strf("q is %g; expected 0 to 1", q.data()[i]));
  }
  py::array_t<double> out({static_cast<py::ssize_t>(asked), static_cast<py::ssize_t>(width)});
  std::vector<double> column(asked);
  for (std::size_t c = 0; c < width; ++c) {
    const auto& sketch = quantiles.columns()[c];
    if (sketch.count() == 0) {
      std::fill(column.begin(), column.end(), std::nan(""));
    } else {
      sketch.quantiles(q.data(), asked, column.data());
    }
    for (std::size_t i = 0; i < asked; ++i) out.mutable_data()[i * width + c] = column[i];
  }
  return out;
}

py::array_t<std::int64_t> counts_of(const Quantiles& quantiles) {
  std::vector<std::int64_t> counts;
  for (const auto& column : quantiles.columns()) counts.push_back(static_cast<std::int64_t>(column.count()));
  return to_array(counts);
}

py::tuple rank_of(const Quantiles& quantiles, std::size_t column, const py::array_t<double, py::array::c_style>& values) {
  if (column >= quantiles.width()) throw py::index_error(strf("column %zu is outside the width of %zu", column, quantiles.width()));
  std::vector<std::int64_t> below, equal;
  for (py::ssize_t i = 0; i < values.size(); ++i) {
    const auto [under, same] = quantiles.columns()[column].rank(values.data()[i]);
    below.push_back(static_cast<std::int64_t>(under));
    equal.push_back(static_cast<std::int64_t>(same));
  }
  return py::make_tuple(to_array(below), to_array(equal));
}

py::tuple points_of(const Quantiles& quantiles, std::size_t column) {
  if (column >= quantiles.width()) throw py::index_error(strf("column %zu is outside the width of %zu", column, quantiles.width()));
  std::vector<double> values;
  std::vector<std::int64_t> at_most;
  for (const auto& point : quantiles.columns()[column].points()) {
    values.push_back(point.value);
    at_most.push_back(static_cast<std::int64_t>(point.at_most));
  }
  return py::make_tuple(to_array(values), to_array(at_most));
}

template <typename T>
py::object values_of(const std::vector<Frequencies::Item>& entries) {
  std::vector<T> values;
  for (const auto& entry : entries) values.push_back(std::bit_cast<T>(entry.key));
  return to_array(values);
}

py::tuple items_of(const Frequencies& frequencies, std::size_t most) {
  const std::vector<Frequencies::Item> entries = unwrap(without_lock([&] { return frequencies.items(most); }));
  std::vector<std::int64_t> counts;
  py::list texts;
  for (const auto& entry : entries) {
    counts.push_back(entry.count);
    if (frequencies.kind() == KeyKind::kText) texts.append(py::bytes(entry.text));
  }
  switch (frequencies.kind()) {
    case KeyKind::kText: return py::make_tuple(texts, to_array(counts));
    case KeyKind::kUnsigned: return py::make_tuple(values_of<std::uint64_t>(entries), to_array(counts));
    case KeyKind::kFloat: return py::make_tuple(values_of<double>(entries), to_array(counts));
    default: return py::make_tuple(values_of<std::int64_t>(entries), to_array(counts));
  }
}

using Hashes = py::array_t<std::uint64_t, py::array::c_style>;

std::uint64_t* hashes_for(Hashes& hashes, std::size_t rows) {
  if (hashes.ndim() != 1 || static_cast<std::size_t>(hashes.size()) != rows)
    throw py::value_error(strf("hashes must have shape (%zu,)", rows));
  return hashes.mutable_data();
}

void register_quantiles(py::module_& m) {
  py::class_<Quantiles>(m, "Quantiles")
      .def(py::init(
               [](std::size_t width, double rank_error, std::uint64_t seed) { return unwrap(Quantiles::create(width, rank_error, seed)); }),
           py::arg("width"), py::arg("rank_error"), py::arg("seed"))
      .def(
          "update",
          [](Quantiles& quantiles, const py::array& values, const py::object& valid, int threads) {
            const statistics::Rows rows = rows_of(values, valid, quantiles.width());
            check(without_lock([&] { return quantiles.update(rows, threads); }));
          },
          py::arg("values"), py::arg("valid") = py::none(), py::arg("threads") = 0)
      .def(
          "merge", [](Quantiles& quantiles, const Quantiles& other) { check(without_lock([&] { return quantiles.merge(other); })); },
          py::arg("other"))
      .def("quantiles", &quantiles_at, py::arg("q"))
      .def("rank", &rank_of, py::arg("column"), py::arg("values"))
      .def("points", &points_of, py::arg("column"))
      .def_property_readonly("count", &counts_of)
      .def_property_readonly("width", &Quantiles::width)
      .def_property_readonly("rank_error", &Quantiles::rank_error)
      .def_property_readonly("seed", &Quantiles::seed)
      .def_property_readonly("is_exact", &Quantiles::is_exact)
      .def(py::pickle([](const Quantiles& quantiles) { return to_bytes(unwrap(quantiles.save())); },
                      [](const py::bytes& state) { return unwrap(Quantiles::load(bytes_of(state))); }));
}

void register_frequencies(py::module_& m) {
  py::class_<Frequencies>(m, "Frequencies")
      .def(py::init([](std::size_t limit) { return unwrap(Frequencies::create(limit)); }), py::arg("limit"))
      .def(
          "update",
          [](Frequencies& frequencies, const py::array& values, const py::object& valid) {
            const statistics::Rows rows = rows_of(values, valid, 1);
            check(without_lock([&] { return frequencies.update(rows); }));
          },
          py::arg("values"), py::arg("valid") = py::none())
      .def(
          "update_texts",
          [](Frequencies& frequencies, const py::array& values, const Offsets& offsets, const py::object& valid) {
            const statistics::Texts texts = texts_of(values, offsets, valid);
            check(without_lock([&] { return frequencies.update(texts); }));
          },
          py::arg("values"), py::arg("offsets"), py::arg("valid") = py::none())
      .def(
          "merge",
          [](Frequencies& frequencies, const Frequencies& other) { check(without_lock([&] { return frequencies.merge(other); })); },
          py::arg("other"))
      .def("items", &items_of, py::arg("most"))
      .def(
          "keep_up_to", [](Frequencies& frequencies, std::uint64_t key) { check(frequencies.keep_up_to(key)); }, py::arg("key"))
      .def("__len__", &Frequencies::size)
      .def_property_readonly("limit", &Frequencies::limit)
      .def_property_readonly("is_exact", &Frequencies::is_exact)
      .def_property_readonly("error", &Frequencies::error)
      .def_property_readonly("count", &Frequencies::count)
      .def_property_readonly("nulls", &Frequencies::nulls)
      .def(py::pickle([](const Frequencies& frequencies) { return to_bytes(unwrap(frequencies.save())); },
                      [](const py::bytes& state) { return unwrap(Frequencies::load(bytes_of(state))); }));
}

void register_distinct(py::module_& m) {
  py::class_<Distinct>(m, "Distinct")
      .def(py::init([](int precision) { return unwrap(Distinct::create(precision)); }), py::arg("precision"))
      .def(
          "update",
          [](Distinct& distinct, const py::array& values, const py::object& valid, int threads) {
            const statistics::Rows rows = rows_of(values, valid, 1);
            check(without_lock([&] { return distinct.update(rows, threads); }));
          },
          py::arg("values"), py::arg("valid") = py::none(), py::arg("threads") = 0)
      .def(
          "update_texts",
          [](Distinct& distinct, const py::array& values, const Offsets& offsets, const py::object& valid, int threads) {
            const statistics::Texts texts = texts_of(values, offsets, valid);
            check(without_lock([&] { return distinct.update(texts, threads); }));
          },
          py::arg("values"), py::arg("offsets"), py::arg("valid") = py::none(), py::arg("threads") = 0)
      .def(
          "merge", [](Distinct& distinct, const Distinct& other) { check(distinct.merge(other)); }, py::arg("other"))
      .def_property_readonly("estimate", &Distinct::estimate)
      .def_property_readonly("relative_error", &Distinct::relative_error)
      .def_property_readonly("precision", &Distinct::precision)
      .def(py::pickle([](const Distinct& distinct) { return to_bytes(unwrap(distinct.save())); },
                      [](const py::bytes& state) { return unwrap(Distinct::load(bytes_of(state))); }));
}

}  // namespace

void register_sketches(py::module_& m) {
  register_quantiles(m);
  register_frequencies(m);
  register_distinct(m);
  m.def(
      "mix_rows",
      [](const py::array& values, const py::object& valid, Hashes hashes) {
        const std::size_t width = values.ndim() == 2 ? static_cast<std::size_t>(values.shape(1)) : 1;
        const statistics::Rows rows = rows_of(values, valid, width);
        std::uint64_t* into = hashes_for(hashes, rows.count);
        check(without_lock([&] { return statistics::mix_rows(rows, into), Status(); }));
      },
      py::arg("values"), py::arg("valid"), py::arg("hashes").noconvert());
  m.def(
      "mix_texts",
      [](const py::array& values, const Offsets& offsets, const py::object& valid, Hashes hashes) {
        const statistics::Texts texts = texts_of(values, offsets, valid);
        std::uint64_t* into = hashes_for(hashes, texts.count);
        check(without_lock([&] { return statistics::mix_texts(texts, into), Status(); }));
      },
      py::arg("values"), py::arg("offsets"), py::arg("valid"), py::arg("hashes").noconvert());
}

}  // namespace headrace::bindings
