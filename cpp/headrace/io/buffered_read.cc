#include "headrace/io/buffered_read.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "headrace/io/kernel.h"
#include "headrace/io/request.h"

namespace headrace::io {
namespace {

// Ranges with a gap below a page are read together: such a gap holds no whole page, so the device reads nothing that it would not read
// anyway, and copying at most 4 KiB to nowhere costs no more than the system call that it saves.
constexpr std::uint64_t kMaxGapBytes = 4095;
// Groups end there: a long group would put off the next one's start, and a part per request and gap must fit IOV_MAX (1024).
constexpr std::uint64_t kMaxGroupBytes = 1 << 20;
constexpr std::size_t kMaxGroupRequests = 256;

// Neighbouring requests of one file, as indices [first, last) into the sorted order.
struct Group {
  std::size_t first, last;
  std::uint64_t begin, end;
};

class BufferedRead {
 public:
  explicit BufferedRead(std::span<ReadRequest> requests) : requests_(requests), order_(sort_requests(requests)) {}

  void run() {
    std::vector<Group> waiting;
    std::size_t first = 0;
    while (first < order_.size()) {
      const Group group = group_from(first);
      first = group.last;
      if (read_now(group)) continue;
      // All cold ranges are asked for before any is waited for, so that the device sees them side by side.
      if (first < order_.size() || !waiting.empty()) will_need(descriptor(group), group.begin, group.end - group.begin);
      waiting.push_back(group);
    }
    for (const Group& group : waiting) wait_for(group);
  }

 private:
  ReadRequest& at(std::size_t place) { return requests_[order_[place]]; }
  int descriptor(const Group& group) { return at(group.first).file->descriptor(); }

  Group group_from(std::size_t first) {
    Group group{first, first + 1, at(first).offset, end_of(at(first))};
    for (; group.last < order_.size() && group.last - first < kMaxGroupRequests; ++group.last) {
      const ReadRequest& next = at(group.last);
      const std::uint64_t end = std::max(group.end, end_of(next));
      if (next.file->descriptor() != descriptor(group) || next.offset > group.end + kMaxGapBytes) break;
      if (end - group.begin > kMaxGroupBytes) break;
      group.end = end;
    }
    return group;
  }

  // Where the bytes of a group go: parts of the requests in turn, gaps in between to nowhere. What a request shares with an earlier one
  // is not read twice; share_overlaps() copies it.
  void list_parts(const Group& group) {
    thread_local std::array<std::uint8_t, kMaxGapBytes> nowhere;
    parts_.clear();
    std::uint64_t cursor = group.begin;
    for (std::size_t i = group.first; i < group.last; ++i) {
      const ReadRequest& request = at(i);
      if (request.offset > cursor) parts_.push_back({nowhere.data(), request.offset - cursor});
      const std::uint64_t from = std::max(cursor, request.offset);
      if (end_of(request) <= from) continue;
      parts_.push_back({request.out.data() + (from - request.offset), end_of(request) - from});
      cursor = end_of(request);
    }
  }

  void share_overlaps(const Group& group) {
    std::size_t holder = group.first;  // The request that ends last so far: it begins no later than the next, so it holds all they share.
    for (std::size_t i = group.first + 1; i < group.last; ++i) {
      const ReadRequest& from = at(holder);
      const ReadRequest& to = at(i);
      if (to.offset < end_of(from)) {
        const std::uint64_t shared = std::min(end_of(from), end_of(to)) - to.offset;
        std::memcpy(to.out.data(), from.out.data() + (to.offset - from.offset), shared);
      }
      if (end_of(to) > end_of(from)) holder = i;
    }
  }

  // True if the page cache held the whole group.
  bool read_now(const Group& group) {
    list_parts(group);
    const ssize_t got = read_cached(descriptor(group), parts_, group.begin);
    if (got < 0 || static_cast<std::uint64_t>(got) != group.end - group.begin) return false;
    share_overlaps(group);
    return true;
  }

  void wait_for(const Group& group) {
    if (group.last - group.first > 1) {
      list_parts(group);
      ssize_t got = 0;
      do {
        got = read_parts(descriptor(group), parts_, group.begin);
      } while (got < 0 && errno == EINTR);
      if (got >= 0 && static_cast<std::uint64_t>(got) == group.end - group.begin) return share_overlaps(group);
      at(group.first).retried = got < 0 && errno == EIO;
    }
    // A request alone, a short read, or an error: each request is read by itself and gets the answer that is its own.
    for (std::size_t i = group.first; i < group.last; ++i) {
      unsigned retries = 0;
      at(i).status = at(i).file->read_exact(at(i).offset, at(i).out, &retries);
      at(i).retried = at(i).retried || retries > 0;
    }
  }

  std::span<ReadRequest> requests_;
  std::vector<std::uint32_t> order_;
  std::vector<iovec> parts_;
};

}  // namespace

void read_buffered(std::span<ReadRequest> requests) { BufferedRead(requests).run(); }

}  // namespace headrace::io
