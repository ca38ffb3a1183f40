// The pieces of a batch, and those of rows gathered in place. Blocks: batch_needs.cc.
#include <algorithm>
#include <cstring>

#include "headrace/ops/gather.h"
#include "headrace/pipeline/batch_builder.h"

namespace headrace::pipeline {
namespace {

using format::Section;
using format::SectionRef;

}  // namespace

void BatchBuilder::run_piece(std::size_t piece) {
  io::ScopedTime time(context_.counters->assemble_ns);
  if (pieces_[piece].direct) {
    run_direct(pieces_[piece].begin, pieces_[piece].end);
  } else {
    run_needs(pieces_[piece].begin, pieces_[piece].end);
  }
}

// Makes the blocks of some rows safe to read; a row whose block is damaged gets an error.
void BatchBuilder::touch_direct(std::size_t out_field, std::size_t begin, std::size_t end) {
  const std::uint32_t number = context_.fields[out_field];
  const std::uint64_t row_bytes = field_of(out_field).row_bytes();
  if (all_touched(number)) return;  // Every pass but the first.
  for (std::size_t slot = begin; slot < end; ++slot) {
    const Location& at = places_[slot];
    io::ShardSource& source = *sources_[at.shard];
    if (source.all_touched(number)) continue;
    const SectionRef section = source.shard().page(at.chunk, number).section(Section::kValues);
    const std::uint64_t last = ((at.row + 1) * row_bytes - 1) / section.block_bytes;
    for (std::uint64_t b = at.row * row_bytes / section.block_bytes; b <= last; ++b) {
      Status status = source.touch({at.chunk, number, section.first_block + static_cast<std::uint32_t>(b)}, context_.counters->io);
      if (status.is_ok()) continue;
      add_error(static_cast<std::uint32_t>(slot), status);
      break;
    }
  }
}

void BatchBuilder::run_direct(std::size_t begin, std::size_t end) {
  thread_local std::vector<const std::uint8_t*> from;
  for (std::size_t i = 0; i < direct_.size(); ++i) {
    const FieldOut& out = batch_.fields[i];
    if (!direct_[i] || out.row_bytes == 0) continue;
    touch_direct(i, begin, end);
    {
      // Damaged rows must not be read: they may not be in memory. Their batch is not delivered, so a piece with one stops here.
      std::lock_guard lock(errors_mutex_);
      if (std::any_of(errors_.begin(), errors_.end(), [&](const SampleError& e) { return e.slot >= begin && e.slot < end; })) continue;
    }
    from.resize(end - begin);
    if (const MemoryTable* table = context_.dataset->table().get()) {
      table->find(out.field, {samples_.data() + begin, end - begin}, from);
    } else if (sources_.size() == 1) {
      const std::uint64_t* offsets = sources_[0]->shard().values_offsets().data() + out.field;
      const std::uint8_t* base = sources_[0]->mapped();
      const std::size_t fields = context_.schema->fields.size();
      for (std::size_t slot = begin; slot < end; ++slot) {
        from[slot - begin] = base + offsets[places_[slot].chunk * fields] + places_[slot].row * out.row_bytes;
      }
    } else {
      for (std::size_t slot = begin; slot < end; ++slot) {
        const Location& at = places_[slot];
        const io::ShardSource& source = *sources_[at.shard];
        from[slot - begin] = source.mapped() + source.shard().values_offset(at.chunk, out.field) + at.row * out.row_bytes;
      }
    }
    ops::gather_rows(from, out.row_bytes, batch_.slab->data() + out.values_at + begin * out.row_bytes);
  }
}

}  // namespace headrace::pipeline
