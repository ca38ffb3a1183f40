// Ranges of shards in memory, as stored: planned, read together, looked up.
//
// Ranges are planned in groups; a group is read by one submission to a ReadQueue and can be used when its callback ran. Inside a group,
// neighbours are read as one: what is read and not wanted is never more than what is wanted.
//
// Owns:     one leased slab for all groups. Bytes found live as long as this object.
// Threads:  plan on one thread; then arrived() of a group on any, and find() in that group by whoever learnt of it. No locks.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "headrace/base/status.h"
#include "headrace/io/read_engine.h"
#include "headrace/io/read_queue.h"
#include "headrace/io/shard_source.h"
#include "headrace/storage/slab_pool.h"

namespace headrace::io {

class StoredBytes {
 public:
  // Plans a range of the group that is open.
  void want(ShardSource& source, std::uint64_t offset, std::uint64_t length) {
    if (length > 0) wanted_.push_back({&source, offset, offset + length});
  }
  // Ends the open group, which may be empty, and begins the next.
  void end_group();
  std::size_t num_groups() const { return groups_.size() - 1; }
  // Bytes of memory that lease() takes.
  std::uint64_t bytes() const { return bytes_; }
  // Leases the memory. Errors: kOutOfMemory.
  Status lease(storage::SlabPool& slabs);

  // What a group reads, for ReadQueue::submit(); empty: nothing. A source whose file cannot be opened, or would be one too many
  // (FileTable::is_crowded), is left out: who looks for its bytes does not find them, and reads them by himself.
  std::vector<RangeRead> reads(std::size_t group, Counters& counters) const;
  // Where they go. REQUIRES: reads(group) is not empty.
  ReadQueue& queue(std::size_t group) const { return extents_[groups_[group]].source->queue(); }
  // The answers: of reads() of the same group, in order.
  void arrived(std::size_t group, std::span<const RangeRead> reads, Counters& counters);
  // Reads all groups now, on this thread.
  void read_now(Counters& counters);

  // The bytes of a range, or null if it was not planned or could not be read.
  const std::uint8_t* find(std::size_t group, const ShardSource& source, std::uint64_t offset, std::uint64_t length) const;

 private:
  struct Range {
    ShardSource* source;
    std::uint64_t begin, end;
  };
  struct Extent {
    ShardSource* source;
    std::uint64_t begin, end;  // in the file; begin a multiple of kDirectAlign
    std::uint64_t at;          // in the slab
    std::uint8_t good = 0;
  };
  std::span<const Extent> extents_of(std::size_t group) const;
  void add_extent(ShardSource& source, std::uint64_t begin, std::uint64_t end);

  std::vector<Range> wanted_;  // of the open group
  std::vector<Extent> extents_;
  std::vector<std::size_t> groups_{0};  // [group] its first extent, and the end
  std::uint64_t bytes_ = 0;
  storage::Lease slab_;
};

}  // namespace headrace::io
