#include "headrace/io/shard_source.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "headrace/base/clock.h"
#include "headrace/io/populate_ahead.h"

namespace headrace::io {
namespace {

using format::BlockRef;
using format::PageRef;
using format::Section;

// Between two looks at a mapped file: a look is a stat(), some microseconds where it stays on this machine, so this is about a hundredth of
// one core's time, however many shards there are.
constexpr std::int64_t kLookPauseNs = 10'000'000, kLookPauseShardNs = 100'000;
constexpr std::uint64_t kTableBit = 1ull << 63;  // keys of block tables in the cache

std::unique_ptr<std::atomic<std::uint64_t>[]> zeroed(std::uint64_t count) { return std::make_unique<std::atomic<std::uint64_t>[]>(count); }

}  // namespace

Result<Verify> verify_from_name(std::string_view name) {
  if (name == "once") return Verify::kOnce;
  if (name == "always") return Verify::kAlways;
  if (name == "never") return Verify::kNever;
  return Status(Code::kInvalidArgument, "verify is '" + std::string(name) + "'; expected 'once', 'always' or 'never'");
}

ShardSource::ShardSource(std::shared_ptr<const format::Shard> shard, std::uint32_t number, const SourceContext& context)
    : shard_(std::move(shard)), number_(number), context_(context), seen_(shard_->identity()) {
  const std::size_t fields = shard_->schema().fields.size();
  checked_ = zeroed(shard_->num_blocks() / 64 + 1);
  tables_checked_ = zeroed(shard_->num_chunks() * fields / 64 + 1);
  touched_blocks_ = zeroed(fields + 1);
}

Result<std::unique_ptr<ShardSource>> ShardSource::open(std::shared_ptr<const format::Shard> shard, std::uint32_t number,
                                                       const SourceContext& context, std::uint64_t first_row) {
  std::unique_ptr<ShardSource> source(new ShardSource(std::move(shard), number, context));
  source->first_row_ = first_row;
  if (!source->is_mapped()) return source;
  HR_ASSIGN_OR_RETURN(const storage::File file, storage::File::open(source->shard_->path()));
  HR_ASSIGN_OR_RETURN(const storage::FileIdentity identity, file.identity());
  if (identity != source->shard_->identity()) {
    return Status(Code::kChanged,
                  "map " + file.path() + ": the file was replaced or changed while it was being opened; open the dataset again");
  }
  HR_ASSIGN_OR_RETURN(storage::Mapping mapping, storage::Mapping::map(file));
  mapping.advise_random();
  source->base_ = mapping.data();
  source->mapping_ = std::make_shared<const storage::Mapping>(std::move(mapping));
  return source;
}

bool ShardSource::set_checked(std::uint64_t ordinal) {
  const std::uint64_t bit = 1ull << (ordinal % 64);
  return (checked_[ordinal / 64].fetch_or(bit, std::memory_order_acq_rel) & bit) == 0;
}

// What a shard's file is now, as far as one can tell: by its descriptor, or where it is mapped by its name (another file of that name says
// nothing of ours). The identity that it was opened with if nothing else is known.
storage::FileIdentity ShardSource::identity_now() {
  const storage::FileIdentity& opened = shard_->identity();
  Result<storage::FileIdentity> now = opened;
  if (is_mapped()) {
    now = storage::File::identity_of(shard_->path());
  } else if (const auto open = file(); open.is_ok()) {
    now = (*open)->identity();
  }
  return now.is_ok() && now->device == opened.device && now->inode == opened.inode ? *now : opened;
}

Status ShardSource::explain(const Status& found) {
  if (found.code() != Code::kCorrupt) return found;
  const storage::FileIdentity now = identity_now();
  const auto was = static_cast<unsigned long long>(shard_->identity().size), is = static_cast<unsigned long long>(now.size);
  if (now.size < shard_->identity().size) {
    return {Code::kTruncated,
            found.message() + strf("; the file was cut while in use: expected %llu bytes, found %llu; copy it again", was, is)};
  }
  if (now != shard_->identity()) {
    return {Code::kChanged,
            found.message() + strf("; the file was changed while in use (%llu bytes when opened, %llu now); shards must stay as "
                                   "they are: write a new dataset, and open that",
                                   was, is)};
  }
  if (is_mapped() && mapping_->faults() > 0) {
    return {Code::kIoError, found.message() + "; the device failed while the file was in use", EIO};
  }
  return found;
}

std::uint64_t ShardSource::look_again(std::int64_t now) {
  std::int64_t due = next_look_ns_.load(std::memory_order_relaxed);
  // verify="always" means that nothing may slip through; else a change may be seen a pause later.
  const std::int64_t pause = context_.verify == Verify::kAlways ? 0 : kLookPauseNs + kLookPauseShardNs * context_.num_shards;
  if (now < due || (pause > 0 && !next_look_ns_.compare_exchange_strong(due, now + pause, std::memory_order_relaxed))) return revision();
  const storage::FileIdentity found = identity_now();
  std::lock_guard lock(seen_mutex_);
  if (found != seen_) changes_.fetch_add(1, std::memory_order_acq_rel);
  seen_ = found;
  return revision();
}

bool ShardSource::all_touched(std::uint32_t field) const {
  return context_.verify != Verify::kAlways && revision() == 0 &&
         touched_blocks_[field].load(std::memory_order_acquire) == shard_->field_blocks(field);
}

bool ShardSource::is_touched(const BlockId& id) const { return block_checked(shard_->page(id.chunk, id.field).first_block + id.block); }

Status ShardSource::populate(std::uint64_t offset, std::uint64_t bytes, Counters& counters) {
  unsigned retries = 0;
  Status status = mapping_->populate(offset, bytes, &retries);
  if (retries > 0) counters.read_retries.fetch_add(retries, std::memory_order_relaxed);
  return status;
}

Status ShardSource::touch_table(const BlockId& id, const PageRef& page, Counters& counters) {
  const std::uint64_t ordinal = id.chunk * shard_->schema().fields.size() + id.field;
  std::atomic<std::uint64_t>& word = tables_checked_[ordinal / 64];
  const std::uint64_t bit = 1ull << (ordinal % 64);
  if ((word.load(std::memory_order_acquire) & bit) != 0 && context_.verify != Verify::kAlways && revision() == 0) return Status::ok();
  const std::uint64_t bytes = page.num_blocks * 24ull;
  {
    ScopedTime time(counters.read_ns);
    HR_RETURN_IF_ERROR(populate(page.offset, bytes, counters).with_context("read " + shard_->describe(id.chunk, id.field)));
  }
  // Never skipped, whatever `verify` says: block sizes steer memory accesses.
  HR_RETURN_IF_ERROR(explain(shard_->check_table(id.chunk, id.field, {base_ + page.offset, bytes})));
  word.fetch_or(bit, std::memory_order_acq_rel);
  return Status::ok();
}

Status ShardSource::touch(const BlockId& id, const PageRef& page, Counters& counters) {
  const std::uint64_t ordinal = page.first_block + id.block;
  if (context_.verify != Verify::kAlways && revision() == 0 && block_checked(ordinal)) return Status::ok();
  HR_RETURN_IF_ERROR(touch_table(id, page, counters));
  const BlockRef ref = format::Shard::block(page, {base_ + page.offset, page.num_blocks * 24ull}, id.block);
  {
    ScopedTime time(counters.read_ns);
    HR_RETURN_IF_ERROR(populate(ref.offset, ref.stored_bytes, counters).with_context("read " + shard_->describe(id.chunk, id.field)));
  }
  if (context_.verify != Verify::kNever) {
    ScopedTime time(counters.verify_ns);
    HR_RETURN_IF_ERROR(explain(shard_->check_block(id.chunk, id.field, id.block, ref, {base_ + ref.offset, ref.stored_bytes})));
  }
  if (set_checked(ordinal)) {
    touched_blocks_[id.field].fetch_add(1, std::memory_order_acq_rel);
    counters.stored_bytes.fetch_add(ref.stored_bytes, std::memory_order_relaxed);
    counters.blocks_read.fetch_add(1, std::memory_order_relaxed);
  }
  return Status::ok();
}

void ShardSource::will_need(const BlockId& id) const {
  const PageRef page = shard_->page(id.chunk, id.field);
  const format::SectionRef& values = page.section(Section::kValues);
  if (id.block < values.first_block) return;
  const std::uint64_t from = static_cast<std::uint64_t>(id.block - values.first_block) * values.block_bytes;
  will_need(page.offset, page.num_blocks * 24ull);
  will_need(values.offset + from, std::min<std::uint64_t>(values.block_bytes, values.decoded_bytes - from));
}

void ShardSource::will_need_block(const BlockId& id, const PageRef& page, bool again, Counters& counters) {
  if (!again && block_checked(page.first_block + id.block)) return;
  // What is populated a huge page at a time needs no table: the page's blocks lie in one or two of them.
  if (mapping_->is_whole()) return will_need(page.offset, page.stored_bytes);
  if (!touch_table(id, page, counters).is_ok()) return;  // Met again by who needs the block.
  const BlockRef ref = format::Shard::block(page, {base_ + page.offset, page.num_blocks * 24ull}, id.block);
  will_need(ref.offset, ref.stored_bytes);
}

void ShardSource::will_need(std::uint64_t offset, std::uint64_t length) const {
  if (mapping_->is_whole()) {
    populate_ahead(mapping_, offset, length);
  } else {
    mapping_->will_need(offset, length);
  }
}

BlockKey ShardSource::table_key(const BlockId& id) const {
  BlockKey key = cache_key(id.chunk * shard_->schema().fields.size() + id.field);
  key.block |= kTableBit;
  return key;
}

// What another process of this machine decoded, or null. Values only: side sections are read in place.
BlockHandle ShardSource::shared_block(const BlockId& id, const PageRef& page) const {
  const format::SectionRef& values = page.section(Section::kValues);
  if (context_.node == nullptr || revision() != 0 || id.block < values.first_block) return nullptr;
  const std::uint64_t begin = std::uint64_t{id.block - values.first_block} * values.block_bytes;
  return context_.node->find(shard_->uuid(), page.first_block + id.block,
                             std::min<std::uint64_t>(values.block_bytes, values.decoded_bytes - begin));
}

// What was never checked, or comes from a file that has changed, is not passed on.
void ShardSource::share(const BlockId& id, const PageRef& page, Bytes decoded) const {
  if (context_.node == nullptr || revision() != 0 || context_.verify == Verify::kNever ||
      id.block < page.section(Section::kValues).first_block)
    return;
  const std::uint64_t ordinal = page.first_block + id.block;
  context_.node->offer(shard_->uuid(), ordinal, decoded, cache_key(ordinal));
}

// The rows that the block holds bytes of: exact for rows of one size, else as if they had one.
BlockUse ShardSource::with_rows(const BlockUse& use, const BlockId& id, const PageRef& page) const {
  BlockUse out = use;
  if (use.reader == nullptr) return out;
  for (const format::SectionRef& section : page.sections) {
    if (id.block < section.first_block || id.block - section.first_block >= section.num_blocks || section.decoded_bytes == 0) continue;
    const std::uint64_t begin = std::uint64_t{id.block - section.first_block} * section.block_bytes;
    const std::uint64_t end = std::min<std::uint64_t>(begin + section.block_bytes, section.decoded_bytes);
    const std::uint64_t row_bytes = std::max<std::uint64_t>(1, section.decoded_bytes / page.num_samples);
    const std::uint64_t first = std::min<std::uint64_t>(begin / row_bytes, page.num_samples - 1);
    const std::uint64_t last = std::min<std::uint64_t>((end - 1) / row_bytes, page.num_samples - 1);
    out.rows = {first_row_ + id.chunk * shard_->chunk_samples() + first, last - first + 1};
  }
  return out;
}

Result<std::shared_ptr<const storage::File>> ShardSource::file() {
  auto opened = context_.files->get(shard_->path(), context_.engine->wants_direct_files(), shard_->identity());
  if (!opened.is_ok() && opened.status().code() == Code::kUnsupported) {
    context_.engine->give_up_direct();
    return context_.files->get(shard_->path(), false, shard_->identity());
  }
  return opened;
}

Status ShardSource::read_now(std::uint64_t offset, MutableBytes out, Counters& counters) {
  HR_ASSIGN_OR_RETURN(const std::shared_ptr<const storage::File> opened, file());
  ScopedTime time(counters.read_ns);
  ReadRequest request{opened.get(), offset, out, {}};
  context_.engine->read({&request, 1});
  counters.stored_bytes.fetch_add(out.size(), std::memory_order_relaxed);
  if (request.retried) counters.read_retries.fetch_add(1, std::memory_order_relaxed);
  return request.status;
}

Result<BlockHandle> ShardSource::table(const BlockId& id, const PageRef& page, const std::uint8_t* stored, Counters& counters) {
  return context_.cache->get(table_key(id), {}, [&](CachedBlock& out) -> Status {
    HR_RETURN_IF_ERROR(context_.cache->allocate(out, page.num_blocks * 24ull));
    if (stored != nullptr) {
      std::memcpy(out.data.get(), stored, out.size);
    } else {
      HR_RETURN_IF_ERROR(
          read_now(page.offset, {out.data.get(), out.size}, counters).with_context("read " + shard_->describe(id.chunk, id.field)));
    }
    return explain(shard_->check_table(id.chunk, id.field, out.bytes()));
  });
}

Status ShardSource::check(const BlockId& id, const PageRef& page, const BlockRef& ref, Bytes stored, Counters& counters) {
  const std::uint64_t ordinal = page.first_block + id.block;
  if (context_.verify == Verify::kNever && !is_mapped() && identity_now() != shard_->identity()) {  // Nobody else would notice.
    return explain({Code::kCorrupt, "read " + shard_->describe(id.chunk, id.field)});
  }
  // What was checked before may be something else by now, if it was read again from a file that changed.
  const bool due =
      context_.verify == Verify::kAlways ||
      (context_.verify == Verify::kOnce && (!block_checked(ordinal) || (!is_mapped() && identity_now() != shard_->identity())));
  if (!due) return Status::ok();
  ScopedTime time(counters.verify_ns);
  HR_RETURN_IF_ERROR(explain(shard_->check_block(id.chunk, id.field, id.block, ref, stored)));
  if (set_checked(ordinal)) touched_blocks_[id.field].fetch_add(1, std::memory_order_acq_rel);
  return Status::ok();
}

Status ShardSource::check_and_decode(const BlockId& id, const PageRef& page, const BlockRef& ref, Bytes stored, CachedBlock& out,
                                     Counters& counters) {
  HR_RETURN_IF_ERROR(check(id, page, ref, stored, counters));
  ScopedTime time(counters.decode_ns);
  thread_local std::vector<std::uint8_t> scratch;
  HR_RETURN_IF_ERROR(context_.cache->allocate(out, ref.decoded_bytes));
  counters.decoded_bytes.fetch_add(ref.decoded_bytes, std::memory_order_relaxed);
  if (id.block < page.section(Section::kValues).first_block) {  // Validity and offsets are stored as they are.
    std::memcpy(out.data.get(), stored.data(), stored.size());
    return Status::ok();
  }
  HR_RETURN_IF_ERROR(shard_->decode_block(id.chunk, id.field, id.block, ref, stored, {out.data.get(), out.size}, scratch));
  share(id, page, out.bytes());
  return Status::ok();
}

BlockHandle ShardSource::cached_block(const BlockId& id, const PageRef& page, Counters& counters, const BlockUse& use) {
  BlockHandle found = context_.cache->try_get(cache_key(page.first_block + id.block), with_rows(use, id, page));
  if (found == nullptr) found = shared_block(id, page);
  (found != nullptr ? counters.cache_hits : counters.cache_misses).fetch_add(1, std::memory_order_relaxed);
  return found;
}

void ShardSource::prefetch_block(const PageRef& page, std::uint32_t block) const {
  if (!block_checked(page.first_block + block)) return;  // Its table may not be in memory yet: reading an entry could fault.
  const BlockRef ref = format::Shard::block(page, {base_ + page.offset, page.num_blocks * 24ull}, block);
  constexpr std::uint32_t kLine = 64, kMostLines = 32;  // The hardware follows a longer run by itself.
  const std::uint8_t* const from = base_ + ref.offset;
  for (std::uint32_t at = 0; at < std::min(ref.stored_bytes, kLine * kMostLines); at += kLine) __builtin_prefetch(from + at);
}

Status ShardSource::decode_block(const BlockId& id, const PageRef& page, MutableBytes out, const BlockUse& use, Counters& counters) {
  HR_RETURN_IF_ERROR(touch(id, page, counters));
  const BlockRef ref = format::Shard::block(page, {base_ + page.offset, page.num_blocks * 24ull}, id.block);
  return decode_stored(id, page, ref, {base_ + ref.offset, ref.stored_bytes}, out, use, counters);
}

Status ShardSource::decode_stored(const BlockId& id, const PageRef& page, const BlockRef& ref, Bytes stored, MutableBytes out,
                                  const BlockUse& use, Counters& counters) {
  thread_local std::vector<std::uint8_t> scratch;
  {
    ScopedTime time(counters.decode_ns);
    HR_RETURN_IF_ERROR(explain(shard_->decode_block(id.chunk, id.field, id.block, ref, stored, out, scratch)));
  }
  counters.decoded_bytes.fetch_add(out.size(), std::memory_order_relaxed);
  share(id, page, out);
  keep_copy(id, page, out, use);
  return Status::ok();
}

void ShardSource::keep_copy(const BlockId& id, const PageRef& page, Bytes decoded, const BlockUse& use) {
  const BlockKey key = cache_key(page.first_block + id.block);
  const BlockUse again = with_rows(use, id, page);
  const std::shared_ptr<CachedBlock> copy = context_.cache->room_for(key, decoded.size(), again);
  if (copy == nullptr) return;  // Not worth keeping, or no memory to keep it: the batch has it all the same.
  std::memcpy(copy->data.get(), decoded.data(), decoded.size());
  context_.cache->put(key, copy, again);
}

Status ShardSource::make_mapped(const BlockId& id, const PageRef& page, CachedBlock& out, Counters& counters) {
  HR_RETURN_IF_ERROR(touch(id, page, counters));
  const BlockRef ref = format::Shard::block(page, {base_ + page.offset, page.num_blocks * 24ull}, id.block);
  return check_and_decode(id, page, ref, {base_ + ref.offset, ref.stored_bytes}, out, counters);
}

Status ShardSource::make_positional(const BlockId& id, const PageRef& page, Bytes entries, const std::uint8_t* stored, CachedBlock& out,
                                    Counters& counters) {
  BlockHandle kept;
  if (entries.empty()) {
    HR_ASSIGN_OR_RETURN(kept, table(id, page, nullptr, counters));
    entries = kept->bytes();
  }
  const BlockRef ref = format::Shard::block(page, entries, id.block);
  thread_local std::vector<std::uint8_t> read;
  if (stored == nullptr) {
    read.resize(ref.stored_bytes);
    HR_RETURN_IF_ERROR(read_now(ref.offset, read, counters).with_context("read " + shard_->describe(id.chunk, id.field)));
    stored = read.data();
  }
  counters.blocks_read.fetch_add(1, std::memory_order_relaxed);
  return check_and_decode(id, page, ref, {stored, ref.stored_bytes}, out, counters);
}

Result<BlockHandle> ShardSource::block(const BlockId& id, Counters& counters, const BlockUse& use) {
  return block(id, shard_->page(id.chunk, id.field), {}, nullptr, use, counters);
}

Result<BlockHandle> ShardSource::block(const BlockId& id, const PageRef& page, Bytes entries, const std::uint8_t* stored,
                                       const BlockUse& use, Counters& counters) {
  if (BlockHandle found = shared_block(id, page)) {
    counters.cache_hits.fetch_add(1, std::memory_order_relaxed);
    return found;
  }
  bool hit = false;
  const auto make = [&](CachedBlock& out) {
    return is_mapped() ? make_mapped(id, page, out, counters) : make_positional(id, page, entries, stored, out, counters);
  };
  auto found = context_.cache->get(cache_key(page.first_block + id.block), with_rows(use, id, page), make, &hit);
  (hit ? counters.cache_hits : counters.cache_misses).fetch_add(1, std::memory_order_relaxed);
  return found;
}

}  // namespace headrace::io
