#include "headrace/io/direct_read.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <utility>

#include "headrace/io/request.h"
#include "headrace/io/transfer.h"
#include "headrace/io/uring.h"

namespace headrace::io {
namespace {

static_assert(kBounceBytes % kPieceBytes == 0 && kPieceBytes % kDirectAlign == 0);

struct Free {
  void operator()(std::uint8_t* memory) const { std::free(memory); }
};

// This thread's bounce buffer, or null where memory is short.
std::uint8_t* bounce_buffer() {
  thread_local std::unique_ptr<std::uint8_t, Free> buffer(static_cast<std::uint8_t*>(std::aligned_alloc(kDirectAlign, kBounceBytes)));
  if (buffer == nullptr) buffer.reset(static_cast<std::uint8_t*>(std::aligned_alloc(kDirectAlign, kBounceBytes)));
  return buffer.get();
}

constexpr std::uint64_t align_down(std::uint64_t offset) { return offset / kDirectAlign * kDirectAlign; }
constexpr std::uint64_t align_up(std::uint64_t offset) { return round_up(offset, kDirectAlign); }

// A part of a request that one round reads: bytes [begin, end) of the file, and the transfers that bring them, by index [first, last).
struct Slice {
  std::uint32_t request;
  std::uint64_t begin, end;
  std::size_t first, last;
  const std::uint8_t* bytes;  // of `begin`, in the bounce buffer
};

// Rounds of up to kBounceBytes: plan transfers for the next requests in order, read them side by side, copy their bytes out.
class DirectRead {
 public:
  DirectRead(std::span<ReadRequest> requests, std::uint8_t* bounce)
      : requests_(requests), order_(sort_requests(requests)), bounce_(bounce) {}

  bool run() {
    while (next_ < order_.size()) {
      plan_round();
      if (read_with_ring(transfers_) != 0) read_blocking(transfers_);
      const bool refused =
          std::any_of(transfers_.begin(), transfers_.end(), [](const Transfer& t) { return t.error == EINVAL || t.error == EOPNOTSUPP; });
      if (refused) return false;
      for (const Slice& slice : slices_) deliver(slice);
    }
    return true;
  }

 private:
  void plan_round() {
    transfers_.clear();
    slices_.clear();
    used_ = 0;
    while (next_ < order_.size() && plan_slice(order_[next_])) {
      if (from_ < end_of(requests_[order_[next_]])) return;  // The buffer is full; the rest follows in the next round.
      ++next_;
      from_ = 0;
    }
  }

  // Adds what fits of a request; false if nothing does.
  bool plan_slice(std::uint32_t index) {
    const ReadRequest& request = requests_[index];
    from_ = std::max(from_, request.offset);
    std::uint64_t covered = align_down(from_);
    // The run of transfers planned last may hold the first bytes already.
    const bool follows = !transfers_.empty() && transfers_.back().descriptor == request.file->descriptor() && from_ >= run_begin_ &&
                         covered <= planned_end();
    if (follows) covered = planned_end();
    const std::uint64_t room_end = covered + (kBounceBytes - used_);
    const std::uint64_t end = std::min(end_of(request), room_end);
    if (end <= from_) return false;
    if (!follows) run_begin_ = covered;
    const std::uint64_t wanted_end = std::min(align_up(end), room_end);
    for (; covered < wanted_end; covered = planned_end()) extend(request, covered, wanted_end);
    add_slice(index, end);
    from_ = end;
    return true;
  }

  std::uint64_t planned_end() const { return transfers_.back().offset + transfers_.back().length; }

  // Plans [from, at most to) of the run: more of its last transfer where that has room, else a new one.
  void extend(const ReadRequest& request, std::uint64_t from, std::uint64_t to) {
    const bool new_run = from == run_begin_;
    if (new_run || transfers_.back().length == kPieceBytes) {
      transfers_.push_back({request.file->descriptor(), from, bounce_ + used_, 0, kDirectAlign});
    }
    Transfer& last = transfers_.back();
    const auto more = static_cast<std::size_t>(std::min<std::uint64_t>(to - from, kPieceBytes - last.length));
    last.length += more;
    used_ += more;
  }

  void add_slice(std::uint32_t index, std::uint64_t end) {
    std::size_t first = transfers_.size() - 1;  // Transfers of one run border each other in the buffer too.
    while (transfers_[first].offset > from_) --first;
    const Transfer& head = transfers_[first];
    slices_.push_back({index, from_, end, first, transfers_.size(), head.out + (from_ - head.offset)});
  }

  void deliver(const Slice& slice) {
    ReadRequest& request = requests_[slice.request];
    if (!request.status.is_ok()) return;
    for (std::size_t i = slice.first; i < slice.last; ++i) {
      Transfer& t = transfers_[i];
      request.retried = request.retried || std::exchange(t.retried, false);  // Several requests may share it: it counts once.
      const std::uint64_t there = t.offset + t.done;
      if (there >= std::min(slice.end, t.offset + t.length)) continue;
      request.status = read_failure(request, std::max(there, slice.begin) - request.offset, t.error);
      return;
    }
    std::memcpy(request.out.data() + (slice.begin - request.offset), slice.bytes, slice.end - slice.begin);
  }

  std::span<ReadRequest> requests_;
  std::vector<std::uint32_t> order_;
  std::uint8_t* bounce_;
  std::size_t next_ = 0;         // place in order_ of the request to plan next
  std::uint64_t from_ = 0;       // its first byte that is not planned yet, if past its offset
  std::size_t used_ = 0;         // of the bounce buffer
  std::uint64_t run_begin_ = 0;  // where the last transfers that border each other begin in their file
  std::vector<Transfer> transfers_;
  std::vector<Slice> slices_;
};

}  // namespace

bool read_direct(std::span<ReadRequest> requests) {
  std::uint8_t* const bounce = bounce_buffer();
  if (bounce != nullptr) return DirectRead(requests, bounce).run();
  for (ReadRequest& request : requests) {
    request.status = {Code::kOutOfMemory, strf("read: no memory for a buffer of %zu bytes for direct reads", kBounceBytes)};
  }
  return true;
}

}  // namespace headrace::io
