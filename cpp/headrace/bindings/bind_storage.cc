#include <pybind11/stl.h>

#include <array>
#include <atomic>
#include <chrono>
#include <future>
#include <optional>
#include <string>
#include <vector>

#include "headrace/base/blocked_signals.h"
#include "headrace/bindings/interpreter_lock.h"
#include "headrace/bindings/paths.h"
#include "headrace/bindings/raise.h"
#include "headrace/bindings/register.h"
#include "headrace/pipeline/read_benchmark.h"
#include "headrace/storage/directory_listing.h"

namespace py = pybind11;

namespace headrace::bindings {
namespace {

// Looks for Ctrl-C while the benchmark runs in a thread of its own.
Result<pipeline::ReadBenchmarkResult> interruptible(pipeline::ReadBenchmarkOptions& options) {
  std::atomic<bool> cancelled{false};
  options.cancelled = &cancelled;
  auto running = std::async(std::launch::async, [&] {
    const BlockedSignals blocked;
    return pipeline::read_benchmark(options);
  });
  while (without_lock([&] { return running.wait_for(std::chrono::milliseconds(20)); }) != std::future_status::ready) {
    if (PyErr_CheckSignals() == 0) continue;
    cancelled.store(true);
    without_lock([&] { return running.wait_for(std::chrono::hours(24)); });
    throw py::error_already_set();
  }
  return running.get();
}

py::dict run_read_benchmark(const std::vector<py::object>& paths, std::uint64_t block_bytes, unsigned depth, const std::string& reader,
                            bool random, double seconds, int threads, std::uint64_t seed, bool loop) {
  pipeline::ReadBenchmarkOptions options;
  for (const py::object& path : paths) options.paths.push_back(file_path(path));
  options.block_bytes = block_bytes;
  options.depth = depth;
  options.reader = unwrap(io::reader_from_name(reader));
  options.random = random;
  options.seconds = seconds;
  options.threads = threads;
  options.seed = seed;
  options.loop = loop;
  const pipeline::ReadBenchmarkResult result = unwrap(interruptible(options));
  py::dict out;
  out["bytes"] = result.bytes;
  out["operations"] = result.operations;
  out["blocks"] = result.blocks;
  out["seconds"] = result.seconds;
  py::dict latency, counts;
  const auto seconds_of = [](std::uint64_t ns) { return static_cast<double>(ns) * 1e-9; };
  latency["p50"] = seconds_of(result.latency.percentile(0.5));
  latency["p90"] = seconds_of(result.latency.percentile(0.9));
  latency["p99"] = seconds_of(result.latency.percentile(0.99));
  latency["p99.9"] = seconds_of(result.latency.percentile(0.999));
  latency["max"] = seconds_of(result.latency.max());
  out["latency_seconds"] = latency;
  for (std::size_t i = 0; i < pipeline::LatencyHistogram::kBuckets; ++i) {
    if (result.latency.count(i) != 0) counts[py::int_(pipeline::LatencyHistogram::middle(i))] = result.latency.count(i);
  }
  out["latency_counts"] = counts;
  out["device_bytes"] = result.device_bytes < 0 ? py::object(py::none()) : py::object(py::int_(result.device_bytes));
  out["reader"] = io::reader_name(result.reader);
  out["fallback"] = result.fallback;
  return out;
}

using IdentityValues = std::array<std::int64_t, 4>;  // device, inode, mtime and ctime in ns

IdentityValues values_of(const storage::DirectoryIdentity& identity) {
  return {static_cast<std::int64_t>(identity.device), static_cast<std::int64_t>(identity.inode), identity.mtime_ns, identity.ctime_ns};
}

// Names by '/', which is in none.
py::bytes joined(const std::vector<std::string>& names) {
  std::string out;
  for (const std::string& name : names) (out += out.empty() ? "" : "/") += name;
  return out;
}

py::list list_directories(const std::vector<py::object>& paths, const std::vector<std::optional<IdentityValues>>& known, int threads) {
  if (known.size() != paths.size()) throw py::value_error("paths and known differ in length");
  std::vector<storage::ListedDirectory> directories;
  for (std::size_t i = 0; i < paths.size(); ++i) {
    directories.push_back({file_path(paths[i]), std::nullopt});
    if (!known[i].has_value()) continue;
    const auto& [device, inode, mtime_ns, ctime_ns] = *known[i];
    directories.back().known = {static_cast<std::uint64_t>(device), static_cast<std::uint64_t>(inode), mtime_ns, ctime_ns};
  }
  const auto listings = unwrap(without_lock([&] { return storage::list_directories(directories, threads); }));
  py::list out;
  for (const auto& listing : listings) {
    if (!listing.has_value()) {
      out.append(py::none());
    } else {
      out.append(py::make_tuple(values_of(listing->identity), joined(listing->files), joined(listing->folders), listing->can_be_kept));
    }
  }
  return out;
}

}  // namespace

void register_storage(py::module_& m) {
  m.def("read_benchmark", &run_read_benchmark, py::arg("paths"), py::kw_only(), py::arg("block_bytes"), py::arg("depth"), py::arg("reader"),
        py::arg("random"), py::arg("seconds"), py::arg("threads") = 1, py::arg("seed") = 0, py::arg("loop") = false);
  m.def("list_directories", &list_directories, py::arg("paths"), py::arg("known"), py::kw_only(), py::arg("threads"));
}

}  // namespace headrace::bindings
