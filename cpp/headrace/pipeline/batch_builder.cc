// Over the 400-line budget by a little: the plan and the pieces share all of BatchBuilder's state.
#include "headrace/pipeline/batch_builder.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <tuple>

#include "headrace/format/layout.h"
#include "headrace/ops/gather.h"

namespace headrace::pipeline {
namespace {

using format::PageRef;
using format::Section;
using format::SectionRef;

// Bytes of work in a piece: large against the cost of handing one out (about 2 us), small against a batch.
constexpr std::uint64_t kPieceBytes = 256u << 10;
// Blocks read together by a positional reader: its queue depth.
constexpr std::size_t kReadDepth = 64;
constexpr std::size_t kPartAlignment = 64;  // of the parts of a batch: a cache line, and what vector code likes

std::uint64_t side_width(const PageRef& page) { return page.offset_width; }

}  // namespace

Result<Ragged> ragged_from_name(std::string_view name) {
  if (name == "padded") return Ragged::kPadded;
  if (name == "offsets") return Ragged::kOffsets;
  return Status(Code::kInvalidArgument, "ragged is '" + std::string(name) + "'; expected 'padded' or 'offsets'");
}

Result<OnError> on_error_from_name(std::string_view name) {
  if (name == "raise") return OnError::kRaise;
  if (name == "skip") return OnError::kSkip;
  if (name == "replace") return OnError::kReplace;
  return Status(Code::kInvalidArgument, "on_error is '" + std::string(name) + "'; expected 'raise', 'skip' or 'replace'");
}

// Reads single bytes and integers of a validity or offsets section, block by block.
class BatchBuilder::SideReader {
 public:
  SideReader(io::ShardSource& source, std::uint64_t chunk, std::uint32_t field, const PageRef& page, Section section, io::Counters& counters)
      : source_(&source), chunk_(chunk), field_(field), ref_(page.section(section)), counters_(&counters) {}

  // The integer of `width` bytes (1, 4, 8) at `at`; never straddles blocks, whose size is a multiple of 8.
  Result<std::uint64_t> read(std::uint64_t at, std::uint64_t width) {
    const auto block = static_cast<std::uint32_t>(at / ref_.block_bytes);
    if (block != current_) HR_RETURN_IF_ERROR(enter(block));
    const std::uint8_t* from = base_ + (at - static_cast<std::uint64_t>(block) * ref_.block_bytes);
    if (width == 1) return std::uint64_t{*from};
    return width == 4 ? std::uint64_t{load_le<std::uint32_t>(from)} : load_le<std::uint64_t>(from);
  }

 private:
  Status enter(std::uint32_t block) {
    const io::BlockId id{chunk_, field_, ref_.first_block + block};
    if (source_->is_mapped()) {
      HR_RETURN_IF_ERROR(source_->touch(id, *counters_));
      base_ = source_->mapped() + ref_.offset + static_cast<std::uint64_t>(block) * ref_.block_bytes;
    } else {
      HR_ASSIGN_OR_RETURN(handle_, source_->block(id, *counters_));
      base_ = handle_->data.get();
    }
    current_ = block;
    return Status::ok();
  }
  io::ShardSource* source_;
  std::uint64_t chunk_;
  std::uint32_t field_;
  SectionRef ref_;
  io::Counters* counters_;
  std::uint32_t current_ = ~0u;
  const std::uint8_t* base_ = nullptr;
  io::BlockHandle handle_;
};

BatchBuilder::BatchBuilder(const BuildContext& context, std::vector<std::uint64_t> samples) : context_(context), samples_(std::move(samples)) {}

Status BatchBuilder::prepare() {
  io::ScopedTime time(context_.counters->plan_ns);
  HR_RETURN_IF_ERROR(open_sources());
  const std::size_t count = context_.fields.size();
  values_.resize(count);
  valid_.resize(count);
  bool sorted = false;
  for (std::size_t i = 0; i < count; ++i) sorted = sorted || !direct_[i] || field_of(i).nullable;
  if (sorted) sort_rows();
  prefetch_sides();
  for (std::size_t i = 0; i < count; ++i) {
    if (field_of(i).is_variable() || field_of(i).nullable) HR_RETURN_IF_ERROR(read_sides(i));
  }
  HR_RETURN_IF_ERROR(lay_out());
  for (std::size_t i = 0; i < count; ++i) {
    if (direct_[i]) {
      will_need_direct(i);
    } else {
      place_values(i);
      find_needs(i);
    }
  }
  cut_pieces();
  return Status::ok();
}

Status BatchBuilder::open_sources() {
  const Dataset& dataset = *context_.dataset;
  places_.resize(samples_.size());
  for (std::size_t i = 0; i < samples_.size(); ++i) places_[i] = dataset.locate(samples_[i]);
  sources_.assign(dataset.manifest().shards.size(), nullptr);
  direct_.assign(context_.fields.size(), true);
  for (const Location& place : places_) {
    if (sources_[place.shard] != nullptr) continue;
    HR_ASSIGN_OR_RETURN(sources_[place.shard], dataset.source(place.shard));
    const io::ShardSource& source = *sources_[place.shard];
    for (std::size_t i = 0; i < direct_.size(); ++i) {
      const format::Field& field = source.shard().schema().fields[context_.fields[i]];
      if (!source.is_mapped() || field.is_variable() || field.codec != codec::Codec::kNone || field.filter != codec::Filter::kNone) direct_[i] = false;
    }
  }
  return Status::ok();
}

void BatchBuilder::sort_rows() {
  // Sample numbers grow with (shard, chunk, row), so sorting by them groups by place.
  rows_.resize(samples_.size());
  for (std::uint32_t slot = 0; slot < samples_.size(); ++slot) rows_[slot] = {samples_[slot], slot, places_[slot]};
  std::sort(rows_.begin(), rows_.end(), [](const Row& a, const Row& b) { return a.sample != b.sample ? a.sample < b.sample : a.slot < b.slot; });
  row_failed_.assign(rows_.size(), false);
}

void BatchBuilder::prefetch_sides() {
  std::vector<io::BlockId> ids;
  for (std::size_t i = 0; i < rows_.size(); ++i) {
    io::ShardSource& source = *sources_[rows_[i].at.shard];
    if (source.is_mapped()) return;
    for (const std::uint32_t f : context_.fields) {
      const PageRef page = source.shard().page(rows_[i].at.chunk, f);
      const std::uint64_t row = rows_[i].at.row;
      const SectionRef& validity = page.section(Section::kValidity);
      const SectionRef& offsets = page.section(Section::kOffsets);
      if (validity.num_blocks > 0) ids.push_back({rows_[i].at.chunk, f, validity.first_block + static_cast<std::uint32_t>(row / 8 / validity.block_bytes)});
      for (std::uint64_t end = 0; offsets.num_blocks > 0 && end < 2; ++end) {
        ids.push_back({rows_[i].at.chunk, f, offsets.first_block + static_cast<std::uint32_t>((row + end) * side_width(page) / offsets.block_bytes)});
      }
    }
    const bool last = i + 1 == rows_.size() || rows_[i + 1].at.shard != rows_[i].at.shard;
    if (!last) continue;
    const auto key = [](const io::BlockId& id) { return std::tuple(id.chunk, id.field, id.block); };
    std::sort(ids.begin(), ids.end(), [&](const io::BlockId& a, const io::BlockId& b) { return key(a) < key(b); });
    ids.erase(std::unique(ids.begin(), ids.end(), [&](const io::BlockId& a, const io::BlockId& b) { return key(a) == key(b); }), ids.end());
    for (std::size_t from = 0; from < ids.size(); from += kReadDepth) {
      source.prefetch({ids.data() + from, std::min(kReadDepth, ids.size() - from)}, context_.counters->io);
    }
    ids.clear();
  }
}

Status BatchBuilder::read_sides(std::size_t out_field) {
  const format::Field& field = field_of(out_field);
  const std::uint32_t number = context_.fields[out_field];
  Values& values = values_[out_field];
  std::vector<std::uint8_t>& valid = valid_[out_field];
  if (field.is_variable()) {
    values.begin.assign(rows_.size(), 0);
    values.length.assign(rows_.size(), 0);
  }
  if (field.nullable) valid.assign(rows_.size(), 0);
  for (std::size_t row = 0; row < rows_.size();) {
    const Location& at = rows_[row].at;
    io::ShardSource& source = *sources_[at.shard];
    const PageRef page = source.shard().page(at.chunk, number);
    SideReader offsets(source, at.chunk, number, page, Section::kOffsets, context_.counters->io);
    SideReader validity(source, at.chunk, number, page, Section::kValidity, context_.counters->io);
    for (; row < rows_.size() && rows_[row].at.shard == at.shard && rows_[row].at.chunk == at.chunk; ++row) {
      if (row_failed_[row]) continue;
      Status status = read_side_row(field, row, offsets, validity, values, valid);
      if (!field.is_variable() || !status.is_ok()) {
        if (!status.is_ok()) {
          row_failed_[row] = true;
          add_error(rows_[row].slot, status);
        }
        continue;
      }
      const std::uint64_t end = values.begin[row] + values.length[row];
      if (end < values.begin[row] || end > page.section(Section::kValues).decoded_bytes || values.length[row] % std::max<std::uint64_t>(1, field.row_bytes()) != 0 ||
          (field.row_bytes() == 0 && values.length[row] != 0)) {
        row_failed_[row] = true;
        add_error(rows_[row].slot, {Code::kCorrupt, source.shard().describe(at.chunk, number) +
                                                        strf(": row %u spans bytes %llu + %llu of %llu, in steps of %llu; the offsets are damaged",
                                                             rows_[row].at.row, static_cast<unsigned long long>(values.begin[row]),
                                                             static_cast<unsigned long long>(values.length[row]),
                                                             static_cast<unsigned long long>(page.section(Section::kValues).decoded_bytes),
                                                             static_cast<unsigned long long>(field.row_bytes()))});
        values.length[row] = 0;
      }
    }
  }
  return Status::ok();
}

Status BatchBuilder::read_side_row(const format::Field& field, std::size_t row, SideReader& offsets, SideReader& validity, Values& values,
                                   std::vector<std::uint8_t>& valid) {
  const Row& r = rows_[row];
  if (field.nullable) {
    HR_ASSIGN_OR_RETURN(const std::uint64_t byte, validity.read(r.at.row / 8, 1));
    valid[r.slot] = static_cast<std::uint8_t>(byte >> (r.at.row % 8) & 1);
  }
  if (!field.is_variable()) return Status::ok();
  const PageRef page = sources_[r.at.shard]->shard().page(r.at.chunk, static_cast<std::uint32_t>(&field - context_.schema->fields.data()));
  const std::uint64_t width = side_width(page);
  HR_ASSIGN_OR_RETURN(values.begin[row], offsets.read(r.at.row * width, width));
  HR_ASSIGN_OR_RETURN(const std::uint64_t end, offsets.read((r.at.row + 1ull) * width, width));
  values.length[row] = end - values.begin[row];  // Wraps if damaged; the caller checks.
  return Status::ok();
}

Status BatchBuilder::lay_out() {
  const std::size_t count = samples_.size();
  std::size_t at = 0;
  bool fits = true;
  const auto part = [&](std::uint64_t items, std::uint64_t bytes) {
    const std::size_t from = at;
    std::uint64_t size = 0, end = 0;
    fits = fits && checked_mul(items, bytes, &size) && checked_add(at, size + kPartAlignment, &end) && size < (1ull << 48);
    at = fits ? round_up(at + size, kPartAlignment) : at;
    return from;
  };
  for (std::size_t i = 0; i < context_.fields.size(); ++i) {
    const format::Field& field = field_of(i);
    FieldOut out;
    out.field = context_.fields[i];
    out.row_bytes = field.row_bytes();
    if (!field.is_variable()) {
      out.values_bytes = count * out.row_bytes;
    } else {
      const std::vector<std::uint64_t>& lengths = values_[i].length;
      out.padded = field.kind == format::Kind::kRagged && context_.ragged == Ragged::kPadded;
      if (out.padded) {
        const std::uint64_t longest = lengths.empty() ? 0 : *std::max_element(lengths.begin(), lengths.end());
        out.longest = longest / std::max<std::uint64_t>(1, out.row_bytes);
        out.lengths_at = part(count, 8);
        std::uint64_t padded_bytes = 0;
        fits = fits && checked_mul(longest, count, &padded_bytes);
        out.values_bytes = padded_bytes;
      } else {
        out.offsets_at = part(count + 1, 8);
        out.values_bytes = std::accumulate(lengths.begin(), lengths.end(), std::uint64_t{0});
      }
    }
    if (field.nullable) out.valid_at = part(count, 1);
    out.values_at = part(out.values_bytes, 1);
    batch_.fields.push_back(out);
  }
  if (!fits) return {Code::kLimitExceeded, strf("assemble a batch of %zu samples: its size overflows; use a smaller batch_size or ragged='offsets'", count)};
  slab_bytes_ = std::max<std::size_t>(at, 1);
  HR_ASSIGN_OR_RETURN(batch_.slab, context_.slabs->acquire(slab_bytes_));
  for (std::size_t i = 0; i < batch_.fields.size(); ++i) {
    if (batch_.fields[i].valid_at != FieldOut::kAbsent && count > 0) std::memcpy(batch_.slab->data() + batch_.fields[i].valid_at, valid_[i].data(), count);
  }
  return Status::ok();
}

// Writes lengths or offsets of a variable field, pads, and notes where each row's bytes go.
void BatchBuilder::place_values(std::size_t out_field) {
  const FieldOut& out = batch_.fields[out_field];
  Values& values = values_[out_field];
  if (!field_of(out_field).is_variable()) return;
  const std::uint64_t step = std::max<std::uint64_t>(1, out.row_bytes);
  std::vector<std::uint64_t> by_slot(rows_.size());
  for (std::size_t row = 0; row < rows_.size(); ++row) by_slot[rows_[row].slot] = values.length[row];
  std::uint8_t* slab = batch_.slab->data();
  std::vector<std::uint64_t> begin(by_slot.size());
  std::uint64_t at = 0;
  for (std::size_t slot = 0; slot < by_slot.size(); ++slot) {
    const std::uint64_t length = by_slot[slot];
    if (out.padded) {
      begin[slot] = slot * out.longest * out.row_bytes;
      store_le<std::int64_t>(slab + out.lengths_at + slot * 8, static_cast<std::int64_t>(length / step));
      std::memset(slab + out.values_at + begin[slot] + length, 0, out.longest * out.row_bytes - length);
    } else {
      begin[slot] = at;
      store_le<std::int64_t>(slab + out.offsets_at + slot * 8, static_cast<std::int64_t>(at / step));
      at += length;
    }
  }
  if (!out.padded) store_le<std::int64_t>(slab + out.offsets_at + by_slot.size() * 8, static_cast<std::int64_t>(at / step));
  values.out.resize(rows_.size());
  for (std::size_t row = 0; row < rows_.size(); ++row) values.out[row] = begin[rows_[row].slot];
}

// Lists each block that a row of this field overlaps, once a run of rows.
void BatchBuilder::find_needs(std::size_t out_field) {
  const std::uint32_t number = context_.fields[out_field];
  const bool variable = field_of(out_field).is_variable();
  const std::uint64_t row_bytes = field_of(out_field).row_bytes();
  const std::size_t first_need = needs_.size();
  PageRef page;
  const Location* in = nullptr;
  for (std::uint32_t row = 0; row < rows_.size(); ++row) {
    const Location& at = rows_[row].at;
    if (in == nullptr || in->shard != at.shard || in->chunk != at.chunk) page = sources_[at.shard]->shard().page(at.chunk, number);
    in = &at;
    const std::uint64_t begin = variable ? values_[out_field].begin[row] : at.row * row_bytes;
    const std::uint64_t length = variable ? values_[out_field].length[row] : row_bytes;
    if (row_failed_[row] || length == 0) continue;
    const SectionRef& section = page.section(Section::kValues);
    for (std::uint64_t b = begin / section.block_bytes; b <= (begin + length - 1) / section.block_bytes; ++b) {
      const io::BlockId id{at.chunk, number, section.first_block + static_cast<std::uint32_t>(b)};
      // Equal samples may follow each other, so the block may be one of the last few rather than the last.
      std::size_t found = needs_.size();
      while (found > first_need && needs_[found - 1].shard == at.shard && needs_[found - 1].id.chunk == id.chunk && needs_[found - 1].id.block >= id.block) {
        --found;
        if (needs_[found].id.block == id.block) break;
      }
      if (found < needs_.size() && needs_[found].id.block == id.block && needs_[found].id.chunk == id.chunk && needs_[found].shard == at.shard) {
        needs_[found].end_row = row + 1;
      } else {
        needs_.push_back({id, at.shard, static_cast<std::uint32_t>(out_field), row, row + 1});
      }
    }
  }
}

void BatchBuilder::cut_pieces() {
  std::uint64_t direct_row = 0;
  for (std::size_t i = 0; i < direct_.size(); ++i) {
    if (direct_[i]) direct_row += field_of(i).row_bytes();
  }
  if (direct_row > 0) {
    const std::size_t step = std::max<std::size_t>(1, kPieceBytes / direct_row);
    for (std::size_t from = 0; from < samples_.size(); from += step) pieces_.push_back({true, from, std::min(samples_.size(), from + step)});
  }
  for (std::size_t from = 0; from < needs_.size();) {
    std::uint64_t bytes = 0;
    std::size_t end = from;
    const bool mapped = sources_[needs_[from].shard]->is_mapped();
    while (end < needs_.size() && (mapped ? bytes < kPieceBytes : end - from < kReadDepth)) {
      bytes += sources_[needs_[end].shard]->shard().schema().fields[needs_[end].id.field].block_bytes;
      ++end;
    }
    pieces_.push_back({false, from, end});
    from = end;
  }
}

void BatchBuilder::run_piece(std::size_t piece) {
  io::ScopedTime time(context_.counters->assemble_ns);
  if (pieces_[piece].direct) {
    run_direct(pieces_[piece].begin, pieces_[piece].end);
  } else {
    run_needs(pieces_[piece].begin, pieces_[piece].end);
  }
}

// Starts the reads of all blocks that are not in memory for sure, so that the device sees them together.
void BatchBuilder::will_need_direct(std::size_t out_field) {
  const std::uint32_t number = context_.fields[out_field];
  const std::uint64_t row_bytes = field_of(out_field).row_bytes();
  if (row_bytes == 0) return;
  for (const Location& at : places_) {
    io::ShardSource& source = *sources_[at.shard];
    if (source.all_touched(number)) continue;
    const SectionRef section = source.shard().page(at.chunk, number).section(Section::kValues);
    const std::uint64_t last = ((at.row + 1) * row_bytes - 1) / section.block_bytes;
    for (std::uint64_t b = at.row * row_bytes / section.block_bytes; b <= last; ++b) {
      const io::BlockId id{at.chunk, number, section.first_block + static_cast<std::uint32_t>(b)};
      if (!source.is_touched(id)) source.will_need(id);
    }
  }
}

// Makes the blocks of some rows safe to read; a row whose block is damaged gets an error.
void BatchBuilder::touch_direct(std::size_t out_field, std::size_t begin, std::size_t end) {
  const std::uint32_t number = context_.fields[out_field];
  const std::uint64_t row_bytes = field_of(out_field).row_bytes();
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
    for (std::size_t slot = begin; slot < end; ++slot) {
      const Location& at = places_[slot];
      const io::ShardSource& source = *sources_[at.shard];
      from[slot - begin] = source.mapped() + source.shard().values_offset(at.chunk, out.field) + at.row * out.row_bytes;
    }
    ops::gather_rows(from, out.row_bytes, batch_.slab->data() + out.values_at + begin * out.row_bytes);
  }
}

void BatchBuilder::run_needs(std::size_t begin, std::size_t end) {
  for (std::size_t from = begin; from < end;) {
    io::ShardSource& source = *sources_[needs_[from].shard];
    std::size_t to = from;
    std::vector<io::BlockId> ids;
    for (; to < end && needs_[to].shard == needs_[from].shard; ++to) ids.push_back(needs_[to].id);
    if (!source.is_mapped()) source.prefetch(ids, context_.counters->io);
    for (; from < to; ++from) {
      const Need& need = needs_[from];
      const auto block = source.block(need.id, context_.counters->io);
      if (block.is_ok()) {
        copy_need(need, (*block)->bytes());
      } else {
        for (std::uint32_t row = need.first_row; row < need.end_row; ++row) add_error(rows_[row].slot, block.status());
      }
    }
  }
}

void BatchBuilder::row_range(const Need& need, std::size_t row, std::uint64_t* begin, std::uint64_t* length, std::uint8_t** out) const {
  const FieldOut& field = batch_.fields[need.out_field];
  const Values& values = values_[need.out_field];
  std::uint8_t* base = batch_.slab->data() + field.values_at;
  if (values.out.empty()) {
    *begin = rows_[row].at.row * field.row_bytes;
    *length = field.row_bytes;
    *out = base + rows_[row].slot * field.row_bytes;
  } else {
    *begin = values.begin[row];
    *length = values.length[row];
    *out = base + values.out[row];
  }
}

void BatchBuilder::copy_need(const Need& need, Bytes block) {
  const SectionRef section = sources_[need.shard]->shard().page(need.id.chunk, need.id.field).section(Section::kValues);
  const std::uint64_t block_begin = static_cast<std::uint64_t>(need.id.block - section.first_block) * section.block_bytes;
  const std::uint64_t block_end = block_begin + block.size();
  for (std::uint32_t row = need.first_row; row < need.end_row; ++row) {
    std::uint64_t begin = 0, length = 0;
    std::uint8_t* out = nullptr;
    row_range(need, row, &begin, &length, &out);
    const std::uint64_t from = std::max(begin, block_begin);
    const std::uint64_t to = std::min(begin + length, block_end);
    if (from < to && !row_failed_[row]) std::memcpy(out + (from - begin), block.data() + (from - block_begin), to - from);
  }
}

void BatchBuilder::add_error(std::uint32_t slot, const Status& status) {
  std::lock_guard lock(errors_mutex_);
  errors_.push_back({slot, status.with_context(strf("sample %llu", static_cast<unsigned long long>(samples_[slot])))});
}

std::vector<SampleError> BatchBuilder::errors() {
  std::lock_guard lock(errors_mutex_);
  // By slot, then by text: which thread met an error first must not show.
  std::sort(errors_.begin(), errors_.end(), [](const SampleError& a, const SampleError& b) {
    return a.slot != b.slot ? a.slot < b.slot : a.status.message() < b.status.message();
  });
  const auto same = [](const SampleError& a, const SampleError& b) { return a.slot == b.slot; };
  errors_.erase(std::unique(errors_.begin(), errors_.end(), same), errors_.end());
  return errors_;
}

Batch BatchBuilder::take() {
  batch_.schema = context_.schema;
  batch_.indices.assign(samples_.begin(), samples_.end());
  return std::move(batch_);
}

}  // namespace headrace::pipeline
