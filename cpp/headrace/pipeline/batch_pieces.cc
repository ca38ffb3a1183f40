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

constexpr std::size_t kRowsAhead = 8;
constexpr std::size_t kMaxPrefetch = 512;  // bytes of a row: the processor itself follows from there
// Bytes of a run that is converted: the processor follows it up to the end of a page only, and converting leaves time to load the next.
constexpr std::size_t kMaxRunPrefetch = 8192;

}  // namespace

void BatchBuilder::run_piece(std::size_t piece) {
  io::ScopedTime time(context_.counters->assemble_ns);
  if (pieces_[piece].direct) {
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
    if (makes_runs_) {
      gather_runs(i, begin, end);
      continue;
    }
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
    std::uint8_t* to = batch_.slab->data() + out.values_at + begin * out.row_bytes;
    if (conversions_[i].needed) {
      gather_converted(conversions_[i], from, out.row_bytes, to);
    } else {
      ops::gather_rows(from, out.row_bytes, to);
    }
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

void BatchBuilder::gather_converted(const Conversion& conversion, std::span<const std::uint8_t* const> from, std::uint64_t out_bytes,
                                    std::uint8_t* to) {
  for (std::size_t i = 0; i < from.size(); ++i, to += out_bytes) {
    if (i + kRowsAhead < from.size()) ops::prefetch(from[i + kRowsAhead], std::min<std::size_t>(conversion.row_bytes, kMaxPrefetch));
    copy_rows_of(conversion, from[i], 1, to);
  }
}

// Samples of several rows: what a chunk (or a part of a table) holds of one lies side by side.
void BatchBuilder::gather_runs(std::size_t out_field, std::size_t begin, std::size_t end) {
  const FieldOut& out = batch_.fields[out_field];
  const Conversion& conversion = conversions_[out_field];
  const View& view = context_.dataset->view();
  const std::uint64_t row_out_bytes = out.row_bytes / view.length;
  const MemoryTable* table = context_.dataset->table().get();
  std::uint8_t* to = batch_.slab->data() + out.values_at + begin * out.row_bytes;
  for (std::size_t slot = begin; slot < end; ++slot, to += out.row_bytes) {
    if (table != nullptr) {
      std::uint64_t count = 0;
      for (std::uint64_t first = 0; first < view.length; first += count) {
        const std::uint8_t* from = table->find_run(out.field, samples_[slot] * view.stride + first, view.length - first, &count);
        copy_rows_of(conversion, from, count, to + first * row_out_bytes);
      }
      continue;
    }
    const auto address = [&](const Location& at) {
      const io::ShardSource& source = *sources_[at.shard];
      return source.mapped() + source.shard().values_offset(at.chunk, out.field) + at.row * conversion.row_bytes;
    };
    if (slot + 1 < end)
      ops::prefetch(address(places_[slot + 1]), std::min<std::size_t>(view.length * conversion.row_bytes, kMaxRunPrefetch));
    for_each_run(slot, [&](const Location& at, std::uint64_t first, std::uint32_t count) {
      copy_rows_of(conversion, address(at), count, to + first * row_out_bytes);
    });
  }
}

}  // namespace headrace::pipeline
