// Every allocation of a pass fails once, in turn: opening, starting, planning, reading, decoding, handing over. The error is out of memory,
// no batch is wrong or lost without one, and the pipeline serves a whole pass afterwards.
#include <doctest/doctest.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <new>
#include <set>

#include "headrace/pipeline/pipeline.h"
#include "pipeline/small_dataset.h"
#include "temp_dir.h"

// The sanitizers bring allocators of their own.
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

namespace {

std::atomic<bool> g_armed{false};
std::atomic<std::int64_t> g_until{0};  // allocations until the one that fails
thread_local bool t_exempt = false;    // in the test's own code, on its own thread

// Whether this allocation is the one.
bool fails_now() { return !t_exempt && g_armed.load(std::memory_order_relaxed) && g_until.fetch_sub(1) == 1; }

void* allocate(std::size_t bytes, std::size_t alignment = alignof(std::max_align_t)) {
  if (fails_now()) return nullptr;
  bytes = std::max<std::size_t>(bytes, 1);
  return alignment <= alignof(std::max_align_t) ? std::malloc(bytes)
                                                : std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
}

void* allocate_or_throw(std::size_t bytes, std::size_t alignment = alignof(std::max_align_t)) {
  void* memory = allocate(bytes, alignment);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

void* operator new(std::size_t bytes) { return allocate_or_throw(bytes); }
void* operator new[](std::size_t bytes) { return allocate_or_throw(bytes); }
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept { return allocate(bytes); }
void* operator new[](std::size_t bytes, const std::nothrow_t&) noexcept { return allocate(bytes); }
void* operator new(std::size_t bytes, std::align_val_t a) { return allocate_or_throw(bytes, static_cast<std::size_t>(a)); }
void* operator new[](std::size_t bytes, std::align_val_t a) { return allocate_or_throw(bytes, static_cast<std::size_t>(a)); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }

// Slabs and mapped files. The C library's own calls do not come here.
extern "C" void* mmap(void* at, size_t bytes, int protection, int flags, int descriptor, off_t offset) noexcept {
  if (fails_now()) {
    errno = ENOMEM;
    return MAP_FAILED;
  }
  return reinterpret_cast<void*>(::syscall(SYS_mmap, at, bytes, protection, flags, descriptor, offset));
}

using namespace headrace;
using namespace headrace::pipeline;

namespace {

constexpr std::uint64_t kSamples = 120;

struct Outcome {
  bool failed = false;  // some call answered with an error
  std::string wrong;    // what must not be; empty if all is well
  std::set<std::int64_t> seen;
  std::uint64_t lost = 0;  // batches that were an error
};

std::string text_of(const Batch& batch, std::size_t slot) {
  const auto* at = reinterpret_cast<const std::int64_t*>(batch.at(batch.fields[1].offsets_at));
  const auto* text = reinterpret_cast<const char*>(batch.at(batch.fields[1].values_at));
  return {text + at[slot], text + at[slot + 1]};
}

void check(const Batch& batch, Outcome& out) {
  const auto* raw = reinterpret_cast<const float*>(batch.at(batch.fields[0].values_at));
  for (std::size_t slot = 0; slot < batch.indices.size(); ++slot) {
    const auto i = static_cast<std::uint64_t>(batch.indices[slot]);
    if (raw[slot * 4 + 3] != static_cast<float>(i) + 0.75F || text_of(batch, slot) != small_text(i)) out.wrong = "a wrong value";
    if (!out.seen.insert(batch.indices[slot]).second) out.wrong = "a sample twice";
  }
}

bool is_out_of_memory(const Status& status) { return status.code() == Code::kOutOfMemory || status.sys_errno() == ENOMEM; }

// Runs a call that may fail for want of memory, in either way; true if it did not.
template <typename Call>
bool survives(Outcome& out, const Call& call) {
  struct Exempt {
    ~Exempt() { t_exempt = true; }
  };
  try {
    const Status status = [&] {
      const Exempt again;
      t_exempt = false;
      return call();
    }();
    if (status.is_ok()) return true;
    if (!is_out_of_memory(status)) out.wrong = "not out of memory: " + status.message();
  } catch (const std::bad_alloc&) {
  }
  out.failed = true;
  return false;
}

// One pass from start to end. After an error it goes on, and gives up after some: the fault is one, so there are few.
void run_pass(Pipeline& pipeline, Outcome& out) {
  if (!survives(out, [&] { return pipeline.start(1, 0); }) && !survives(out, [&] { return pipeline.start(1, 0); })) {
    out.wrong = "a second start failed";
    return;
  }
  for (int errors = 0; errors < 10;) {
    Batch batch;
    auto next = Pipeline::Next::kNotYet;
    const bool good = survives(out, [&] {
      auto result = pipeline.next(50'000'000, &batch);
      if (result.is_ok()) next = *result;
      return result.status();
    });
    if (!good) ++errors;
    if (!good) ++out.lost;
    if (good && next == Pipeline::Next::kEnd) return;
    if (good && next == Pipeline::Next::kBatch) check(batch, out);
  }
  out.wrong = "errors without an end";
}

PipelineOptions options_for(int threads) {
  PipelineOptions options;
  options.fields = {0, 2};
  options.partition.batch_size = 25;
  options.order = OrderKind::kGlobal;
  options.seed = 5;
  options.num_threads = threads;
  options.ragged = Ragged::kOffsets;
  return options;
}

// Opens, runs a pass while allocation `fail_at` fails, then runs a whole one.
Outcome run(const std::string& path, io::ReaderKind reader, int threads, std::int64_t fail_at) {
  Outcome out;
  DatasetOptions options;
  options.reader = reader;
  t_exempt = true;
  g_until.store(fail_at);
  g_armed.store(true);
  std::shared_ptr<Dataset> dataset;
  std::unique_ptr<Pipeline> pipeline;
  for (int tries = 0; tries < 2 && pipeline == nullptr; ++tries) {
    survives(out, [&] {
      HR_ASSIGN_OR_RETURN(dataset, Dataset::open(path, 0, options));
      HR_ASSIGN_OR_RETURN(pipeline, Pipeline::create(dataset, options_for(threads)));
      return Status::ok();
    });
  }
  if (pipeline != nullptr) run_pass(*pipeline, out);
  g_armed.store(false);
  const bool reached = g_until.load() <= 0;
  if (pipeline == nullptr) {
    out.wrong = "a second attempt to open failed";
    return out;
  }
  // A batch is right, or an error; nothing is left out in silence.
  if (out.wrong.empty() && out.seen.size() + out.lost * 25 < kSamples) out.wrong = "samples are missing";
  if (out.wrong.empty() && out.failed && !reached) out.wrong = "an error without a fault";
  Outcome again;
  run_pass(*pipeline, again);
  if (again.failed || again.seen.size() != kSamples) out.wrong = "not usable afterwards " + again.wrong;
  if (out.wrong.empty()) out.wrong = again.wrong;
  pipeline.reset();
  if (!reached) out.failed = false;
  out.lost = reached ? 1 : 0;
  return out;
}

void fail_each_allocation(io::ReaderKind reader, int threads) {
  TempDir dir;
  REQUIRE(write_small(dir / "d", kSamples, 20, 2000).is_ok());
  REQUIRE(run(dir / "d", reader, threads, 1ll << 40).wrong.empty());  // What is made once in a process is there.
  int failed = 0;
  std::int64_t n = 1;
  for (;; ++n) {
    const Outcome out = run(dir / "d", reader, threads, n);
    CAPTURE(std::string(io::reader_name(reader)));
    CAPTURE(threads);
    CAPTURE(n);
    REQUIRE(out.wrong == "");
    failed += out.failed;
    if (out.lost == 0) break;  // No allocation was left to fail: the run was clean.
  }
  MESSAGE(std::string(io::reader_name(reader)), ", ", threads, " threads: ", n - 1, " allocations, ", failed, " were errors");
  CHECK(n > 300);
  CHECK(failed > 100);
}

}  // namespace

TEST_CASE("each allocation in turn fails: mmap") {
  fail_each_allocation(io::ReaderKind::kMmap, 0);
  fail_each_allocation(io::ReaderKind::kMmap, 2);
}

TEST_CASE("each allocation in turn fails: positional readers") {
  for (const io::ReaderKind reader : {io::ReaderKind::kPread, io::ReaderKind::kDirect, io::ReaderKind::kUring}) {
    fail_each_allocation(reader, 0);
    fail_each_allocation(reader, 2);
  }
}

#endif
