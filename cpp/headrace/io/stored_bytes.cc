#include "headrace/io/stored_bytes.h"

#include <algorithm>

#include "headrace/io/transfer.h"

namespace headrace::io {
namespace {

// A gap is read along where that is cheaper than another read: at depth, a device serves about 70,000 small reads or 1 GB a second.
constexpr std::uint64_t kMaxGapBytes = 16u << 10;
constexpr std::uint64_t kMaxExtentBytes = 1u << 20;

constexpr std::uint64_t align_down(std::uint64_t offset) { return offset / kDirectAlign * kDirectAlign; }

}  // namespace

void StoredBytes::add_extent(ShardSource& source, std::uint64_t begin, std::uint64_t end) {
  const std::uint64_t aligned = align_down(begin);
  extents_.push_back({&source, aligned, end, bytes_});
  bytes_ += round_up(end - aligned, kDirectAlign);
}

void StoredBytes::end_group() {
  const auto before = [](const Range& a, const Range& b) { return a.source != b.source ? a.source < b.source : a.begin < b.begin; };
  if (!std::is_sorted(wanted_.begin(), wanted_.end(), before)) std::sort(wanted_.begin(), wanted_.end(), before);
  for (std::size_t i = 0; i < wanted_.size();) {
    const Range& first = wanted_[i];
    std::uint64_t end = first.end, used = first.end - first.begin;
    for (++i; i < wanted_.size() && wanted_[i].source == first.source; ++i) {
      const Range& next = wanted_[i];
      const std::uint64_t gap = next.begin > end ? next.begin - end : 0;
      const std::uint64_t to = std::max(end, next.end);
      // Ranges that overlap stay together, whatever the sizes.
      if (next.begin >= end && (gap > kMaxGapBytes || gap > used || to - first.begin > kMaxExtentBytes)) break;
      used += to - end - gap;
      end = to;
    }
    add_extent(*first.source, first.begin, end);
  }
  wanted_.clear();
  groups_.push_back(extents_.size());
}

Status StoredBytes::lease(storage::SlabPool& slabs) {
  if (bytes_ == 0) return Status::ok();
  HR_ASSIGN_OR_RETURN(slab_, slabs.acquire(bytes_));
  return Status::ok();
}

std::span<const StoredBytes::Extent> StoredBytes::extents_of(std::size_t group) const {
  return {extents_.data() + groups_[group], groups_[group + 1] - groups_[group]};
}

std::vector<RangeRead> StoredBytes::reads(std::size_t group, Counters& counters) const {
  std::vector<RangeRead> out;
  const ShardSource *failed = nullptr, *previous = nullptr;
  for (const Extent& extent : extents_of(group)) {
    RangeRead read;
    if (!out.empty() && extent.source == previous) {
      read.file = out.back().file;
    } else if (extent.source != failed && !extent.source->files_crowded()) {
      auto file = extent.source->file();
      if (file.is_ok()) read.file = std::move(*file);
    }
    if (read.file == nullptr) {
      failed = extent.source;
      continue;
    }
    previous = extent.source;
    read.direct = extent.source->reads_direct();
    read.offset = extent.begin;
    read.needed = extent.end - extent.begin;
    read.out = {slab_->data() + extent.at, read.direct ? round_up(read.needed, kDirectAlign) : read.needed};
    counters.stored_bytes.fetch_add(read.out.size(), std::memory_order_relaxed);
    out.push_back(std::move(read));
  }
  return out;
}

void StoredBytes::arrived(std::size_t group, std::span<const RangeRead> reads, Counters& counters) {
  // Those left out by reads() are missing here too.
  std::size_t next = groups_[group];
  for (const RangeRead& read : reads) {
    while (slab_->data() + extents_[next].at != read.out.data()) ++next;
    extents_[next].good = read.status.is_ok() ? 1 : 0;
    if (read.retried) counters.read_retries.fetch_add(1, std::memory_order_relaxed);
  }
  if (reads.empty()) return;
  const ShardSource& source = *extents_[next].source;
  if (const int error = source.queue().refusal(); error != 0) source.engine().give_up_ring(error);
}

void StoredBytes::read_now(Counters& counters) {
  std::vector<std::vector<RangeRead>> ranges;
  std::vector<ReadRequest> requests;
  for (std::size_t group = 0; group < num_groups(); ++group) {
    ranges.push_back(reads(group, counters));
    for (const RangeRead& range : ranges.back()) requests.push_back({range.file.get(), range.offset, range.out.first(range.needed), {}});
  }
  if (requests.empty()) return;
  {
    ScopedTime time(counters.read_ns);
    extents_.front().source->engine().read(requests);
  }
  std::size_t next = 0;
  for (std::size_t group = 0; group < num_groups(); ++group) {
    for (RangeRead& range : ranges[group]) {
      range.status = requests[next].status;
      range.retried = requests[next++].retried;
    }
    arrived(group, ranges[group], counters);
  }
}

const std::uint8_t* StoredBytes::find(std::size_t group, const ShardSource& source, std::uint64_t offset, std::uint64_t length) const {
  if (group >= num_groups()) return nullptr;
  const std::span<const Extent> all = extents_of(group);
  auto next = std::upper_bound(all.begin(), all.end(), offset,
                               [&](std::uint64_t at, const Extent& e) { return e.source != &source ? &source < e.source : at < e.begin; });
  // Alignment lets an extent begin before the last one's end, so the range may lie in either.
  for (int tries = 0; tries < 2 && next != all.begin(); ++tries) {
    const Extent& extent = *--next;
    if (extent.source != &source) break;
    if (extent.begin <= offset && offset + length <= extent.end)
      return extent.good != 0 ? slab_->data() + extent.at + (offset - extent.begin) : nullptr;
  }
  return nullptr;
}

}  // namespace headrace::io
