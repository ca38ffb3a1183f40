#include <lz4.h>
#include <pybind11/stl.h>
#include <zstd.h>

#include "headrace/base/cpu.h"
#include "headrace/base/thread_pool.h"
#include "headrace/base/worker_process.h"
#include "headrace/bindings/raise.h"
#include "headrace/bindings/register.h"
#include "headrace/codec/checksum.h"
#include "headrace/format/layout.h"
#include "headrace/format/utf8.h"
#include "headrace/io/block_cache.h"
#include "headrace/ops/whole_image.h"
#include "headrace/storage/host_register.h"

namespace py = pybind11;

namespace headrace::bindings {
namespace {

// A C-contiguous buffer, released when this dies.
class BufferView {
 public:
  explicit BufferView(const py::object& object) {
    if (PyObject_GetBuffer(object.ptr(), &view_, PyBUF_C_CONTIGUOUS) != 0) throw py::error_already_set();
  }
  ~BufferView() { PyBuffer_Release(&view_); }
  BufferView(const BufferView&) = delete;
  BufferView& operator=(const BufferView&) = delete;
  Bytes bytes() const { return {static_cast<const std::uint8_t*>(view_.buf), static_cast<std::size_t>(view_.len)}; }

 private:
  Py_buffer view_{};
};

py::dict build_info() {
  py::dict out;
  out["compiler"] = __VERSION__;
  out["cxx_standard"] = static_cast<long>(__cplusplus);
#ifdef NDEBUG
  out["assertions"] = false;
#else
  out["assertions"] = true;
#endif
  out["optimised"] =
#ifdef __OPTIMIZE__
      true;
#else
      false;
#endif
  out["lz4"] = LZ4_versionString();
  out["zstd"] = ZSTD_versionString();
  out["images"] = ops::image_formats();
  out["format"] = strf("%u.%u", unsigned{format::kMajor}, unsigned{format::kMinor});
  out["cores"] = available_cores();
  out["memory_bytes"] = available_memory_bytes();
  out["num_threads"] = ThreadPool::shared().max_threads();
  return out;
}

void set_cache_bytes(std::optional<std::int64_t> count) {
  if (count.has_value() && (*count < 0 || *count >= std::int64_t{1} << 48))
    throw py::value_error(strf("count is %lld; expected 0 to 2^48 - 1 bytes, or None", static_cast<long long>(*count)));
  py::gil_scoped_release release;
  io::BlockCache::set_shared_capacity(count.has_value() ? std::optional(static_cast<std::size_t>(*count)) : std::nullopt);
}

py::dict cache_stats() {
  const io::BlockCache& cache = io::BlockCache::shared();
  const io::BlockCache::Stats s = cache.stats();
  py::dict out;
  out["bytes"] = cache.bytes();
  out["capacity_bytes"] = cache.capacity_bytes();
  out["blocks"] = s.blocks;
  out["hits"] = s.hits;
  out["misses"] = s.misses;
  out["evictions"] = s.evictions;
  out["refusals"] = s.refusals;
  out["failures"] = s.failures;
  return out;
}

}  // namespace

void register_process(py::module_& m) {
  m.def(
      "num_threads", [] { return ThreadPool::shared().max_threads(); },
      "Return the most threads that the process's pool may have: HEADRACE_NUM_THREADS, or the cores that affinity and cgroup quota left "
      "when "
      "the newest loader was made.");
  m.def("running_threads", [] { return ThreadPool::shared().running_threads(); });
  m.def(
      "set_num_threads",
      [](int count) {
        if (count < 1 || count > 1024) throw py::value_error(strf("count is %d; expected 1 to 1024", count));
        ThreadPool::shared().set_max_threads(count);
      },
      py::arg("count"),
      "Bound the threads of the process's pool, which all loaders, writers and verifiers share; for work that starts from now on.\n\n"
      "Raises ValueError unless 1 <= count <= 1024.");
  m.def(
      "end_by_word_of", [](int maker) { check(end_by_word_of(maker)); }, py::arg("maker"),
      "In a worker process: SIGTERM from the process `maker` or the parent ends this one at once with status 0; from others it does "
      "nothing.");
  m.def("end_with_parent", &end_with_parent,
        "In a worker process: have the kernel kill it when the thread that started it ends. Returns whether it will.");
  m.def(
      "set_host_register",
      [](std::uintptr_t lock, std::uintptr_t unlock, std::uintptr_t clear_error, std::uintptr_t get_device, std::uintptr_t set_device) {
        storage::set_host_register({reinterpret_cast<int (*)(void*, std::size_t, unsigned)>(lock), reinterpret_cast<int (*)(void*)>(unlock),
                                    reinterpret_cast<int (*)()>(clear_error), reinterpret_cast<int (*)(int*)>(get_device),
                                    reinterpret_cast<int (*)(int)>(set_device)});
      },
      py::arg("lock"), py::arg("unlock"), py::arg("clear_error") = 0, py::arg("get_device") = 0, py::arg("set_device") = 0);
  m.def(
      "set_cache_bytes", &set_cache_bytes, py::arg("count"),
      "Bound the cache of decoded blocks that all loaders of the process share, in bytes; blocks go until the rest fits. 0 keeps none.\n\n"
      "None, the start: each dataset brings 32 MiB, or half the prefetch_bytes of its loader, while it lives; a fourth of the memory at "
      "most.\n"
      "Raises ValueError unless 0 <= count < 2**48.");
  m.def("cache_stats", &cache_stats);
  m.def("chosen_cache_bytes", &io::BlockCache::chosen_capacity);
  m.def("build_info", &build_info);
  m.def("available_memory_bytes", &available_memory_bytes);
  m.def(
      "xxh3_64",
      [](const py::object& data, std::uint64_t seed) {
        const BufferView view(data);
        py::gil_scoped_release release;
        return codec::hash(view.bytes(), seed);
      },
      py::arg("data"), py::arg("seed") = 0);
  m.def(
      "validate_utf8",
      [](const py::object& data) {
        const BufferView view(data);
        const std::uint64_t valid = format::utf8_prefix(view.bytes());
        return valid == view.bytes().size() ? std::int64_t{-1} : static_cast<std::int64_t>(valid);
      },
      py::arg("data"));
}

}  // namespace headrace::bindings
