// What a batch needs to know before it has a place for its values: which are present, and how long they are.
#include <algorithm>
#include <tuple>

#include "headrace/pipeline/batch_builder.h"

namespace headrace::pipeline {
namespace {

using format::PageRef;
using format::Section;
using format::SectionRef;

std::uint64_t side_width(const PageRef& page) { return page.offset_width; }

}  // namespace

// Reads single bytes and integers of a validity or offsets section, block by block.
class BatchBuilder::SideReader {
 public:
  SideReader(io::ShardSource& source, std::uint64_t chunk, std::uint32_t field, const PageRef& page, Section section,
             io::Counters& counters)
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
      if (validity.num_blocks > 0)
        ids.push_back({rows_[i].at.chunk, f, validity.first_block + static_cast<std::uint32_t>(row / 8 / validity.block_bytes)});
      for (std::uint64_t end = 0; offsets.num_blocks > 0 && end < 2; ++end) {
        ids.push_back(
            {rows_[i].at.chunk, f, offsets.first_block + static_cast<std::uint32_t>((row + end) * side_width(page) / offsets.block_bytes)});
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
      const std::uint64_t begin = values.begin[row], end = begin + values.length[row];
      const std::uint64_t section_end = page.section(Section::kValues).decoded_bytes, step = conversions_[out_field].row_bytes;
      const bool whole = step == 0 ? values.length[row] == 0 : values.length[row] % step == 0;
      // Where the section begins and ends shows at its first and last row only.
      const bool first_good = rows_[row].at.row != 0 || begin == 0;
      const bool last_good = rows_[row].at.row + 1 != page.num_samples || end == section_end;
      if (end < begin || end > section_end || !whole || !first_good || !last_good) {
        row_failed_[row] = true;
        add_error(rows_[row].slot,
                  {Code::kCorrupt,
                   source.shard().describe(at.chunk, number) +
                       strf(": row %u spans bytes %llu + %llu of %llu, in steps of %llu; the offsets are damaged", rows_[row].at.row,
                            static_cast<unsigned long long>(values.begin[row]), static_cast<unsigned long long>(values.length[row]),
                            static_cast<unsigned long long>(section_end), static_cast<unsigned long long>(step))});
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

}  // namespace headrace::pipeline
