// The blocks of one shard, as a reader wants them: present in memory, checked, decoded.
//
// Two ways. Mapped: the file is mapped; a block is populated (so that touching it cannot kill the process) and checked when
// it is first needed, and raw blocks are then used in place. Positional: who needs blocks reads their stored bytes (StoredBytes) and hands
// them in; what he lacks is read here, through a ReadEngine, while he waits.
// Decoded blocks live in the BlockCache.
//
// Owns:     the mapping; two bits a block (checked, and for block tables). Borrows cache, files, engine, counters: they outlive it.
// Threads:  any. Bits are atomic, and checking a block twice at the same time is harmless.
// Locks:    one mutex around what was last seen of a mapped file; nothing else is taken while it is held.
// Forking:  the mapping and the bits serve a child as well; cache, files and engine do not (see pipeline/dataset.h).
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "headrace/base/status.h"
#include "headrace/format/shard_reader.h"
#include "headrace/io/block_cache.h"
#include "headrace/io/counters.h"
#include "headrace/io/file_table.h"
#include "headrace/io/node_cache.h"
#include "headrace/io/read_engine.h"
#include "headrace/io/read_queue.h"
#include "headrace/storage/mapping.h"

namespace headrace::io {

enum class Verify : std::uint8_t { kOnce, kAlways, kNever };
Result<Verify> verify_from_name(std::string_view name);

// What sources of one dataset share.
struct SourceContext {
  BlockCache* cache = nullptr;
  std::uint64_t owner = 0;    // the dataset, in keys of the cache
  NodeCache* node = nullptr;  // null: decoded blocks are not shared with other processes
  FileTable* files = nullptr;
  ReadEngine* engine = nullptr;  // null: mapped
  Verify verify = Verify::kOnce;
  std::uint32_t num_shards = 1;  // of the dataset
};

struct BlockId {
  std::uint64_t chunk = 0;
  std::uint32_t field = 0;
  std::uint32_t block = 0;  // in the page
};

class ShardSource {
 public:
  // `number` is the shard's place in its dataset: part of the keys in the cache. `first_row`: rows of the dataset before it.
  static Result<std::unique_ptr<ShardSource>> open(std::shared_ptr<const format::Shard> shard, std::uint32_t number,
                                                   const SourceContext& context, std::uint64_t first_row = 0);

  const format::Shard& shard() const { return *shard_; }
  bool is_mapped() const { return context_.engine == nullptr; }
  // Mapped only: the file's bytes. Touch a block of it only after touch() of that block was ok.
  const std::uint8_t* mapped() const { return base_; }

  // Mapped: all of the shard will be used, and fits into memory (storage/mapping.h).
  void expect_whole() const { mapping_->expect_whole(); }
  // Mapped: true if all blocks of a field were touched, so that touch() need not be called for it again.
  bool all_touched(std::uint32_t field) const;
  // Mapped: makes a stored block safe to read in place: populated and checked. Cheap after the first time.
  // Errors: kCorrupt, kTruncated, kIoError, naming the place.
  Status touch(const BlockId& id, Counters& counters) { return touch(id, shard_->page(id.chunk, id.field), counters); }
  Status touch(const BlockId& id, const format::PageRef& page, Counters& counters);  // the same, where the page is known
  bool is_touched(const BlockId& id) const;
  // Mapped: grows when bytes that were checked may be others by now: the file was cut or rewritten, or its device failed under an access.
  // Who uses bytes in place compares the revision before with look_again() afterwards, and begins anew if they differ. From the first
  // change on, blocks are checked whenever they are used.
  std::uint64_t revision() const { return changes_.load(std::memory_order_acquire) + (mapping_ == nullptr ? 0 : mapping_->faults()); }
  // The same, after a look at the file itself where the last one is some time ago. `now`: coarse_now_ns().
  std::uint64_t look_again(std::int64_t now);
  // Mapped: starts reading a block's bytes without waiting. Raw (codec none) pages only.
  void will_need(const BlockId& id) const;
  // The same where blocks are compressed: their table says where they lie, and is waited for. `again`: also what was there once.
  void will_need_block(const BlockId& id, const format::PageRef& page, bool again, Counters& counters);
  void will_need(std::uint64_t offset, std::uint64_t length) const;  // the same for any range

  // The decoded bytes of a block of any section, from the cache or made now.
  // `use` says who reads it and when again; its rows are filled in here.
  Result<BlockHandle> block(const BlockId& id, Counters& counters, const BlockUse& use = {});
  // Mapped: the same from the cache alone, null if it is not there.
  BlockHandle cached_block(const BlockId& id, const format::PageRef& page, Counters& counters, const BlockUse& use = {});
  // Mapped: decodes a block of the values section into exactly its decoded bytes, past the cache. `out` may be of a batch: the bytes are
  // copied nowhere else, except into the cache if it keeps a copy.
  Status decode_block(const BlockId& id, const format::PageRef& page, MutableBytes out, const BlockUse& use, Counters& counters);
  // Mapped: asks for the cache lines that decode_block() will touch first. Never waits, never faults.
  void prefetch_entry(const format::PageRef& page, std::uint32_t block) const { __builtin_prefetch(base_ + page.offset + block * 24ull); }
  void prefetch_block(const format::PageRef& page, std::uint32_t block) const;

  // Positional, for who reads the file's bytes himself (StoredBytes): where to read, what is there already, and what came of it.
  ReadEngine& engine() const { return *context_.engine; }
  bool reads_direct() const { return context_.engine->wants_direct_files(); }
  ReadQueue& queue() const { return ReadQueue::shared(context_.engine->kind(), shard_->identity().device); }
  Result<std::shared_ptr<const storage::File>> file();
  bool files_crowded() const { return context_.files->is_crowded(); }
  bool has_table(const BlockId& id) const { return context_.cache->contains(table_key(id)); }
  bool has_block(const BlockId& id, const format::PageRef& page) const {
    return context_.cache->contains(cache_key(page.first_block + id.block));
  }
  // The block table of a page, checked: from the cache, from `stored` (null: not read), or read now.
  Result<BlockHandle> table(const BlockId& id, const format::PageRef& page, const std::uint8_t* stored, Counters& counters);
  // The same for a block of any section, decoded.
  Result<BlockHandle> block(const BlockId& id, const format::PageRef& page, Bytes table, const std::uint8_t* stored, const BlockUse& use,
                            Counters& counters);
  // Checks a block's stored bytes, if `verify` wants that now.
  Status check(const BlockId& id, const format::PageRef& page, const format::BlockRef& ref, Bytes stored, Counters& counters);
  // decode_block() from stored bytes that were checked.
  Status decode_stored(const BlockId& id, const format::PageRef& page, const format::BlockRef& ref, Bytes stored, MutableBytes out,
                       const BlockUse& use, Counters& counters);
  // Puts a copy of a decoded block into the cache, if it is worth keeping.
  void keep_copy(const BlockId& id, const format::PageRef& page, Bytes decoded, const BlockUse& use);

 private:
  ShardSource(std::shared_ptr<const format::Shard> shard, std::uint32_t number, const SourceContext& context);
  // A mapped file's blocks of another revision are not found again: they may have been decoded from a mixture.
  BlockKey cache_key(std::uint64_t ordinal) const {
    return {context_.owner, (number_ + (revision() & kRevisions) * context_.num_shards) << 36 | ordinal};
  }
  static constexpr std::uint64_t kRevisions = 255;
  storage::FileIdentity identity_now();
  // An error of a checksum or a codec, as what it is if the file is not what was opened: kTruncated, kChanged, or kIoError.
  Status explain(const Status& found);
  BlockKey table_key(const BlockId& id) const;
  BlockHandle shared_block(const BlockId& id, const format::PageRef& page) const;
  void share(const BlockId& id, const format::PageRef& page, Bytes decoded) const;
  BlockUse with_rows(const BlockUse& use, const BlockId& id, const format::PageRef& page) const;
  Status populate(std::uint64_t offset, std::uint64_t bytes, Counters& counters);
  Status touch_table(const BlockId& id, const format::PageRef& page, Counters& counters);
  Status read_now(std::uint64_t offset, MutableBytes out, Counters& counters);
  Status check_and_decode(const BlockId& id, const format::PageRef& page, const format::BlockRef& ref, Bytes stored, CachedBlock& out,
                          Counters& counters);
  Status make_mapped(const BlockId& id, const format::PageRef& page, CachedBlock& out, Counters& counters);
  Status make_positional(const BlockId& id, const format::PageRef& page, Bytes entries, const std::uint8_t* stored, CachedBlock& out,
                         Counters& counters);

  bool block_checked(std::uint64_t ordinal) const {
    return (checked_[ordinal / 64].load(std::memory_order_acquire) >> (ordinal % 64) & 1) != 0;
  }
  bool set_checked(std::uint64_t ordinal);  // true if it was not set before

  std::shared_ptr<const format::Shard> shard_;
  std::uint32_t number_;
  std::uint64_t first_row_ = 0;
  SourceContext context_;
  std::shared_ptr<const storage::Mapping> mapping_;               // with who populates ahead
  const std::uint8_t* base_ = nullptr;                            // of it
  std::unique_ptr<std::atomic<std::uint64_t>[]> checked_;         // a bit a block
  std::unique_ptr<std::atomic<std::uint64_t>[]> tables_checked_;  // a bit a page
  std::unique_ptr<std::atomic<std::uint64_t>[]> touched_blocks_;  // a count a field
  std::atomic<std::uint64_t> changes_{0};
  std::atomic<std::int64_t> next_look_ns_{0};
  std::mutex seen_mutex_;
  storage::FileIdentity seen_;  // guarded by seen_mutex_
};

}  // namespace headrace::io
