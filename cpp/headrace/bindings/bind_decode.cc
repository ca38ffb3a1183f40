#include "headrace/bindings/raise.h"
#include "headrace/bindings/register.h"
#include "headrace/bindings/samples.h"
#include "headrace/pipeline/decode_rate.h"

namespace py = pybind11;

namespace headrace::bindings {
namespace {

py::dict decode_rate(const pipeline::Dataset& dataset, std::uint32_t field, const SampleArray& indices, std::uint64_t batch_size,
                     int threads, bool with_filters) {
  const std::vector<std::uint64_t> samples = samples_of(indices, dataset.num_samples());
  py::gil_scoped_release release;
  auto measured = pipeline::measure_decode_rate(dataset, field, samples, batch_size, threads, with_filters);
  py::gil_scoped_acquire acquire;
  const pipeline::DecodeRate rate = unwrap(std::move(measured));
  py::dict out;
  out["seconds"] = rate.seconds;
  out["decoded_bytes"] = rate.decoded_bytes;
  out["stored_bytes"] = rate.stored_bytes;
  out["blocks"] = rate.blocks;
  return out;
}

}  // namespace

void register_decode(py::module_& m) {
  m.def("decode_rate", &decode_rate, py::arg("dataset"), py::arg("field"), py::arg("indices"), py::arg("batch_size"),
        py::arg("threads") = 1, py::arg("with_filters") = false);
}

}  // namespace headrace::bindings
