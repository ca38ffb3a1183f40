#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <optional>

#include "headrace/bindings/interpreter_lock.h"
#include "headrace/bindings/raise.h"
#include "headrace/bindings/register.h"
#include "headrace/pipeline/alias_table.h"
#include "headrace/pipeline/class_counts.h"
#include "headrace/pipeline/mixture.h"
#include "headrace/pipeline/permutation.h"
#include "headrace/pipeline/strata.h"

namespace py = pybind11;

namespace headrace::bindings {
namespace {

using pipeline::AliasTable;
using pipeline::ClassCounts;
using Table = std::shared_ptr<AliasTable>;  // immutable: pybind11 knows no pointer to const

Table unwrap_table(Result<std::shared_ptr<const AliasTable>> table) {
  return std::const_pointer_cast<AliasTable>(unwrap(std::move(table)));
}

Table make_table(const py::array& array, int threads) {
  if (array.ndim() != 1) throw py::value_error(strf("weights have %zd dimensions; expected one number a sample", array.ndim()));
  if ((array.flags() & py::array::c_style) == 0) throw py::value_error("weights are not contiguous");
  pipeline::Weights weights;
  weights.count = static_cast<std::size_t>(array.size());
  if (array.dtype().is(py::dtype::of<float>())) {
    weights.floats = static_cast<const float*>(array.data());
  } else if (array.dtype().is(py::dtype::of<double>())) {
    weights.doubles = static_cast<const double*>(array.data());
  } else {
    throw py::type_error("weights must be float32 or float64");
  }
  return unwrap_table(without_lock([&] { return AliasTable::build(weights, threads); }));
}

py::bytes entries_of(const AliasTable& table) {
  return {reinterpret_cast<const char*>(table.entries().data()), table.entries().size_bytes()};
}

Table from_entries(const py::bytes& bytes) {
  const std::string_view raw = bytes;
  if (raw.size() % 8 != 0) throw py::value_error("not the state of an AliasTable");
  return unwrap_table(AliasTable::from_entries({reinterpret_cast<const std::uint64_t*>(raw.data()), raw.size() / 8}, 0));
}

py::array_t<double> probabilities(const AliasTable& table) {
  const std::vector<std::uint64_t> masses = table.masses();
  py::array_t<double> out(static_cast<py::ssize_t>(masses.size()));
  const double all = static_cast<double>(masses.size()) * static_cast<double>(AliasTable::kBin);
  for (std::size_t i = 0; i < masses.size(); ++i) out.mutable_data()[i] = static_cast<double>(masses[i]) / all;
  return out;
}

using Mixed = std::tuple<std::uint64_t, std::uint64_t, std::uint64_t, std::uint64_t>;

std::shared_ptr<pipeline::Mixture> make_mixture(const std::vector<Mixed>& sources) {
  std::vector<pipeline::MixedSource> made;
  for (const auto& [begin, size, step, slots] : sources) made.push_back({begin, size, step, slots});
  return std::const_pointer_cast<pipeline::Mixture>(unwrap(pipeline::Mixture::create(std::move(made))));
}

py::array_t<std::int64_t> mixed_indices(const pipeline::Mixture& mixture, std::uint64_t seed, std::uint64_t epoch, std::uint64_t begin,
                                        std::uint64_t end) {
  if (begin > end || end > 1ull << 48) throw py::value_error("positions must grow, up to 2^48");
  py::array_t<std::int64_t> out(static_cast<py::ssize_t>(end - begin));
  auto* data = reinterpret_cast<std::uint64_t*>(out.mutable_data());  // Samples are below 2^48: the same bits.
  py::gil_scoped_release release;
  mixture.fill(pipeline::mix_key(seed, epoch), begin, {data, end - begin});
  return out;
}

std::shared_ptr<pipeline::Strata> make_strata(const py::array_t<std::uint32_t, py::array::c_style>& classes,
                                              std::vector<std::uint64_t> quotas, std::uint64_t block) {
  if (classes.ndim() != 1) throw py::value_error(strf("classes have %zd dimensions; expected one number a sample", classes.ndim()));
  const std::span<const std::uint32_t> given(classes.data(), static_cast<std::size_t>(classes.size()));
  return std::const_pointer_cast<pipeline::Strata>(
      unwrap(without_lock([&] { return pipeline::Strata::create(given, std::move(quotas), block); })));
}

py::array_t<std::int64_t> strata_indices(const pipeline::Strata& strata, std::uint64_t seed, std::uint64_t epoch, std::uint64_t begin,
                                         std::uint64_t end) {
  if (begin > end || end > strata.size())
    throw py::value_error(strf("positions must grow, up to %llu", static_cast<unsigned long long>(strata.size())));
  py::array_t<std::int64_t> out(static_cast<py::ssize_t>(end - begin));
  auto* data = reinterpret_cast<std::uint64_t*>(out.mutable_data());  // Samples are below 2^31: the same bits.
  py::gil_scoped_release release;
  strata.fill(pipeline::mix_key(seed, epoch), begin, {data, end - begin});
  return out;
}

}  // namespace

void register_weights(py::module_& m) {
  py::class_<pipeline::Mixture, std::shared_ptr<pipeline::Mixture>>(m, "Mixture")
      .def(py::init(&make_mixture), py::arg("sources"))
      .def("indices", &mixed_indices, py::arg("seed"), py::arg("epoch"), py::arg("begin"), py::arg("end"));
  py::class_<pipeline::Strata, std::shared_ptr<pipeline::Strata>>(m, "Strata")
      .def(py::init(&make_strata), py::arg("classes"), py::arg("quotas"), py::arg("block") = 0)
      .def("__len__", &pipeline::Strata::size)
      .def_property_readonly("fingerprint", &pipeline::Strata::fingerprint)
      .def(
          "next_use",
          [](const pipeline::Strata& s, std::uint64_t seed, std::uint64_t epoch, std::uint64_t sample, std::uint64_t begin) {
            if (sample >= s.num_samples()) throw py::index_error("there is no such sample");
            const std::uint64_t found = s.next_use(pipeline::mix_key(seed, epoch), sample, 1, begin, nullptr);
            return found == pipeline::Strata::kNever ? std::optional<std::uint64_t>() : found;
          },
          py::arg("seed"), py::arg("epoch"), py::arg("sample"), py::arg("begin") = 0)
      .def("indices", &strata_indices, py::arg("seed"), py::arg("epoch"), py::arg("begin"), py::arg("end"));
  py::class_<AliasTable, Table>(m, "AliasTable")
      .def(py::init(&make_table), py::arg("weights"), py::arg("threads") = 0)
      .def("__len__", &AliasTable::size)
      .def_property_readonly("fingerprint", &AliasTable::fingerprint)
      .def("probabilities", &probabilities)
      .def(py::pickle(&entries_of, &from_entries));
  py::class_<ClassCounts>(m, "ClassCounts")
      .def(py::init<>())
      .def(
          "add", [](ClassCounts& c, const pipeline::Batch& batch) { check(without_lock([&] { return c.add(batch); })); }, py::arg("batch"))
      .def_property_readonly("counts", [](const ClassCounts& c) { return c.counts(); })
      .def(
          "balanced", [](const ClassCounts& c, int threads) { return unwrap_table(without_lock([&] { return c.balanced(threads); })); },
          py::arg("threads") = 0);
}

}  // namespace headrace::bindings
