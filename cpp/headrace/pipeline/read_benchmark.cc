#include "headrace/pipeline/read_benchmark.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <span>
#include <thread>

#include "headrace/base/blocked_signals.h"
#include "headrace/base/clock.h"
#include "headrace/io/read_queue.h"
#include "headrace/io/transfer.h"
#include "headrace/pipeline/permutation.h"
#include "headrace/storage/mapping.h"

namespace headrace::pipeline {
namespace {

using io::ReaderKind;

constexpr std::uint64_t kMaxBlockBytes = 64u << 20;
constexpr std::uint64_t kMaxBufferBytes = 1ull << 30;
constexpr int kMaxThreads = 64;

struct Free {
  void operator()(std::uint8_t* memory) const { std::free(memory); }
};
using Buffer = std::unique_ptr<std::uint8_t, Free>;

// read_bytes of /proc/self/io: what this process had devices read; -1 where the kernel does not say.
std::int64_t device_bytes() {
  std::int64_t bytes = -1;
  if (std::FILE* file = std::fopen("/proc/self/io", "re")) {
    char line[128];
    while (std::fgets(line, sizeof line, file) != nullptr) {
      if (std::strncmp(line, "read_bytes: ", 12) == 0) bytes = std::atoll(line + 12);
    }
    std::fclose(file);
  }
  return bytes;
}

Status check(const ReadBenchmarkOptions& o) {
  const auto bad = [](std::string text) { return Status(Code::kInvalidArgument, std::move(text)); };
  if (o.paths.empty()) return bad("paths is empty; expected at least one file");
  if (o.block_bytes < 1 || o.block_bytes > kMaxBlockBytes)
    return bad(strf("block_bytes is %llu; expected 1 to 64 MiB", static_cast<unsigned long long>(o.block_bytes)));
  if (o.reader == ReaderKind::kDirect && o.block_bytes % io::kDirectAlign != 0)
    return bad(
        strf("block_bytes is %llu; direct reads need a multiple of %zu", static_cast<unsigned long long>(o.block_bytes), io::kDirectAlign));
  if (o.depth < 1 || o.depth > io::ReadQueue::kMaxDepth)
    return bad(strf("depth is %u; expected 1 to %u", o.depth, io::ReadQueue::kMaxDepth));
  if (o.threads < 1 || o.threads > kMaxThreads) return bad(strf("threads is %d; expected 1 to %d", o.threads, kMaxThreads));
  if (!(o.seconds > 0) || o.seconds > 86400) return bad(strf("seconds is %g; expected more than 0, at most a day", o.seconds));
  if (o.depth * o.block_bytes * static_cast<std::uint64_t>(o.threads) > kMaxBufferBytes)
    return bad("depth * block_bytes * threads is more than 1 GiB of buffers; take less");
  return Status::ok();
}

// Which block comes next, and what it took: shared by all threads of a run.
class Run {
 public:
  explicit Run(const ReadBenchmarkOptions& options) : options_(options), order_(0, 0) {}

  Status open() {
    first_block_.push_back(0);
    direct_ = options_.reader == ReaderKind::kDirect;
    for (const std::string& path : options_.paths) {
      auto opened = storage::File::open(path, direct_);
      if (!opened.is_ok() && opened.status().code() == Code::kUnsupported && direct_) {
        direct_ = false;
        fallback_ = "the file system refuses to open files with O_DIRECT (EINVAL)";
        opened = storage::File::open(path);
      }
      if (!opened.is_ok()) return opened.status();
      HR_ASSIGN_OR_RETURN(const storage::FileIdentity identity, opened->identity());
      files_.push_back(std::make_shared<const storage::File>(std::move(*opened)));
      first_block_.push_back(first_block_.back() + identity.size / options_.block_bytes);
      if (options_.reader != ReaderKind::kMmap) continue;
      HR_ASSIGN_OR_RETURN(storage::Mapping mapping, storage::Mapping::map(*files_.back()));
      if (options_.random) mapping.advise_random();
      mappings_.push_back(std::move(mapping));
    }
    if (blocks() == 0) return {Code::kInvalidArgument, "the files hold no whole block of block_bytes; take smaller blocks"};
    if (blocks() >= 1ull << 48) return {Code::kInvalidArgument, "the files hold more than 2^48 blocks; take larger ones"};
    order_ = Permutation(blocks(), mix_key(options_.seed, 0x72656164));
    return Status::ok();
  }

  std::uint64_t blocks() const { return first_block_.back(); }
  void start() {
    begin_ns_ = now_ns();
    deadline_ns_ = begin_ns_ + static_cast<std::int64_t>(options_.seconds * 1e9);
  }

  struct Block {
    std::size_t file = 0;
    std::uint64_t offset = 0;
  };
  // False at the end of the run.
  bool next(Block& block) {
    if (failed_.load(std::memory_order_relaxed)) return false;
    // One block is read however late the threads came to run.
    if (now_ns() >= deadline_ns_ && ticket_.load(std::memory_order_relaxed) > 0) return false;
    if (options_.cancelled != nullptr && options_.cancelled->load(std::memory_order_relaxed)) return false;
    const std::uint64_t ticket = ticket_.fetch_add(1, std::memory_order_relaxed);
    if (ticket >= blocks() && !options_.loop) return false;
    const std::uint64_t place = ticket % blocks();
    const std::uint64_t number = options_.random ? order_.forward(place) : place;
    block.file = static_cast<std::size_t>(std::upper_bound(first_block_.begin(), first_block_.end(), number) - first_block_.begin()) - 1;
    block.offset = (number - first_block_[block.file]) * options_.block_bytes;
    return true;
  }

  void book(const Status& status, std::int64_t submitted_ns) {
    const std::int64_t now = now_ns();
    std::lock_guard lock(mutex_);
    end_ns_ = std::max(end_ns_, now);
    if (!status.is_ok()) {
      failed_.store(true, std::memory_order_relaxed);
      if (status_.is_ok()) status_ = status;
      return;
    }
    ++operations_;
    latency_.add(static_cast<std::uint64_t>(now - submitted_ns));
  }

  Result<ReadBenchmarkResult> result(std::int64_t device_bytes_before) {
    HR_RETURN_IF_ERROR(status_);
    ReadBenchmarkResult out;
    out.operations = operations_;
    out.bytes = operations_ * options_.block_bytes;
    out.blocks = blocks();
    out.seconds = static_cast<double>(std::max<std::int64_t>(1, end_ns_ - begin_ns_)) * 1e-9;
    out.latency = latency_;
    const std::int64_t after = device_bytes();
    if (device_bytes_before >= 0 && after >= 0) out.device_bytes = after - device_bytes_before;
    out.reader = options_.reader == ReaderKind::kDirect && !direct_ ? ReaderKind::kPread : options_.reader;
    out.fallback = fallback_;
    return out;
  }

  const ReadBenchmarkOptions& options() const { return options_; }
  const std::shared_ptr<const storage::File>& file(std::size_t i) const { return files_[i]; }
  const storage::Mapping& mapping(std::size_t i) const { return mappings_[i]; }
  bool direct() const { return direct_; }

 private:
  const ReadBenchmarkOptions& options_;
  std::vector<std::shared_ptr<const storage::File>> files_;
  std::vector<storage::Mapping> mappings_;
  std::vector<std::uint64_t> first_block_;  // [file], and the end
  Permutation order_;
  bool direct_ = false;
  std::string fallback_;
  std::int64_t begin_ns_ = 0, deadline_ns_ = 0;
  std::atomic<std::uint64_t> ticket_{0};
  std::atomic<bool> failed_{false};
  std::mutex mutex_;  // guards what follows
  std::int64_t end_ns_ = 0;
  std::uint64_t operations_ = 0;
  LatencyHistogram latency_;
  Status status_;
};

// `depth` reads of one queue, each followed by the next when it is done.
class Lane {
 public:
  Lane(Run& run, io::ReadQueue& queue) : run_(run), queue_(queue) {}

  // Errors: kOutOfMemory, before anything is read.
  Status allocate(unsigned depth) {
    for (unsigned i = 0; i < depth; ++i) {
      buffers_.emplace_back(
          static_cast<std::uint8_t*>(std::aligned_alloc(io::kDirectAlign, round_up(run_.options().block_bytes, io::kDirectAlign))));
      if (buffers_.back() == nullptr) return {Code::kOutOfMemory, "read benchmark: no memory for the buffers; take a smaller depth"};
    }
    return Status::ok();
  }
  void start() {
    active_ = buffers_.size();
    for (std::size_t i = 0; i < buffers_.size(); ++i) submit(i);
  }
  void wait() {
    std::unique_lock lock(mutex_);
    idle_.wait(lock, [&] { return active_ == 0; });
  }

 private:
  void submit(std::size_t i) {
    Run::Block block;
    if (!run_.next(block)) {
      std::lock_guard lock(mutex_);
      if (--active_ == 0) idle_.notify_all();
      return;
    }
    const std::size_t bytes = run_.options().block_bytes;
    std::vector<io::RangeRead> ranges(1);
    ranges[0].file = run_.file(block.file);
    ranges[0].offset = block.offset;
    ranges[0].out = {buffers_[i].get(), bytes};
    ranges[0].needed = bytes;
    ranges[0].direct = run_.direct();
    const std::int64_t begin = now_ns();
    queue_.submit(std::move(ranges), [this, i, begin](std::span<io::RangeRead> done) {
      run_.book(done[0].status, begin);
      submit(i);
    });
  }

  Run& run_;
  io::ReadQueue& queue_;
  std::vector<Buffer> buffers_;
  std::mutex mutex_;  // guards active_
  std::condition_variable idle_;
  std::size_t active_ = 0;
};

// A mapped reader's way: the kernel is asked for `depth` blocks ahead, and each is populated in turn.
void run_mapped(Run& run, unsigned depth) {
  struct Ahead {
    Run::Block block;
    std::int64_t since_ns;
  };
  std::vector<Ahead> ahead;
  std::size_t at = 0;
  const std::uint64_t bytes = run.options().block_bytes;
  const auto advise = [&](Ahead& slot) {
    if (!run.next(slot.block)) return false;
    slot.since_ns = now_ns();
    run.mapping(slot.block.file).will_need(slot.block.offset, bytes);
    return true;
  };
  for (Ahead slot; ahead.size() < depth && advise(slot);) ahead.push_back(slot);
  while (!ahead.empty()) {
    Ahead& slot = ahead[at];
    run.book(run.mapping(slot.block.file).populate(slot.block.offset, bytes), slot.since_ns);
    if (!advise(slot)) {
      ahead.erase(ahead.begin() + static_cast<std::ptrdiff_t>(at));
    } else {
      ++at;
    }
    if (at >= ahead.size()) at = 0;
  }
}

}  // namespace

Result<ReadBenchmarkResult> read_benchmark(const ReadBenchmarkOptions& options) {
  HR_RETURN_IF_ERROR(check(options));
  Run run(options);
  HR_RETURN_IF_ERROR(run.open());
  const std::int64_t before = device_bytes();
  if (options.reader == ReaderKind::kMmap) {
    run.start();
    const BlockedSignals blocked;
    std::vector<std::thread> threads;
    for (int i = 0; i < options.threads; ++i) threads.emplace_back([&] { run_mapped(run, options.depth); });
    for (std::thread& thread : threads) thread.join();
    return run.result(before);
  }
  const ReaderKind kind = options.reader == ReaderKind::kDirect && !run.direct() ? ReaderKind::kPread : options.reader;
  const bool rings = kind != ReaderKind::kPread;
  const unsigned blocks =
      rings ? options.depth : std::min(io::ReadQueue::kMaxDepth, options.depth * static_cast<unsigned>(options.threads));
  // A queue counts the pieces that it cuts a block into: all of a block's are in flight together, as one large read's requests would be.
  const std::uint64_t pieces = (options.block_bytes + io::kPieceBytes - 1) / io::kPieceBytes;
  const auto per_queue = static_cast<unsigned>(std::min<std::uint64_t>(io::ReadQueue::kMaxDepth, blocks * pieces));
  std::vector<std::unique_ptr<io::ReadQueue>> queues;
  std::vector<std::unique_ptr<Lane>> lanes;
  for (int i = 0; i < (rings ? options.threads : 1); ++i) {
    queues.push_back(std::make_unique<io::ReadQueue>(kind, per_queue, rings ? io::ReadQueue::kThreads : options.threads));
    lanes.push_back(std::make_unique<Lane>(run, *queues.back()));
    HR_RETURN_IF_ERROR(lanes.back()->allocate(blocks));
  }
  run.start();
  for (const auto& lane : lanes) lane->start();
  for (const auto& lane : lanes) lane->wait();
  const int refusal = queues.front()->refusal();
  queues.clear();
  HR_ASSIGN_OR_RETURN(ReadBenchmarkResult result, run.result(before));
  if (refusal != 0) {
    if (result.reader == ReaderKind::kUring) result.reader = ReaderKind::kPread;
    result.fallback = Status::from_errno(refusal, "the system refuses io_uring").message();
  }
  return result;
}

}  // namespace headrace::pipeline
