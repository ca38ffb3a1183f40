// The blocks of one shard, as a reader wants them: present in memory, checked, decoded.
//
// Two ways. Mapped: the file is mapped; a block is populated (so that touching it cannot kill the process) and checked when
// it is first needed, and raw blocks are then used in place. Positional: blocks are read through a ReadEngine.
// Decoded blocks live in the BlockCache.
//
// Owns:     the mapping; two bits a block (checked, and for block tables). Borrows cache, files, engine, counters: they outlive it.
// Threads:  any. No locks: bits are atomic, and checking a block twice at the same time is harmless.
// Forking:  the mapping and the bits serve a child as well; cache, files and engine do not (see pipeline/dataset.h).
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "headrace/base/status.h"
#include "headrace/format/shard_reader.h"
#include "headrace/io/block_cache.h"
#include "headrace/io/counters.h"
#include "headrace/io/file_table.h"
#include "headrace/io/node_cache.h"
#include "headrace/io/read_engine.h"
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
  const std::uint8_t* mapped() const { return mapping_.data(); }

  // Mapped: all of the shard will be used, and fits into memory (storage/mapping.h).
  void expect_whole() const { mapping_.expect_whole(); }
  // Mapped: true if all blocks of a field were touched, so that touch() need not be called for it again.
  bool all_touched(std::uint32_t field) const;
  // Mapped: makes a stored block safe to read in place: populated and checked. Cheap after the first time.
  // Errors: kCorrupt, kTruncated, kIoError, naming the place.
  Status touch(const BlockId& id, Counters& counters) { return touch(id, shard_->page(id.chunk, id.field), counters); }
  Status touch(const BlockId& id, const format::PageRef& page, Counters& counters);  // the same, where the page is known
  bool is_touched(const BlockId& id) const;
  // Mapped: starts reading a block's bytes without waiting. Raw (codec none) pages only.
  void will_need(const BlockId& id) const;

  // The decoded bytes of a block of any section, from the cache or made now.
  // `use` says who reads it and when again; its rows are filled in here.
  Result<BlockHandle> block(const BlockId& id, Counters& counters, const BlockUse& use = {});
  // Mapped: the same from the cache alone, null if it is not there.
  BlockHandle cached_block(const BlockId& id, const format::PageRef& page, Counters& counters, const BlockUse& use = {});
  // Mapped: decodes a block of the values section into exactly its decoded bytes, past the cache. `out` may be of a batch: the bytes are
  // copied nowhere else, except into the cache if it keeps a copy.
  Status decode_block(const BlockId& id, const format::PageRef& page, MutableBytes out, const BlockUse& use, Counters& counters);
  // Mapped: asks for the cache lines that decode_block() will touch first. Never waits, never faults.
  void prefetch_entry(const format::PageRef& page, std::uint32_t block) const {
    __builtin_prefetch(mapping_.data() + page.offset + block * 24ull);
  }
  void prefetch_block(const format::PageRef& page, std::uint32_t block) const;
  // Positional: reads at depth those of `ids` that the cache lacks and puts them there decoded. Errors stay with the blocks:
  // whoever asks for one later meets its error.
  void prefetch(std::span<const BlockId> ids, Counters& counters, const BlockUse& use = {});

 private:
  ShardSource(std::shared_ptr<const format::Shard> shard, std::uint32_t number, const SourceContext& context);
  BlockKey cache_key(std::uint64_t ordinal) const { return {context_.owner, static_cast<std::uint64_t>(number_) << 40 | ordinal}; }
  BlockKey table_key(const BlockId& id) const;
  BlockHandle shared_block(const BlockId& id, const format::PageRef& page) const;
  void share(const BlockId& id, const format::PageRef& page, Bytes decoded) const;
  BlockUse with_rows(const BlockUse& use, const BlockId& id, const format::PageRef& page) const;
  Status touch_table(const BlockId& id, const format::PageRef& page, Counters& counters);
  Result<BlockHandle> table(const BlockId& id, const format::PageRef& page, Counters& counters);
  Result<std::shared_ptr<const storage::File>> file();
  Status read_now(std::uint64_t offset, MutableBytes out, Counters& counters);
  Status check_and_decode(const BlockId& id, const format::PageRef& page, const format::BlockRef& ref, Bytes stored, CachedBlock& out,
                          Counters& counters);
  Status make_mapped(const BlockId& id, const format::PageRef& page, CachedBlock& out, Counters& counters);
  Status make_positional(const BlockId& id, const format::PageRef& page, CachedBlock& out, Counters& counters);

  bool block_checked(std::uint64_t ordinal) const {
    return (checked_[ordinal / 64].load(std::memory_order_acquire) >> (ordinal % 64) & 1) != 0;
  }
  bool set_checked(std::uint64_t ordinal);  // true if it was not set before

  std::shared_ptr<const format::Shard> shard_;
  std::uint32_t number_;
  std::uint64_t first_row_ = 0;
  SourceContext context_;
  storage::Mapping mapping_;
  std::unique_ptr<std::atomic<std::uint64_t>[]> checked_;         // a bit a block
  std::unique_ptr<std::atomic<std::uint64_t>[]> tables_checked_;  // a bit a page
  std::unique_ptr<std::atomic<std::uint64_t>[]> touched_blocks_;  // a count a field
  std::vector<std::uint64_t> field_blocks_;                       // blocks of a field in the whole shard
};

}  // namespace headrace::io
