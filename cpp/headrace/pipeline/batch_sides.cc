// What a batch needs to know before it has a place for its values: which are present, and how long they are.
#include <algorithm>

#include "headrace/pipeline/batch_builder.h"

namespace headrace::pipeline {

using format::PageRef;
using format::Section;
using format::SectionRef;

// Reads single bytes and integers of a validity or offsets section, block by block.
class BatchBuilder::SideReader {
 public:
  SideReader(const BatchBuilder& batch, std::size_t out_field, std::size_t run, Section section)
      : source_(batch.sources_[batch.runs_[run].shard]),
        chunk_(batch.runs_[run].chunk),
        field_(batch.context_.fields[out_field]),
        page_(&batch.pages_[out_field][run]),
        ref_(page_->section(section)),
        counters_(&batch.context_.counters->io),
        image_(batch.images_.empty() ? nullptr : batch.images_[run].get()),
        table_(batch.positional_ ? &batch.tables_[out_field][run] : nullptr),
        read_(&batch.side_bytes_) {}

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
    if (table_ == nullptr) {
      HR_RETURN_IF_ERROR(source_->touch(id, *page_, *counters_));
      base_ = source_->mapped() + ref_.offset + static_cast<std::uint64_t>(block) * ref_.block_bytes;
    } else {
      HR_RETURN_IF_ERROR(table_->status);
      HR_RETURN_IF_ERROR(enter_read(id));
    }
    current_ = block;
    return Status::ok();
  }

  Status enter_read(const io::BlockId& id) {
    const format::BlockRef ref = format::Shard::block(*page_, table_->entries, id.block);
    const std::uint8_t* stored = image_ != nullptr ? image_->bytes().find(0, *source_, ref.offset, ref.stored_bytes) : nullptr;
    if (stored != nullptr) {  // Stored as they are.
      base_ = stored;
      return source_->check(id, *page_, ref, {stored, ref.stored_bytes}, *counters_);
    }
    if (read_->num_groups() > 0) stored = read_->find(0, *source_, ref.offset, ref.stored_bytes);
    HR_ASSIGN_OR_RETURN(handle_, source_->block(id, *page_, table_->entries, stored, {}, *counters_));
    base_ = handle_->bytes().data();
    return Status::ok();
  }
  io::ShardSource* source_;
  std::uint64_t chunk_;
  std::uint32_t field_;
  const PageRef* page_;
  SectionRef ref_;
  io::Counters* counters_;
  const ChunkImage* image_;
  const Table* table_;  // null: mapped
  const io::StoredBytes* read_;
  std::uint32_t current_ = ~0u;
  const std::uint8_t* base_ = nullptr;
  io::BlockHandle handle_;
};

// Mapped: starts loading the first bytes that read_sides() will look at, of all runs together.
void BatchBuilder::ask_for_sides(std::size_t out_field) const {
  for (std::size_t r = 0; r < runs_.size(); ++r) {
    const io::ShardSource& source = *sources_[runs_[r].shard];
    if (!source.is_mapped()) continue;
    const PageRef& page = pages_[out_field][r];
    for (std::uint32_t row = runs_[r].first_row; row < runs_[r].end_row; ++row) {
      const std::uint64_t at = chunk_rows_[row];
      if (page.section(Section::kOffsets).num_blocks > 0)
        __builtin_prefetch(source.mapped() + page.section(Section::kOffsets).offset + at * page.offset_width);
      if (page.section(Section::kValidity).num_blocks > 0)
        __builtin_prefetch(source.mapped() + page.section(Section::kValidity).offset + at / 8);
    }
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
  ask_for_sides(out_field);
  const std::uint64_t step = conversions_[out_field].row_bytes;
  for (std::size_t r = 0; r < runs_.size(); ++r) {
    const Run& run = runs_[r];
    io::ShardSource& source = *sources_[run.shard];
    const PageRef& page = pages_[out_field][r];
    const std::uint64_t section_end = page.section(Section::kValues).decoded_bytes;
    SideReader offsets(*this, out_field, r, Section::kOffsets);
    SideReader validity(*this, out_field, r, Section::kValidity);
    for (std::size_t row = run.first_row; row < run.end_row; ++row) {
      if (row_failed_[row]) continue;
      Status status = read_side_row(field, page.offset_width, row, offsets, validity, values, valid);
      if (!field.is_variable() || !status.is_ok()) {
        if (!status.is_ok()) {
          row_failed_[row] = true;
          add_error(rows_[row].slot, status);
        }
        continue;
      }
      const std::uint64_t begin = values.begin[row], end = begin + values.length[row];
      const bool whole = step == 0 ? values.length[row] == 0 : step == 1 || values.length[row] % step == 0;
      // Where the section begins and ends shows at its first and last row only.
      const bool first_good = rows_[row].at.row != 0 || begin == 0;
      const bool last_good = rows_[row].at.row + 1 != page.num_samples || end == section_end;
      if (end < begin || end > section_end || !whole || !first_good || !last_good) {
        row_failed_[row] = true;
        add_error(rows_[row].slot,
                  {Code::kCorrupt,
                   source.shard().describe(run.chunk, number) +
                       strf(": row %u spans bytes %llu + %llu of %llu, in steps of %llu; the offsets are damaged", rows_[row].at.row,
                            static_cast<unsigned long long>(values.begin[row]), static_cast<unsigned long long>(values.length[row]),
                            static_cast<unsigned long long>(section_end), static_cast<unsigned long long>(step))});
        values.length[row] = 0;
      }
    }
  }
  return Status::ok();
}

Status BatchBuilder::read_side_row(const format::Field& field, std::uint64_t width, std::size_t row, SideReader& offsets,
                                   SideReader& validity, Values& values, std::vector<std::uint8_t>& valid) {
  const std::uint64_t at = chunk_rows_[row];
  if (field.nullable) {
    HR_ASSIGN_OR_RETURN(const std::uint64_t byte, validity.read(at / 8, 1));
    valid[slots_[row]] = static_cast<std::uint8_t>(byte >> (at % 8) & 1);
  }
  if (!field.is_variable()) return Status::ok();
  HR_ASSIGN_OR_RETURN(values.begin[row], offsets.read(at * width, width));
  HR_ASSIGN_OR_RETURN(const std::uint64_t end, offsets.read((at + 1) * width, width));
  values.length[row] = end - values.begin[row];  // Wraps if damaged; the caller checks.
  return Status::ok();
}

}  // namespace headrace::pipeline
