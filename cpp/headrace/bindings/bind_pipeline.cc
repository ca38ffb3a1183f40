#include <pybind11/stl.h>

#include <algorithm>
#include <optional>
#include <tuple>

#include "headrace/base/clock.h"
#include "headrace/bindings/interpreter_lock.h"
#include "headrace/bindings/raise.h"
#include "headrace/bindings/register.h"
#include "headrace/bindings/samples.h"
#include "headrace/pipeline/pipeline.h"

namespace py = pybind11;

namespace headrace::bindings {
namespace {

using pipeline::Batch;
using pipeline::Dataset;
using pipeline::Pipeline;

constexpr std::int64_t kSliceNs = 50'000'000;  // between two looks for Ctrl-C
constexpr double kMaxTimeout = 1e9;            // seconds; 64 bits of nanoseconds hold nine times that

std::unique_ptr<Pipeline> make_pipeline(std::shared_ptr<Dataset> dataset, std::vector<std::uint32_t> fields, std::uint64_t batch_size,
                                        bool drop_last, bool drop_uneven, std::uint64_t rank, std::uint64_t world_size,
                                        const std::string& order, std::uint32_t window, std::uint64_t seed, int num_threads,
                                        std::uint32_t prefetch_batches, std::uint64_t prefetch_bytes, const std::string& ragged,
                                        const std::string& on_error, std::shared_ptr<pipeline::AliasTable> weights,
                                        std::uint64_t epoch_samples, std::shared_ptr<pipeline::Mixture> mixture,
                                        std::shared_ptr<pipeline::Strata> strata,
                                        const std::vector<std::pair<std::uint32_t, std::shared_ptr<ops::ImagePlan>>>& images,
                                        const std::optional<std::tuple<std::uint32_t, std::uint32_t, std::shared_ptr<ops::ImageMix>>>& mix,
                                        std::shared_ptr<ops::FieldPlan> field_plan, std::vector<std::uint32_t> counted) {
  pipeline::PipelineOptions options;
  options.fields = std::move(fields);
  options.partition = {batch_size, rank, world_size, drop_last, drop_uneven};
  options.order = unwrap(pipeline::order_from_name(order));
  options.window = window;
  options.seed = seed;
  options.num_threads = num_threads;
  options.prefetch_batches = prefetch_batches;
  options.prefetch_bytes = prefetch_bytes;
  options.ragged = unwrap(pipeline::ragged_from_name(ragged));
  options.on_error = unwrap(pipeline::on_error_from_name(on_error));
  options.weights = std::move(weights);
  options.epoch_samples = epoch_samples;
  options.mixture = std::move(mixture);
  options.strata = std::move(strata);
  options.images.assign(images.begin(), images.end());
  if (mix.has_value()) options.mix = pipeline::BatchMix{std::get<0>(*mix), std::get<1>(*mix), std::get<2>(*mix)};
  options.field_plan = std::move(field_plan);
  options.counted = std::move(counted);
  return unwrap(Pipeline::create(std::move(dataset), std::move(options)));
}

std::shared_ptr<Batch> next_batch(Pipeline& p, double timeout) {
  const std::int64_t deadline = timeout > 0 ? now_ns() + static_cast<std::int64_t>(std::min(timeout, kMaxTimeout) * 1e9) : 0;
  auto batch = std::make_shared<Batch>();
  while (true) {
    const std::int64_t left = deadline == 0 ? kSliceNs : std::min(kSliceNs, deadline - now_ns());
    switch (unwrap(without_lock([&] { return p.next(std::max<std::int64_t>(left, 0), batch.get()); }))) {
      case Pipeline::Next::kBatch: return batch;
      case Pipeline::Next::kEnd: return nullptr;
      case Pipeline::Next::kNotYet: break;
    }
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    if (deadline != 0 && now_ns() >= deadline) raise({Code::kTimeout, strf("no batch within %.3g s: ", timeout) + p.describe_wait()});
  }
}

py::dict stats_dict(const Pipeline& p) {
  const pipeline::PipelineStats s = p.stats();
  const auto seconds = [](std::uint64_t ns) { return static_cast<double>(ns) * 1e-9; };
  py::dict stages;
  stages["plan"] = seconds(s.plan_ns);
  stages["read"] = seconds(s.read_ns);
  stages["verify"] = seconds(s.verify_ns);
  stages["decode"] = seconds(s.decode_ns);
  stages["assemble"] = seconds(s.assemble_ns);
  stages["images"] = seconds(s.image_ns);
  stages["fields"] = seconds(s.field_plan_ns);
  py::dict out;
  out["batches"] = s.batches;
  out["samples"] = s.samples;
  out["bytes_delivered"] = s.bytes;
  out["errors"] = s.errors;
  out["seconds"] = seconds(s.active_ns);
  out["stall_seconds"] = seconds(s.stall_ns);
  out["time_to_first_batch_seconds"] = seconds(s.first_batch_ns);
  out["stages"] = stages;
  out["bytes_stored_read"] = s.stored_bytes;
  out["bytes_decoded"] = s.decoded_bytes;
  out["blocks_read"] = s.blocks_read;
  out["cache_hits"] = s.cache_hits;
  out["read_retries"] = s.read_retries;
  out["cache_misses"] = s.cache_misses;
  out["cache_bytes"] = s.cache_bytes;
  out["cache_capacity_bytes"] = s.cache_capacity_bytes;
  out["cache_evictions"] = s.cache_evictions;
  out["batches_in_flight"] = s.batches_in_flight;
  out["batches_ready"] = s.batches_ready;
  out["bytes_in_flight"] = s.bytes_in_flight;
  out["peak_bytes"] = s.peak_bytes_in_flight;
  out["slab_bytes"] = s.slab_bytes;
  out["slabs_made"] = s.slabs_made;
  out["slabs_reused"] = s.slabs_reused;
  out["reader"] = s.reader;
  out["num_threads"] = s.num_threads;
  out["prefetch_batches"] = s.prefetch_batches;
  out["prefetch_bytes"] = s.prefetch_bytes;
  out["tuning"] = !s.is_tuned ? "off" : s.is_searching ? "searching" : "settled";
  out["setting_changes"] = s.setting_changes;
  out["timed_one_in"] = s.timed_one_in;
  const pipeline::WaitCounts& waits = p.waits();
  py::list counts;  // as far as there are any
  std::size_t end = pipeline::WaitCounts::kBuckets;
  while (end > 0 && waits.count(end - 1) == 0) --end;
  for (std::size_t i = 0; i < end; ++i) counts.append(waits.count(i));
  out["wait_counts"] = counts;
  out["longest_wait_seconds"] = seconds(waits.longest_ns());
  return out;
}

}  // namespace

void register_pipeline(py::module_& m) {
  py::class_<Pipeline>(m, "Pipeline")
      .def(py::init(&make_pipeline), py::arg("dataset"), py::kw_only(), py::arg("fields"), py::arg("batch_size"),
           py::arg("drop_last") = false, py::arg("drop_uneven") = false, py::arg("rank") = 0, py::arg("world_size") = 1,
           py::arg("order") = "sequential", py::arg("window") = 32, py::arg("seed") = 0, py::arg("num_threads") = 0,
           py::arg("prefetch_batches") = 0, py::arg("prefetch_bytes") = 0, py::arg("ragged") = "padded", py::arg("on_error") = "raise",
           py::arg("weights") = py::none(), py::arg("epoch_samples") = 0, py::arg("mixture") = py::none(), py::arg("strata") = py::none(),
           py::arg("images") = std::vector<std::pair<std::uint32_t, std::shared_ptr<ops::ImagePlan>>>{}, py::arg("mix") = py::none(),
           py::arg("field_plan") = py::none(), py::arg("counted") = std::vector<std::uint32_t>{})
      .def(
          "start",
          [](Pipeline& p, std::uint64_t epoch, std::uint64_t position) { check(without_lock([&] { return p.start(epoch, position); })); },
          py::arg("epoch"), py::arg("position") = 0)
      .def(
          "start_listed",
          [](Pipeline& p, const SampleArray& indices, std::uint64_t position, std::uint64_t epoch) {
            std::vector<std::uint64_t> samples = samples_of(indices, ~std::uint64_t{0} >> 1);
            check(without_lock([&] { return p.start_listed(std::move(samples), position, epoch); }));
          },
          py::arg("indices"), py::arg("position") = 0, py::arg("epoch") = 0)
      .def(
          "set_mixture", [](Pipeline& p, std::shared_ptr<pipeline::Mixture> mixture) { check(p.set_mixture(std::move(mixture))); },
          py::arg("mixture"))
      .def(
          "start_fed", [](Pipeline& p, std::uint64_t epoch) { check(p.start_fed(epoch)); }, py::arg("epoch") = 0)
      .def(
          "feed", [](Pipeline& p, const SampleArray& indices) { check(p.feed(samples_of(indices, ~std::uint64_t{0} >> 1))); },
          py::arg("indices"))
      .def(
          "tune",
          [](Pipeline& p, std::pair<int, int> threads, std::pair<std::uint32_t, std::uint32_t> ahead) {
            check(p.tune({threads.first, threads.second, ahead.first, ahead.second}));
          },
          py::arg("threads"), py::arg("ahead"))
      .def_property_readonly("ahead", &Pipeline::ahead)
      .def("end_feed", [](Pipeline& p) { check(p.end_feed()); })
      .def("next", &next_batch, py::arg("timeout") = 0.0)
      .def("is_ready", &Pipeline::is_ready)
      .def(
          "replay",
          [](Pipeline& p, std::uint64_t epoch, std::uint64_t step) {
            return std::make_shared<Batch>(unwrap(without_lock([&] { return p.replay(epoch, step); })));
          },
          py::arg("epoch"), py::arg("step"))
      .def(
          "replay_at",
          [](Pipeline& p, std::uint64_t epoch, std::uint64_t position) {
            return std::make_shared<Batch>(unwrap(without_lock([&] { return p.replay_at(epoch, position); })));
          },
          py::arg("epoch"), py::arg("position"))
      .def("stats", &stats_dict)
      .def("stop", [](Pipeline& p) {
        py::gil_scoped_release release;
        p.stop();
      });
}

}  // namespace headrace::bindings
