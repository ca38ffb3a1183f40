// The blocks of a batch: which there are, and how their rows come into the slab.
#include <algorithm>
#include <cstring>

#include "headrace/ops/cast.h"
#include "headrace/ops/gather.h"
#include "headrace/pipeline/batch_builder.h"

namespace headrace::pipeline {
namespace {

using format::PageRef;
using format::Section;
using format::SectionRef;

// Blocks are found two needs ahead and their bytes asked for one ahead: one decodes for longer than a miss takes.
constexpr std::size_t kEntryAhead = 4;
constexpr std::size_t kBlockAhead = 2;

}  // namespace

// This thread's buffer for a block that is not decoded in its place.
MutableBytes BatchBuilder::decode_buffer(std::size_t bytes) {
  thread_local std::vector<std::uint8_t> decoded;
  if (decoded.size() < bytes) decoded.resize(bytes);
  return MutableBytes(decoded).first(bytes);
}

// Lists each block that a row of this field overlaps, once a run of rows.
void BatchBuilder::find_needs(std::size_t out_field) {
  const bool variable = !values_[out_field].begin.empty();
  const std::uint64_t row_bytes = conversions_[out_field].row_bytes;
  for (std::uint32_t r = 0; r < runs_.size(); ++r) {
    const SectionRef& section = pages_[out_field][r].section(Section::kValues);
    const std::uint64_t block_bytes = section.block_bytes;
    const std::size_t first_need = needs_.size();
    for (std::uint32_t row = runs_[r].first_row; row < runs_[r].end_row; ++row) {
      const std::uint64_t begin = variable ? values_[out_field].begin[row] : chunk_rows_[row] * row_bytes;
      const std::uint64_t length = variable ? values_[out_field].length[row] : row_bytes;
      if (row_failed_[row] || length == 0) continue;
      const std::uint64_t last = (begin + length - 1) / block_bytes;
      for (std::uint64_t b = begin / block_bytes; b <= last; ++b) {
        const std::uint32_t block = section.first_block + static_cast<std::uint32_t>(b);
        // Equal samples may follow each other, so the block may be one of the last few rather than the last.
        std::size_t found = needs_.size();
        while (found > first_need && needs_[found - 1].block > block) --found;
        if (found > first_need && needs_[found - 1].block == block) {
          needs_[found - 1].end_row = row + 1;
          continue;
        }
        const std::uint64_t at = b * block_bytes;
        const auto bytes = static_cast<std::uint32_t>(std::min(block_bytes, section.decoded_bytes - at));
        needs_.push_back({r, block, static_cast<std::uint32_t>(out_field), row, row + 1, bytes, at});
      }
    }
  }
}

io::BlockId BatchBuilder::block_id(const Need& need) const { return {runs_[need.run].chunk, context_.fields[need.out_field], need.block}; }

void BatchBuilder::run_needs(std::size_t piece) {
  if (positional_ && reads_rounds_) read_round(piece);
  const std::size_t end = pieces_[piece].end;
  for (std::size_t from = pieces_[piece].begin; from < end;) {
    const io::ShardSource& source = source_of(needs_[from]);
    std::size_t to = from;
    while (to < end && &source_of(needs_[to]) == &source) ++to;
    for (; from < to; ++from) {
      const Need& need = needs_[from];
      if (!positional_) ask_ahead(from, to);
      const Status status = positional_ ? run_positional(need, piece) : run_mapped(need);
      if (status.is_ok()) continue;
      for (std::uint32_t row = need.first_row; row < need.end_row; ++row) add_error(rows_[row].slot, status);
    }
  }
}

// Starts loading what the needs after this one will touch first: with small blocks from all over a file, waiting for memory costs as
// much as decoding.
void BatchBuilder::ask_ahead(std::size_t need, std::size_t end) const {
  if (need + kEntryAhead < end)
    source_of(needs_[need]).prefetch_entry(page_of(needs_[need + kEntryAhead]), needs_[need + kEntryAhead].block);
  if (need + kBlockAhead < end)
    source_of(needs_[need]).prefetch_block(page_of(needs_[need + kBlockAhead]), needs_[need + kBlockAhead].block);
}

// Where the whole block goes if it goes to one place: then it is decoded there. Else empty.
MutableBytes BatchBuilder::whole_place(const Need& need) const {
  if (need.end_row - need.first_row != 1 || conversions_[need.out_field].needed) return {};
  const FieldOut& field = batch_.fields[need.out_field];
  const Values& values = values_[need.out_field];
  const std::size_t row = need.first_row;
  const std::uint64_t begin = values.out.empty() ? chunk_rows_[row] * field.row_bytes : values.begin[row];
  const std::uint64_t length = values.out.empty() ? field.row_bytes : values.length[row];
  if (begin > need.begin || begin + length < need.begin + need.bytes) return {};
  const std::uint64_t out = values.out.empty() ? slots_[row] * field.row_bytes : values.out[row];
  return {batch_.slab->data() + field.values_at + out + (need.begin - begin), need.bytes};
}

Status BatchBuilder::run_mapped(const Need& need) {
  io::ShardSource& source = source_of(need);
  const io::BlockId id = block_id(need);
  io::Counters& counters = context_.counters->io;
  if (const io::BlockHandle block = source.cached_block(id, page_of(need), counters, use_found())) {
    copy_rows(need, block->bytes());
    return Status::ok();
  }
  const MutableBytes place = whole_place(need);
  if (!place.empty()) return source.decode_block(id, page_of(need), place, use_of(true), counters);
  const MutableBytes out = decode_buffer(need.bytes);
  HR_RETURN_IF_ERROR(source.decode_block(id, page_of(need), out, use_of(false), counters));
  copy_rows(need, out);
  return Status::ok();
}

void BatchBuilder::copy_rows(const Need& need, Bytes block) {
  const FieldOut& field = batch_.fields[need.out_field];
  const bool aligned = values_[need.out_field].out.empty() && need.begin % field.row_bytes == 0 && block.size() % field.row_bytes == 0;
  if (aligned) {  // Rows of a failed sample are copied as well: their batch is not delivered.
    const std::size_t count = need.end_row - need.first_row;
    ops::scatter_rows(block.data(), static_cast<std::uint32_t>(need.begin / field.row_bytes), {chunk_rows_.data() + need.first_row, count},
                      {slots_.data() + need.first_row, count}, field.row_bytes, batch_.slab->data() + field.values_at);
    return;
  }
  for (std::uint32_t row = need.first_row; row < need.end_row; ++row) {
    if (!row_failed_[row]) copy_part(need, row, block);
  }
}

// The bytes that one row and the block share.
void BatchBuilder::copy_part(const Need& need, std::size_t row, Bytes block) {
  const FieldOut& field = batch_.fields[need.out_field];
  const Values& values = values_[need.out_field];
  const bool fixed = values.out.empty();
  const std::uint64_t begin = fixed ? chunk_rows_[row] * field.row_bytes : values.begin[row];
  const std::uint64_t length = fixed ? field.row_bytes : values.length[row];
  const std::uint64_t out = fixed ? slots_[row] * field.row_bytes : values.out[row];
  const std::uint64_t from = std::max(begin, need.begin);
  const std::uint64_t to = std::min(begin + length, need.begin + block.size());
  if (from >= to) return;
  const Conversion& c = conversions_[need.out_field];
  const std::uint8_t* bytes = block.data() + (from - need.begin);
  std::uint8_t* slab = batch_.slab->data();
  if (c.staged) {
    std::memcpy(slab + c.staged_at + values.staged[row] + (from - begin), bytes, to - from);
  } else if (c.needed) {
    ops::cast(c.from, c.to, bytes, (to - from) / c.in_bytes, slab + field.values_at + out + c.delivered(from - begin));
  } else {
    std::memcpy(slab + field.values_at + out + (from - begin), bytes, to - from);
  }
}

}  // namespace headrace::pipeline
