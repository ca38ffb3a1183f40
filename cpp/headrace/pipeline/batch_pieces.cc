// The pieces of a batch, and those of rows gathered in place. Blocks: batch_needs.cc.
#include <algorithm>
#include <cstring>

#include "headrace/ops/cast.h"
#include "headrace/ops/gather.h"
#include "headrace/pipeline/batch_builder.h"

namespace headrace::pipeline {
namespace {

using format::Section;
using format::SectionRef;

}  // namespace

void BatchBuilder::run_piece(std::size_t piece, std::int64_t now) {
  io::StageTime time(context_.counters->assemble_ns, weight_, now);
  if (pieces_[piece].file_field != kNoField) {
    run_files(pieces_[piece]);
  } else if (pieces_[piece].direct) {
    run_direct(pieces_[piece].begin, pieces_[piece].end);
  } else {
    run_needs(piece);
  }
}

// Makes the blocks of some rows safe to read; a row whose block is damaged gets an error.
void BatchBuilder::touch_direct(std::size_t out_field, std::size_t begin, std::size_t end) {
  const std::uint32_t number = context_.fields[out_field];
  const std::uint64_t row_bytes = conversions_[out_field].row_bytes;
  if (all_touched(number)) return;  // Every pass but the first.
  for (std::size_t slot = begin; slot < end; ++slot) {
    Status status;
    for_each_run(slot, [&](const Location& at, std::uint64_t, std::uint32_t count) {
      io::ShardSource& source = *sources_[at.shard];
      if (source.all_touched(number)) return;
      const SectionRef section = source.shard().page(at.chunk, number).section(Section::kValues);
      const std::uint64_t last = ((at.row + std::uint64_t{count}) * row_bytes - 1) / section.block_bytes;
      for (std::uint64_t b = at.row * row_bytes / section.block_bytes; b <= last && status.is_ok(); ++b) {
        status = source.touch({at.chunk, number, section.first_block + static_cast<std::uint32_t>(b)}, context_.counters->io);
      }
    });
    if (!status.is_ok()) add_error(static_cast<std::uint32_t>(slot), status);
  }
}

bool BatchBuilder::has_errors(std::size_t begin, std::size_t end) {
  std::lock_guard lock(errors_mutex_);
  return std::any_of(errors_.begin(), errors_.end(), [&](const SampleError& e) { return e.slot >= begin && e.slot < end; });
}

void BatchBuilder::run_direct(std::size_t begin, std::size_t end) {
  for (std::size_t i = 0; i < direct_.size(); ++i) {
    const FieldOut& out = batch_.fields[i];
    if (!direct_[i] || out.row_bytes == 0 || is_read_in_place(i)) continue;
    touch_direct(i, begin, end);
    // Damaged rows must not be read: they may not be in memory. Their batch is not delivered, so a piece with one stops here.
    if (has_errors(begin, end)) continue;
    gather_field(i, begin, end, batch_.slab->data() + out.values_at + begin * out.row_bytes);
  }
}

// The rows of slots [begin, end), side by side at `to`.
void BatchBuilder::gather_field(std::size_t i, std::size_t begin, std::size_t end, std::uint8_t* to) const {
  thread_local std::vector<const std::uint8_t*> from;
  const FieldOut& out = batch_.fields[i];
  if (makes_runs_) return gather_runs(i, begin, end, to);
  from.resize(end - begin);
  if (const MemoryTable* table = context_.dataset->table().get()) {
    table->find(out.field, {samples_.data() + begin, end - begin}, from);
  } else if (sources_.size() == 1) {
    const std::uint64_t* offsets = sources_[0]->shard().values_offsets().data() + out.field;
    const std::uint8_t* base = sources_[0]->mapped();
    const std::size_t fields = sources_[0]->shard().schema().fields.size();
    for (std::size_t slot = begin; slot < end; ++slot) {
      from[slot - begin] = base + offsets[places_[slot].chunk * fields] + places_[slot].row * conversions_[i].row_bytes;
    }
  } else {
    for (std::size_t slot = begin; slot < end; ++slot) {
      const Location& at = places_[slot];
      const io::ShardSource& source = *sources_[at.shard];
      from[slot - begin] = source.mapped() + source.shard().values_offset(at.chunk, out.field) + at.row * conversions_[i].row_bytes;
    }
  }
  if (conversions_[i].needed) {
    const Conversion& c = conversions_[i];
    ops::cast_rows(c.from, c.to, from, c.row_bytes / c.in_bytes, to);
  } else {
    ops::gather_rows(from, out.row_bytes, to);
  }
}

void BatchBuilder::copy_rows_of(const Conversion& conversion, const std::uint8_t* from, std::uint64_t rows, std::uint8_t* to) {
  const std::uint64_t bytes = rows * conversion.row_bytes;
  if (conversion.needed) {
    ops::cast(conversion.from, conversion.to, from, bytes / conversion.in_bytes, to);
  } else {
    std::memcpy(to, from, bytes);
  }
}

// Where a sample of several rows begins, if they lie side by side; else null.
const std::uint8_t* BatchBuilder::whole_run(std::size_t out_field, std::size_t slot) const {
  const View& view = context_.dataset->view();
  const std::uint32_t field = batch_.fields[out_field].field;
  if (const MemoryTable* table = context_.dataset->table().get()) {
    std::uint64_t count = 0;
    const std::uint8_t* from = table->find_run(field, samples_[slot] * view.stride, view.length, &count);
    return count == view.length ? from : nullptr;
  }
  const Location& at = places_[slot];
  if (sources_[at.shard]->shard().samples_in_chunk(at.chunk) - at.row < view.length) return nullptr;
  return address(field, at, conversions_[out_field].row_bytes);
}

const std::uint8_t* BatchBuilder::address(std::uint32_t field, const Location& at, std::uint64_t row_bytes) const {
  const io::ShardSource& source = *sources_[at.shard];
  return source.mapped() + source.shard().values_offset(at.chunk, field) + at.row * row_bytes;
}

// Samples of several rows: those that lie side by side are gathered together, others part by part.
void BatchBuilder::gather_runs(std::size_t out_field, std::size_t begin, std::size_t end, std::uint8_t* first) const {
  const FieldOut& out = batch_.fields[out_field];
  const Conversion& c = conversions_[out_field];
  thread_local std::vector<const std::uint8_t*> whole;
  for (std::size_t slot = begin; slot < end; ++slot) {
    std::uint8_t* const to = first + (slot - begin) * out.row_bytes;
    whole.clear();
    while (slot + whole.size() < end) {
      const std::uint8_t* const from = whole_run(out_field, slot + whole.size());
      if (from == nullptr) break;
      whole.push_back(from);
    }
    if (whole.empty()) {
      copy_parts(out_field, slot, to);
      continue;
    }
    slot += whole.size() - 1;
    const std::uint64_t bytes = context_.dataset->view().length * c.row_bytes;
    if (c.needed) {
      ops::cast_rows(c.from, c.to, whole, bytes / c.in_bytes, to);
    } else {
      ops::gather_rows(whole, bytes, to);
    }
  }
}

void BatchBuilder::copy_parts(std::size_t out_field, std::size_t slot, std::uint8_t* to) const {
  const FieldOut& out = batch_.fields[out_field];
  const Conversion& conversion = conversions_[out_field];
  const View& view = context_.dataset->view();
  const std::uint64_t row_out_bytes = out.row_bytes / view.length;
  const MemoryTable* table = context_.dataset->table().get();
  if (table == nullptr) {
    for_each_run(slot, [&](const Location& at, std::uint64_t first, std::uint32_t count) {
      copy_rows_of(conversion, address(out.field, at, conversion.row_bytes), count, to + first * row_out_bytes);
    });
    return;
  }
  std::uint64_t count = 0;
  for (std::uint64_t first = 0; first < view.length; first += count) {
    const std::uint8_t* from = table->find_run(out.field, samples_[slot] * view.stride + first, view.length - first, &count);
    copy_rows_of(conversion, from, count, to + first * row_out_bytes);
  }
}

}  // namespace headrace::pipeline
