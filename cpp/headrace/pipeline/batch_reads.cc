// What a batch tells mapped readers to bring in, and what it reads by position: block tables, validity and offsets before it can be laid
// out, then its blocks, a group for each piece.
#include <algorithm>

#include "headrace/pipeline/batch_builder.h"

namespace headrace::pipeline {

namespace {

constexpr std::uint64_t kRoundBytes = 32u << 20;

}  // namespace

using format::BlockRef;
using format::PageRef;
using format::Section;
using format::SectionRef;

// Mapped: starts the reads of what comes before the values in the pages that are not in memory for sure.
void BatchBuilder::ask_for_pages() const {
  for (std::size_t i = 0; i < pages_.size() && !read_ahead_; ++i) {
    for (std::size_t r = 0; r < pages_[i].size(); ++r) {
      const io::ShardSource& source = *sources_[runs_[r].shard];
      const PageRef& page = pages_[i][r];
      if (pages_go_ || !source.all_touched(context_.fields[i]))
        source.will_need(page.offset, page.section(Section::kValues).offset - page.offset);
    }
  }
}

// The same for the blocks that are to be decoded.
void BatchBuilder::ask_for_blocks() const {
  if (read_ahead_) return;
  for (const Need& need : needs_) {
    io::ShardSource& source = source_of(need);
    if (pages_go_ || !source.all_touched(context_.fields[need.out_field]))
      source.will_need_block(block_id(need), page_of(need), pages_go_, context_.counters->io);
  }
}

void BatchBuilder::find_images(ChunkAhead& ahead) {
  images_.reserve(runs_.size());
  for (const Run& run : runs_) images_.push_back(ahead.find(run.shard, run.chunk));
}

// All that comes before the values in a page lies side by side, so what is missing of it is mostly one read.
Status BatchBuilder::want_sides() {
  for (std::size_t r = 0; r < runs_.size(); ++r) {
    if (!images_.empty() && images_[r] != nullptr) continue;
    io::ShardSource& source = *sources_[runs_[r].shard];
    for (std::size_t i = 0; i < context_.fields.size(); ++i) {
      const PageRef& page = pages_[i][r];
      if (page.num_blocks > 0 && !source.has_table({runs_[r].chunk, context_.fields[i], 0}))
        side_bytes_.want(source, page.offset, page.num_blocks * 24ull);
      if (field_of(i).is_variable() || field_of(i).nullable) want_side_blocks(r, i);
    }
  }
  side_bytes_.end_group();
  return side_bytes_.lease(*context_.slabs);
}

void BatchBuilder::want_side_blocks(std::size_t r, std::size_t out_field) {
  const Run& run = runs_[r];
  io::ShardSource& source = *sources_[run.shard];
  const PageRef& page = pages_[out_field][r];
  for (const Section which : {Section::kValidity, Section::kOffsets}) {
    const SectionRef& section = page.section(which);
    std::uint64_t last = ~std::uint64_t{0};
    const auto want = [&](std::uint64_t at) {
      const std::uint64_t block = at / section.block_bytes;
      if (block == last) return;
      last = block;
      const io::BlockId id{run.chunk, context_.fields[out_field], section.first_block + static_cast<std::uint32_t>(block)};
      const std::uint64_t from = block * section.block_bytes;
      // Stored as they are, so where they lie needs no table.
      if (!source.has_block(id, page))
        side_bytes_.want(source, section.offset + from, std::min<std::uint64_t>(section.block_bytes, section.decoded_bytes - from));
    };
    for (std::uint32_t row = run.first_row; section.num_blocks > 0 && row < run.end_row; ++row) {
      const std::uint64_t number = chunk_rows_[row];
      if (which == Section::kValidity) {
        want(number / 8);
      } else {
        want(number * page.offset_width);
        want((number + 1) * page.offset_width);
      }
    }
  }
}

void BatchBuilder::take_tables() {
  tables_.resize(context_.fields.size());
  for (std::size_t i = 0; i < tables_.size(); ++i) {
    tables_[i].resize(runs_.size());
    for (std::size_t r = 0; r < runs_.size(); ++r) {
      Table& table = tables_[i][r];
      io::ShardSource& source = *sources_[runs_[r].shard];
      const PageRef& page = pages_[i][r];
      if (page.num_blocks == 0) continue;
      const io::BlockId id{runs_[r].chunk, context_.fields[i], 0};
      const std::uint64_t bytes = page.num_blocks * 24ull;
      ChunkImage* const image = images_.empty() ? nullptr : images_[r].get();
      if (const std::uint8_t* there = image != nullptr ? image->bytes().find(0, source, page.offset, bytes) : nullptr) {
        table.entries = {there, bytes};
        std::atomic<bool>& checked = image->table_checked(i);
        if (checked.load(std::memory_order_acquire)) continue;
        table.status = source.shard().check_table(id.chunk, id.field, table.entries);
        if (table.status.is_ok()) checked.store(true, std::memory_order_release);
        continue;
      }
      auto kept =
          source.table(id, page, image == nullptr ? side_bytes_.find(0, source, page.offset, bytes) : nullptr, context_.counters->io);
      table.status = kept.status();
      if (!kept.is_ok()) continue;
      table.kept = std::move(*kept);
      table.entries = table.kept->bytes();
    }
  }
}

// Of pieces from this one on, until that is enough.
void BatchBuilder::want_values(std::size_t from, std::uint64_t limit_bytes) {
  value_bytes_ = {};
  first_group_ = from;
  for (; from < pieces_.size() && value_bytes_.bytes() < limit_bytes; ++from) {
    const Piece& piece = pieces_[from];
    for (std::size_t n = piece.begin; n < piece.end; ++n) {
      const Need& need = needs_[n];
      const Table& table = tables_[need.out_field][need.run];
      const bool in_image = !images_.empty() && images_[need.run] != nullptr;
      if (in_image || !table.status.is_ok() || source_of(need).has_block(block_id(need), page_of(need))) continue;
      const BlockRef ref = format::Shard::block(page_of(need), table.entries, need.block);
      value_bytes_.want(source_of(need), ref.offset, ref.stored_bytes);
    }
    value_bytes_.end_group();
  }
}

// Reads what the next pieces need, at depth, but not all of a large batch at once: it would be in memory twice.
void BatchBuilder::read_round(std::size_t piece) {
  if (piece < first_group_ + value_bytes_.num_groups()) return;
  want_values(piece, kRoundBytes);
  if (value_bytes_.lease(*context_.slabs).is_ok()) {
    value_bytes_.read_now(context_.counters->io);
  } else {
    value_bytes_ = {};  // No memory for that: each block is read by itself.
  }
}

const std::uint8_t* BatchBuilder::stored(const Need& need, const BlockRef& ref, std::size_t piece) const {
  const bool in_image = !images_.empty() && images_[need.run] != nullptr;
  return in_image ? images_[need.run]->bytes().find(0, source_of(need), ref.offset, ref.stored_bytes)
                  : value_bytes_.find(piece - first_group_, source_of(need), ref.offset, ref.stored_bytes);
}

Status BatchBuilder::run_positional(const Need& need, std::size_t piece) {
  io::ShardSource& source = source_of(need);
  const io::BlockId id = block_id(need);
  const PageRef& page = page_of(need);
  io::Counters& counters = context_.counters->io;
  const Table& table = tables_[need.out_field][need.run];
  HR_RETURN_IF_ERROR(table.status);
  const BlockRef ref = format::Shard::block(page, table.entries, need.block);
  const format::Field& field = source.shard().schema().fields[id.field];
  const bool raw = field.codec == codec::Codec::kNone && field.filter == codec::Filter::kNone;
  const bool in_image = !images_.empty() && images_[need.run] != nullptr;
  const std::uint8_t* const there = stored(need, ref, piece);
  if (!raw || !in_image || there == nullptr) {
    if (const io::BlockHandle block = source.cached_block(id, page, counters, use_found())) {
      copy_rows(need, block->bytes());
      return Status::ok();
    }
  }
  if (there == nullptr) {  // It was in the cache when the batch was planned, or could not be read: then its error is met here.
    HR_ASSIGN_OR_RETURN(const io::BlockHandle block, source.block(id, page, table.entries, nullptr, use_found(), counters));
    copy_rows(need, block->bytes());
    return Status::ok();
  }
  if (!in_image) counters.blocks_read.fetch_add(1, std::memory_order_relaxed);
  const Bytes bytes{there, ref.stored_bytes};
  HR_RETURN_IF_ERROR(source.check(id, page, ref, bytes, counters));
  const MutableBytes place = whole_place(need);
  if (raw) {
    copy_rows(need, bytes);
    if (!in_image) source.keep_copy(id, page, bytes, use_of(!place.empty()));
    return Status::ok();
  }
  if (!place.empty()) return source.decode_stored(id, page, ref, bytes, place, use_of(true), counters);
  const MutableBytes out = decode_buffer(need.bytes);
  HR_RETURN_IF_ERROR(source.decode_stored(id, page, ref, bytes, out, use_of(false), counters));
  copy_rows(need, out);
  return Status::ok();
}

}  // namespace headrace::pipeline
