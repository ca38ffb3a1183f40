#include "headrace/io/shard_source.h"

#include <algorithm>
#include <cstring>

namespace headrace::io {
namespace {

using format::BlockRef;
using format::PageRef;
using format::Section;

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
    : shard_(std::move(shard)), number_(number), context_(context) {
  const std::size_t fields = shard_->schema().fields.size();
  checked_ = zeroed(shard_->num_blocks() / 64 + 1);
  tables_checked_ = zeroed(shard_->num_chunks() * fields / 64 + 1);
  touched_blocks_ = zeroed(fields + 1);
  field_blocks_.assign(fields, 0);
  for (std::uint64_t chunk = 0; chunk < shard_->num_chunks(); ++chunk) {
    for (std::uint32_t field = 0; field < fields; ++field) field_blocks_[field] += shard_->page(chunk, field).num_blocks;
  }
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
  HR_ASSIGN_OR_RETURN(source->mapping_, storage::Mapping::map(file));
  source->mapping_.advise_random();
  return source;
}

bool ShardSource::set_checked(std::uint64_t ordinal) {
  const std::uint64_t bit = 1ull << (ordinal % 64);
  return (checked_[ordinal / 64].fetch_or(bit, std::memory_order_acq_rel) & bit) == 0;
}

bool ShardSource::all_touched(std::uint32_t field) const {
  return context_.verify != Verify::kAlways && touched_blocks_[field].load(std::memory_order_acquire) == field_blocks_[field];
}

bool ShardSource::is_touched(const BlockId& id) const { return block_checked(shard_->page(id.chunk, id.field).first_block + id.block); }

Status ShardSource::touch_table(const BlockId& id, const PageRef& page, Counters& counters) {
  const std::uint64_t ordinal = id.chunk * shard_->schema().fields.size() + id.field;
  std::atomic<std::uint64_t>& word = tables_checked_[ordinal / 64];
  const std::uint64_t bit = 1ull << (ordinal % 64);
  if ((word.load(std::memory_order_acquire) & bit) != 0 && context_.verify != Verify::kAlways) return Status::ok();
  const std::uint64_t bytes = page.num_blocks * 24ull;
  {
    ScopedTime time(counters.read_ns);
    HR_RETURN_IF_ERROR(mapping_.populate(page.offset, bytes).with_context("read " + shard_->describe(id.chunk, id.field)));
  }
  // Never skipped, whatever `verify` says: block sizes steer memory accesses.
  HR_RETURN_IF_ERROR(shard_->check_table(id.chunk, id.field, {mapping_.data() + page.offset, bytes}));
  word.fetch_or(bit, std::memory_order_acq_rel);
  return Status::ok();
}

Status ShardSource::touch(const BlockId& id, const PageRef& page, Counters& counters) {
  const std::uint64_t ordinal = page.first_block + id.block;
  if (context_.verify != Verify::kAlways && block_checked(ordinal)) return Status::ok();
  HR_RETURN_IF_ERROR(touch_table(id, page, counters));
  const BlockRef ref = format::Shard::block(page, {mapping_.data() + page.offset, page.num_blocks * 24ull}, id.block);
  {
    ScopedTime time(counters.read_ns);
    HR_RETURN_IF_ERROR(mapping_.populate(ref.offset, ref.stored_bytes).with_context("read " + shard_->describe(id.chunk, id.field)));
  }
  if (context_.verify != Verify::kNever) {
    ScopedTime time(counters.verify_ns);
    HR_RETURN_IF_ERROR(shard_->check_block(id.chunk, id.field, id.block, ref, {mapping_.data() + ref.offset, ref.stored_bytes}));
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
  mapping_.will_need(page.offset, page.num_blocks * 24ull);
  mapping_.will_need(values.offset + from, std::min<std::uint64_t>(values.block_bytes, values.decoded_bytes - from));
}

BlockKey ShardSource::table_key(const BlockId& id) const {
  BlockKey key = cache_key(id.chunk * shard_->schema().fields.size() + id.field);
  key.block |= kTableBit;
  return key;
}

// What another process of this machine decoded, or null. Values only: side sections are read in place.
BlockHandle ShardSource::shared_block(const BlockId& id, const PageRef& page) const {
  const format::SectionRef& values = page.section(Section::kValues);
  if (context_.node == nullptr || id.block < values.first_block) return nullptr;
  const std::uint64_t begin = std::uint64_t{id.block - values.first_block} * values.block_bytes;
  return context_.node->find(shard_->uuid(), page.first_block + id.block,
                             std::min<std::uint64_t>(values.block_bytes, values.decoded_bytes - begin));
}

// What was never checked is not passed on.
void ShardSource::share(const BlockId& id, const PageRef& page, Bytes decoded) const {
  if (context_.node == nullptr || context_.verify == Verify::kNever || id.block < page.section(Section::kValues).first_block) return;
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
  return request.status;
}

Result<BlockHandle> ShardSource::table(const BlockId& id, const PageRef& page, Counters& counters) {
  return context_.cache->get(table_key(id), {}, [&](CachedBlock& out) -> Status {
    HR_RETURN_IF_ERROR(context_.cache->allocate(out, page.num_blocks * 24ull));
    HR_RETURN_IF_ERROR(
        read_now(page.offset, {out.data.get(), out.size}, counters).with_context("read " + shard_->describe(id.chunk, id.field)));
    return shard_->check_table(id.chunk, id.field, out.bytes());
  });
}

Status ShardSource::check_and_decode(const BlockId& id, const PageRef& page, const BlockRef& ref, Bytes stored, CachedBlock& out,
                                     Counters& counters) {
  const std::uint64_t ordinal = page.first_block + id.block;
  const bool due = context_.verify == Verify::kAlways || (context_.verify == Verify::kOnce && !block_checked(ordinal));
  if (due) {
    ScopedTime time(counters.verify_ns);
    HR_RETURN_IF_ERROR(shard_->check_block(id.chunk, id.field, id.block, ref, stored));
    if (set_checked(ordinal)) touched_blocks_[id.field].fetch_add(1, std::memory_order_acq_rel);
  }
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
  const BlockRef ref = format::Shard::block(page, {mapping_.data() + page.offset, page.num_blocks * 24ull}, block);
  constexpr std::uint32_t kLine = 64, kMostLines = 32;  // The hardware follows a longer run by itself.
  const std::uint8_t* const from = mapping_.data() + ref.offset;
  for (std::uint32_t at = 0; at < std::min(ref.stored_bytes, kLine * kMostLines); at += kLine) __builtin_prefetch(from + at);
}

Status ShardSource::decode_block(const BlockId& id, const PageRef& page, MutableBytes out, const BlockUse& use, Counters& counters) {
  HR_RETURN_IF_ERROR(touch(id, page, counters));
  const BlockRef ref = format::Shard::block(page, {mapping_.data() + page.offset, page.num_blocks * 24ull}, id.block);
  const Bytes stored{mapping_.data() + ref.offset, ref.stored_bytes};
  thread_local std::vector<std::uint8_t> scratch;
  {
    ScopedTime time(counters.decode_ns);
    HR_RETURN_IF_ERROR(shard_->decode_block(id.chunk, id.field, id.block, ref, stored, out, scratch));
  }
  counters.decoded_bytes.fetch_add(out.size(), std::memory_order_relaxed);
  share(id, page, out);
  const BlockKey key = cache_key(page.first_block + id.block);
  const BlockUse again = with_rows(use, id, page);
  const std::shared_ptr<CachedBlock> copy = context_.cache->room_for(key, out.size(), again);
  if (copy == nullptr) return Status::ok();  // Not worth keeping, or no memory to keep it: the batch has it all the same.
  std::memcpy(copy->data.get(), out.data(), out.size());
  context_.cache->put(key, copy, again);
  return Status::ok();
}

Status ShardSource::make_mapped(const BlockId& id, const PageRef& page, CachedBlock& out, Counters& counters) {
  HR_RETURN_IF_ERROR(touch(id, page, counters));
  const BlockRef ref = format::Shard::block(page, {mapping_.data() + page.offset, page.num_blocks * 24ull}, id.block);
  return check_and_decode(id, page, ref, {mapping_.data() + ref.offset, ref.stored_bytes}, out, counters);
}

Status ShardSource::make_positional(const BlockId& id, const PageRef& page, CachedBlock& out, Counters& counters) {
  HR_ASSIGN_OR_RETURN(const BlockHandle entries, table(id, page, counters));
  const BlockRef ref = format::Shard::block(page, entries->bytes(), id.block);
  thread_local std::vector<std::uint8_t> stored;
  stored.resize(ref.stored_bytes);
  HR_RETURN_IF_ERROR(read_now(ref.offset, stored, counters).with_context("read " + shard_->describe(id.chunk, id.field)));
  counters.blocks_read.fetch_add(1, std::memory_order_relaxed);
  return check_and_decode(id, page, ref, stored, out, counters);
}

Result<BlockHandle> ShardSource::block(const BlockId& id, Counters& counters, const BlockUse& use) {
  const PageRef page = shard_->page(id.chunk, id.field);
  if (BlockHandle found = shared_block(id, page)) {
    counters.cache_hits.fetch_add(1, std::memory_order_relaxed);
    return found;
  }
  bool hit = false;
  auto found = context_.cache->get(
      cache_key(page.first_block + id.block), with_rows(use, id, page),
      [&](CachedBlock& out) { return is_mapped() ? make_mapped(id, page, out, counters) : make_positional(id, page, out, counters); },
      &hit);
  (hit ? counters.cache_hits : counters.cache_misses).fetch_add(1, std::memory_order_relaxed);
  return found;
}

void ShardSource::prefetch(std::span<const BlockId> ids, Counters& counters, const BlockUse& use) {
  struct Wanted {
    BlockId id;
    PageRef page;
    BlockRef ref;
    std::vector<std::uint8_t> stored;
  };
  const auto opened = file();
  if (!opened.is_ok()) return;
  std::vector<Wanted> wanted;
  for (const BlockId& id : ids) {
    const PageRef page = shard_->page(id.chunk, id.field);
    if (context_.cache->contains(cache_key(page.first_block + id.block)) || shared_block(id, page) != nullptr) continue;
    const auto entries = table(id, page, counters);
    if (!entries.is_ok()) continue;
    wanted.push_back({id, page, format::Shard::block(page, (*entries)->bytes(), id.block), {}});
    wanted.back().stored.resize(wanted.back().ref.stored_bytes);
  }
  std::vector<ReadRequest> requests;
  for (Wanted& w : wanted) requests.push_back({opened->get(), w.ref.offset, w.stored, {}});
  {
    ScopedTime time(counters.read_ns);
    context_.engine->read(requests);
  }
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    counters.stored_bytes.fetch_add(wanted[i].stored.size(), std::memory_order_relaxed);
    if (!requests[i].status.is_ok()) continue;
    counters.blocks_read.fetch_add(1, std::memory_order_relaxed);
    const Wanted& w = wanted[i];
    const auto kept = context_.cache->get(cache_key(w.page.first_block + w.id.block), with_rows(use, w.id, w.page),
                                          [&](CachedBlock& out) { return check_and_decode(w.id, w.page, w.ref, w.stored, out, counters); });
    (void)kept;  // A failure is met again, and reported, by the row that needs the block.
  }
}

}  // namespace headrace::io
