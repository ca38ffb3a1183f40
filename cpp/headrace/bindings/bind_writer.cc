#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <thread>

#include "headrace/bindings/paths.h"
#include "headrace/bindings/raise.h"
#include "headrace/bindings/register.h"
#include "headrace/format/dataset_writer.h"
#include "headrace/format/verify.h"

namespace py = pybind11;

namespace headrace::bindings {
namespace {

using format::DatasetWriter;

using Offsets = py::array_t<std::uint64_t, py::array::c_style>;
using Valid = py::array_t<bool, py::array::c_style>;

// Keeps the buffers of one extend() call alive while the interpreter lock is released.
struct Column {
  Py_buffer view{};
  Offsets offsets;
  Valid valid;
  Column() = default;
  ~Column() {
    if (view.obj != nullptr) PyBuffer_Release(&view);
  }
  Column(const Column&) = delete;
  Column& operator=(const Column&) = delete;
};

// Asks a writer something while another thread may be in it, which then has the writer's lock and may take long.
template <typename Ask>
auto ask(const DatasetWriter& writer, Ask question) {
  py::gil_scoped_release release;
  return (writer.*question)();
}

void extend(DatasetWriter& writer, const py::sequence& columns, std::uint64_t rows) {
  const std::vector<format::Field> fields = ask(writer, &DatasetWriter::schema).fields;
  if (columns.size() != fields.size()) {
    throw py::value_error(strf("extend got %zu columns; the schema has %zu fields", columns.size(), fields.size()));
  }
  std::vector<std::unique_ptr<Column>> held;
  std::vector<format::ColumnView> views;
  for (std::size_t i = 0; i < fields.size(); ++i) {
    const auto column = columns[i].cast<py::tuple>();
    if (column.size() != 3) throw py::value_error("field '" + fields[i].name + "': a column is a tuple (values, offsets, valid)");
    auto& c = *held.emplace_back(std::make_unique<Column>());
    if (PyObject_GetBuffer(py::object(column[0]).ptr(), &c.view, PyBUF_C_CONTIGUOUS) != 0) throw py::error_already_set();
    format::ColumnView view;
    view.values = {static_cast<const std::uint8_t*>(c.view.buf), static_cast<std::size_t>(c.view.len)};
    if (!column[1].is_none()) {
      c.offsets = column[1].cast<Offsets>();
      if (static_cast<std::uint64_t>(c.offsets.size()) != rows + 1) {
        throw py::value_error(strf("field '%s': %zd offsets for %llu rows; expected one more than rows", fields[i].name.c_str(),
                                   c.offsets.size(), static_cast<unsigned long long>(rows)));
      }
      view.offsets = c.offsets.data();
    }
    if (!column[2].is_none()) {
      c.valid = column[2].cast<Valid>();
      if (static_cast<std::uint64_t>(c.valid.size()) != rows) {
        throw py::value_error(strf("field '%s': validity of %zd for %llu rows", fields[i].name.c_str(), c.valid.size(),
                                   static_cast<unsigned long long>(rows)));
      }
      view.valid = reinterpret_cast<const std::uint8_t*>(c.valid.data());
    }
    views.push_back(view);
  }
  Status status;
  {
    py::gil_scoped_release release;
    status = writer.extend(views, rows);
  }
  check(status);
}

std::unique_ptr<DatasetWriter> make_writer(const py::object& path, const format::Schema& schema, bool append, std::uint32_t chunk_samples,
                                           std::uint64_t chunk_bytes, std::uint64_t shard_bytes, int threads,
                                           const std::vector<bool>& auto_codec) {
  format::WriterOptions options;
  options.append = append;
  options.chunk_samples = chunk_samples;
  if (chunk_bytes != 0) options.chunk_bytes = chunk_bytes;
  if (shard_bytes != 0) options.shard_bytes = shard_bytes;
  options.threads = threads;
  options.auto_codec.assign(auto_codec.begin(), auto_codec.end());
  const std::string folder = file_path(path);
  py::gil_scoped_release release;
  auto writer = DatasetWriter::create(folder, schema, std::move(options));
  py::gil_scoped_acquire acquire;
  return unwrap(std::move(writer));
}

// A verification that runs on a thread of its own, so that the caller can answer Ctrl-C and draw progress.
struct Verification {
  std::string path;
  std::uint64_t version;
  bool decode;
  int threads;
  std::shared_ptr<format::VerifyProgress> progress = std::make_shared<format::VerifyProgress>();
};

py::dict report_dict(const format::VerifyReport& report) {
  py::list damages;
  for (const format::Damage& d : report.damages) {
    py::dict one;
    one["path"] = path_text(d.path);
    one["chunk"] = d.chunk < 0 ? py::object(py::none()) : py::object(py::int_(d.chunk));
    one["field"] = d.field.empty() ? py::object(py::none()) : py::object(py::str(d.field));
    one["offset"] = d.offset;
    one["bytes"] = d.bytes;
    one["error"] = exception_name(d.status.code());
    one["message"] = message_text(d.status.message());
    damages.append(one);
  }
  py::dict out;
  out["shards"] = report.shards;
  out["chunks"] = report.chunks;
  out["blocks"] = report.blocks;
  out["bytes"] = report.bytes;
  out["samples"] = report.samples;
  out["damages"] = damages;
  return out;
}

py::dict run_verification(Verification& v) {
  v.progress->cancel = false;
  v.progress->bytes_done = 0;
  std::atomic<bool> done{false};
  std::optional<Result<format::VerifyReport>> result;
  std::thread worker([&, progress = v.progress] {
    result.emplace(format::verify(v.path, v.version, v.decode, v.threads, {}, progress.get()));
    done.store(true, std::memory_order_release);
    done.notify_all();
  });
  bool interrupted = false;
  {
    py::gil_scoped_release release;
    while (!done.load(std::memory_order_acquire)) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      py::gil_scoped_acquire acquire;
      if (!interrupted && PyErr_CheckSignals() != 0) {
        interrupted = true;
        v.progress->cancel = true;
      }
      if (interrupted) break;
    }
    worker.join();
  }
  if (interrupted) throw py::error_already_set();
  return report_dict(unwrap(std::move(*result)));
}

py::dict trial_dict(const format::CodecTrial& trial) {
  py::dict out;
  out["codec"] = codec::codec_name(trial.codec);
  out["filter"] = codec::filter_name(trial.filter);
  out["level"] = trial.level;
  out["dictionary"] = trial.dictionary;
  out["block_bytes"] = trial.block_bytes;
  out["ratio"] = trial.ratio;
  out["decode_bytes_per_second"] = trial.decode_bytes_per_second;
  out["seconds_per_gb"] = trial.seconds_per_gb;
  return out;
}

py::list choice_list(const DatasetWriter& writer) {
  py::list out;
  for (const format::CodecChoice& choice : ask(writer, &DatasetWriter::choices)) {
    py::dict entry;
    entry["field"] = choice.field;
    entry["chosen"] = choice.chosen;
    entry["reason"] = choice.reason;
    py::list trials;
    for (const format::CodecTrial& trial : choice.trials) trials.append(trial_dict(trial));
    entry["trials"] = trials;
    out.append(entry);
  }
  return out;
}

}  // namespace

void register_writer(py::module_& m) {
  py::class_<DatasetWriter>(m, "DatasetWriter")
      .def(py::init(&make_writer), py::arg("path"), py::arg("schema"), py::kw_only(), py::arg("append") = false,
           py::arg("chunk_samples") = 0, py::arg("chunk_bytes") = 0, py::arg("shard_bytes") = 0, py::arg("threads") = 0,
           py::arg("auto_codec") = std::vector<bool>{})
      .def("extend", &extend, py::arg("columns"), py::arg("rows"))
      .def("commit",
           [](DatasetWriter& w) {
             std::optional<Result<std::uint64_t>> version;
             {
               py::gil_scoped_release release;
               version.emplace(w.commit());
             }
             return unwrap(std::move(*version));
           })
      .def("abort", &DatasetWriter::abort, py::call_guard<py::gil_scoped_release>())
      .def("progress",
           [](const DatasetWriter& w) {
             const DatasetWriter::Progress p = ask(w, &DatasetWriter::progress);
             py::dict out;
             out["samples"] = p.samples;
             out["raw_bytes"] = p.raw_bytes;
             out["stored_bytes"] = p.stored_bytes;
             out["shards"] = p.shards;
             return out;
           })
      .def_property_readonly("schema", [](const DatasetWriter& w) { return ask(w, &DatasetWriter::schema); })
      .def_property_readonly("choices", &choice_list);
  py::class_<Verification>(m, "Verification")
      .def(py::init([](const py::object& path, std::uint64_t version, bool decode, int threads) {
             return std::make_unique<Verification>(Verification{file_path(path), version, decode, threads});
           }),
           py::arg("path"), py::arg("version") = 0, py::kw_only(), py::arg("decode") = false, py::arg("threads") = 0)
      .def("run", &run_verification)
      .def("progress", [](const Verification& v) { return py::make_tuple(v.progress->bytes_done.load(), v.progress->bytes_total.load()); })
      .def("cancel", [](Verification& v) { v.progress->cancel = true; });
}

}  // namespace headrace::bindings
