#include "headrace/io/request.h"

#include <algorithm>
#include <cinttypes>
#include <limits>
#include <tuple>

#include "headrace/io/transfer.h"

namespace headrace::io {
namespace {

// No file ends later; short of the largest off_t, so that a range widened for a direct read still fits one.
constexpr std::uint64_t kMaxEnd = std::uint64_t{std::numeric_limits<std::int64_t>::max()} - kDirectAlign;

Status check(const ReadRequest& request) {
  if (request.file == nullptr) return {Code::kInvalidArgument, "read: the request names no file"};
  if (request.file->descriptor() < 0) return {Code::kClosed, "read: the file is not open"};
  std::uint64_t end = 0;
  if (!checked_add(request.offset, request.out.size(), &end) || end > kMaxEnd) {
    return read_failure(request, 0, 0);
  }
  return Status::ok();
}

}  // namespace

std::vector<std::uint32_t> sort_requests(std::span<ReadRequest> requests) {
  std::vector<std::uint32_t> order;
  order.reserve(requests.size());
  for (std::uint32_t i = 0; i < requests.size(); ++i) {
    requests[i].status = check(requests[i]);
    requests[i].retried = false;
    if (requests[i].status.is_ok() && !requests[i].out.empty()) order.push_back(i);
  }
  const auto key = [&](std::uint32_t i) { return std::tuple(requests[i].file->descriptor(), requests[i].offset); };
  const auto before = [&](std::uint32_t a, std::uint32_t b) { return key(a) < key(b); };
  if (!std::is_sorted(order.begin(), order.end(), before)) std::stable_sort(order.begin(), order.end(), before);
  return order;
}

Status read_failure(const ReadRequest& request, std::uint64_t found, int error) {
  const std::string range =
      strf("read %s: offset %" PRIu64 ", expected %zu bytes", request.file->path().c_str(), request.offset, request.out.size());
  if (error != 0) return Status::from_errno(error, range + strf(", failed after %" PRIu64, found));
  std::string size = "an unknown number of";
  if (auto identity = request.file->identity()) size = std::to_string(identity->size);
  return {Code::kTruncated,
          range + strf(", found %" PRIu64 " (the file has %s bytes): it is cut short or still being written; copy it again", found,
                       size.c_str())};
}

}  // namespace headrace::io
