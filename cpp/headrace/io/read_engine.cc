#include "headrace/io/read_engine.h"

#include <algorithm>
#include <atomic>
#include <system_error>
#include <vector>

#include "headrace/io/buffered_read.h"
#include "headrace/io/direct_read.h"
#include "headrace/io/kernel.h"
#include "headrace/io/request.h"
#include "headrace/io/transfer.h"
#include "headrace/io/uring.h"
#include "headrace/storage/kernel.h"

namespace headrace::io {
namespace {

class PreadEngine final : public ReadEngine {
 public:
  void read(std::span<ReadRequest> requests) override { read_buffered(requests); }
  ReaderKind kind() const override { return ReaderKind::kPread; }
  std::string fallback_reason() const override { return {}; }
  bool wants_direct_files() const override { return false; }
  void give_up_direct() override {}
  void give_up_ring(int) override {}
};

class DirectEngine final : public ReadEngine {
 public:
  DirectEngine() : refusal_(storage::direct_open_flag() != 0 ? nullptr : "this system has no O_DIRECT") {}

  void read(std::span<ReadRequest> requests) override {
    if (wants_direct_files()) {
      if (read_direct(requests)) return;
      refusal_.store("the file system refuses O_DIRECT reads (EINVAL)", std::memory_order_relaxed);
    }
    leave_direct_files(requests);
  }
  ReaderKind kind() const override { return wants_direct_files() ? ReaderKind::kDirect : ReaderKind::kPread; }
  std::string fallback_reason() const override {
    const char* refusal = refusal_.load(std::memory_order_relaxed);
    return refusal != nullptr ? refusal : "";
  }
  bool wants_direct_files() const override { return refusal_.load(std::memory_order_relaxed) == nullptr; }
  void give_up_direct() override {
    refusal_.store("the file system refuses to open files with O_DIRECT (EINVAL)", std::memory_order_relaxed);
  }
  void give_up_ring(int) override {}  // pread does as well.

 private:
  // Files opened before the fallback are still direct. Their own descriptor is changed: a second one, through the path, might be another
  // file.
  static void leave_direct_files(std::span<ReadRequest> requests) {
    const storage::File* previous = nullptr;
    for (const ReadRequest& request : requests) {
      if (request.file == nullptr || request.file == previous || request.file->descriptor() < 0) continue;
      previous = request.file;
      (void)leave_direct(request.file->descriptor());  // Where this fails, the read below fails too, and says so.
    }
    read_buffered(requests);
  }

  std::atomic<const char*> refusal_;  // null: none so far
};

class RingEngine final : public ReadEngine {
 public:
  RingEngine() : refusal_(ring_refusal()) {}

  void read(std::span<ReadRequest> requests) override {
    if (kind() == ReaderKind::kPread) return read_buffered(requests);
    const std::vector<std::uint32_t> order = sort_requests(requests);
    std::vector<Transfer> transfers;
    transfers.reserve(order.size());
    for (const std::uint32_t i : order) cut(requests[i], transfers);
    if (const int error = read_with_ring(transfers); error != 0) {
      refusal_.store(error, std::memory_order_relaxed);
      return read_buffered(requests);
    }
    std::size_t next = 0;
    for (const std::uint32_t i : order) collect(requests[i], transfers, next);
  }
  ReaderKind kind() const override { return refusal_.load(std::memory_order_relaxed) == 0 ? ReaderKind::kUring : ReaderKind::kPread; }
  std::string fallback_reason() const override {
    const int error = refusal_.load(std::memory_order_relaxed);
    return error == 0 ? "" : "the system refuses io_uring: " + std::generic_category().message(error);
  }
  bool wants_direct_files() const override { return false; }
  void give_up_direct() override {}
  void give_up_ring(int error) override { refusal_.store(error, std::memory_order_relaxed); }

 private:
  static void cut(const ReadRequest& request, std::vector<Transfer>& transfers) {
    for (std::size_t from = 0; from < request.out.size(); from += kPieceBytes) {
      const std::size_t length = std::min(request.out.size() - from, kPieceBytes);
      transfers.push_back({request.file->descriptor(), request.offset + from, request.out.data() + from, length});
    }
  }

  // What became of a request, from its transfers: those from `next` on.
  static void collect(ReadRequest& request, std::span<const Transfer> transfers, std::size_t& next) {
    for (std::size_t from = 0; from < request.out.size(); from += kPieceBytes) {
      const Transfer& t = transfers[next++];
      request.retried = request.retried || t.retried;
      if (t.done < t.length && request.status.is_ok()) request.status = read_failure(request, from + t.done, t.error);
    }
  }

  std::atomic<int> refusal_;  // errno, 0: none so far
};

}  // namespace

Result<ReaderKind> reader_from_name(std::string_view name) {
  if (name == "auto" || name == "mmap") return ReaderKind::kMmap;
  if (name == "pread") return ReaderKind::kPread;
  if (name == "direct") return ReaderKind::kDirect;
  if (name == "uring") return ReaderKind::kUring;
  return Status(Code::kInvalidArgument, strf("reader is '%.*s'; expected 'auto', 'mmap', 'pread', 'direct' or 'uring'",
                                             static_cast<int>(name.size()), name.data()));
}

const char* reader_name(ReaderKind kind) {
  switch (kind) {
    case ReaderKind::kMmap: return "mmap";
    case ReaderKind::kPread: return "pread";
    case ReaderKind::kDirect: return "direct";
    case ReaderKind::kUring: return "uring";
  }
  return "unknown";
}

Result<std::unique_ptr<ReadEngine>> make_read_engine(ReaderKind kind) {
  std::unique_ptr<ReadEngine> engine;
  if (kind == ReaderKind::kPread) engine = std::make_unique<PreadEngine>();
  if (kind == ReaderKind::kDirect) engine = std::make_unique<DirectEngine>();
  if (kind == ReaderKind::kUring) engine = std::make_unique<RingEngine>();
  if (engine == nullptr) {
    return Status(Code::kInvalidArgument,
                  strf("reader '%s' is not a read engine; expected 'pread', 'direct' or 'uring'", reader_name(kind)));
  }
  return engine;
}

}  // namespace headrace::io
