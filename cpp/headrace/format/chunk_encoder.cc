// One chunk: pages with their block tables, and the index entries that describe them. FORMAT.md sections 4 and 5.
#include <algorithm>
#include <cinttypes>
#include <cstring>

#include "headrace/format/index_check.h"
#include "headrace/format/layout.h"
#include "headrace/format/page_layout.h"
#include "headrace/format/shard_writer.h"
#include "headrace/format/statistics.h"

namespace headrace::format {
namespace {

std::vector<std::uint8_t> pack_bits(const std::vector<std::uint8_t>& valid) {
  std::vector<std::uint8_t> bits(ceil_div(valid.size(), 8));
  for (std::size_t i = 0; i < valid.size(); ++i) bits[i / 8] = static_cast<std::uint8_t>(bits[i / 8] | (valid[i] != 0) << (i % 8));
  return bits;
}

std::vector<std::uint8_t> pack_offsets(const std::vector<std::uint64_t>& offsets, std::uint32_t width) {
  std::vector<std::uint8_t> packed(offsets.size() * width);
  if (width == 8) {
    std::memcpy(packed.data(), offsets.data(), packed.size());
  } else {
    for (std::size_t i = 0; i < offsets.size(); ++i) store_le(packed.data() + i * 4, static_cast<std::uint32_t>(offsets[i]));
  }
  return packed;
}

// Appends one page to a chunk under construction. Only grows `out`, so that no byte is written twice.
class PageEncoder {
 public:
  PageEncoder(const Field& field, const PageLayout& layout, std::uint64_t seed, const codec::Dictionary* dictionary,
              std::vector<std::uint8_t>& out)
      : field_(field), layout_(layout), seed_(seed), dictionary_(dictionary), out_(out), start_(out.size()) {
    out_.resize(start_ + round_up(layout.table_bytes, kPageAlignment));
  }

  void append_raw(Section which, Bytes bytes) {
    const SectionRef& section = layout_.section(which);
    for (std::uint32_t b = 0; b < section.num_blocks; ++b) {
      const std::size_t at = out_.size();
      const Bytes block = bytes.subspan(std::uint64_t{b} * section.block_bytes, decoded_block_bytes(section, section.first_block + b));
      out_.insert(out_.end(), block.begin(), block.end());
      add_entry(section.first_block + b, at, block.size());
    }
    if (which != Section::kValues) out_.resize(start_ + round_up(out_.size() - start_, kPageAlignment));
  }

  Status append_values(Bytes values) {
    if (field_.codec == codec::Codec::kNone && field_.filter == codec::Filter::kNone) {
      append_raw(Section::kValues, values);
      return {};
    }
    const SectionRef& section = layout_.section(Section::kValues);
    std::vector<std::uint8_t> filtered;
    for (std::uint32_t b = 0; b < section.num_blocks; ++b) {
      const std::size_t at = out_.size();
      Bytes block = values.subspan(std::uint64_t{b} * section.block_bytes, decoded_block_bytes(section, section.first_block + b));
      if (field_.filter != codec::Filter::kNone) {
        filtered.resize(block.size());
        codec::apply_filter(field_.filter, field_.element_bytes(), block, filtered);
        block = filtered;
      }
      if (field_.codec != codec::Codec::kNone) HR_RETURN_IF_ERROR(codec::encode(field_.codec, field_.level, block, out_, dictionary_));
      if (out_.size() == at || out_.size() - at >= block.size()) {  // It does not shrink: the block itself, which decodes for free.
        out_.resize(at);
        out_.insert(out_.end(), block.begin(), block.end());
      }
      add_entry(section.first_block + b, at, block.size());
    }
    return {};
  }

  PageEntry finish() const {
    PageEntry entry;
    entry.bytes = out_.size() - start_;
    entry.values_bytes = layout_.values_bytes();
    entry.num_blocks = layout_.num_blocks;
    entry.table_hash = codec::hash(Bytes(out_).subspan(start_, layout_.table_bytes), seed_);
    return entry;
  }

 private:
  void add_entry(std::uint32_t block, std::size_t at, std::size_t decoded) {
    std::uint8_t* const entry = out_.data() + start_ + block * kBlockEntryBytes;
    const std::size_t stored = out_.size() - at;
    store_le(entry, std::uint64_t{at - start_});
    store_le(entry + 8, static_cast<std::uint32_t>(stored));
    store_le(entry + 12, static_cast<std::uint32_t>(decoded));
    store_le(entry + 16, codec::hash(Bytes(out_).subspan(at, stored), seed_));
  }

  const Field& field_;
  const PageLayout& layout_;
  const std::uint64_t seed_;
  const codec::Dictionary* const dictionary_;
  std::vector<std::uint8_t>& out_;
  const std::size_t start_;
};

Status check_offsets(const Field& field, const ColumnChunk& column, std::uint32_t num_samples) {
  const std::vector<std::uint64_t>& offsets = column.offsets;
  if (!field.is_variable()) return offsets.empty() ? Status::ok() : Status(Code::kInvalidArgument, "a tensor has no offsets");
  if (offsets.size() != std::uint64_t{num_samples} + 1 || offsets.front() != 0 || offsets.back() != column.values.size()) {
    return {Code::kInvalidArgument, strf("%u samples need %u offsets from 0 to %zu", num_samples, num_samples + 1, column.values.size())};
  }
  const std::uint64_t row_bytes = field.row_bytes();
  bool bad = false;
  for (std::size_t i = 1; i < offsets.size(); ++i) bad |= offsets[i] < offsets[i - 1];
  if (row_bytes > 1) bad |= std::any_of(offsets.begin(), offsets.end(), [&](std::uint64_t offset) { return offset % row_bytes != 0; });
  if (bad) return {Code::kInvalidArgument, strf("offsets must not decrease and must be multiples of %" PRIu64, row_bytes)};
  return {};
}

Status check_column(const Field& field, const ColumnChunk& column, std::uint32_t num_samples) {
  const std::size_t flags = field.nullable ? num_samples : 0;
  if (column.valid.size() != flags) {
    return {Code::kInvalidArgument, strf("%zu validity bytes; expected %zu", column.valid.size(), flags)};
  }
  std::uint64_t expected = 0;
  if (!field.is_variable() && (!checked_mul(field.row_bytes(), num_samples, &expected) || expected != column.values.size())) {
    return {Code::kInvalidArgument, strf("%zu bytes of values; %u samples of %" PRIu64 " bytes were expected", column.values.size(),
                                         num_samples, field.row_bytes())};
  }
  return check_offsets(field, column, num_samples);
}

// Sizes of all pages, so that the chunk's memory is reserved at once and the limit is known before any work.
Status layout_chunk(const Schema& schema, std::uint32_t num_samples, const std::vector<ColumnChunk>& columns, const Limits& limits,
                    std::vector<PageLayout>* layouts, std::uint64_t* most_bytes) {
  std::uint64_t decoded = 0;
  for (std::size_t f = 0; f < columns.size(); ++f) {
    PageLayout& layout = layouts->emplace_back();
    const Status column = check_column(schema.fields[f], columns[f], num_samples);
    HR_RETURN_IF_ERROR(column.with_context(strf("encode field '%s'", schema.fields[f].name.c_str())));
    if (!layout_page(schema.fields[f], num_samples, columns[f].values.size(), &layout)) {
      return {Code::kLimitExceeded, strf("encode field '%s': %zu bytes make 2^32 blocks or more; raise its block_bytes",
                                         schema.fields[f].name.c_str(), columns[f].values.size())};
    }
    decoded += layout.values_bytes();
    *most_bytes = round_up(*most_bytes, kPageAlignment) + layout.values_offset() + layout.values_bytes();
  }
  const std::uint64_t limit = num_samples == 1 ? limits.sample_bytes : limits.chunk_bytes;
  if (decoded > limit) {
    return {Code::kLimitExceeded,
            strf("encode a chunk of %u samples: %" PRIu64 " bytes; the limit is %" PRIu64 ": use a smaller chunk_samples", num_samples,
                 decoded, limit)};
  }
  return {};
}

Status encode_page(const Field& field, const PageLayout& layout, std::uint64_t seed, const codec::Dictionary* dictionary,
                   const ColumnChunk& column, std::vector<std::uint8_t>& out, PageEntry* entry) {
  PageEncoder encoder(field, layout, seed, dictionary, out);
  if (field.nullable) encoder.append_raw(Section::kValidity, pack_bits(column.valid));
  if (field.is_variable()) encoder.append_raw(Section::kOffsets, pack_offsets(column.offsets, layout.offset_width));
  const Status status = encoder.append_values(column.values);
  HR_RETURN_IF_ERROR(status.with_context(strf("encode field '%s'", field.name.c_str())));
  *entry = encoder.finish();
  const MinMax range = min_max(field, column.values, column.valid);
  entry->flags = range.known ? kFlagMinMax : 0;
  entry->min = range.min;
  entry->max = range.max;
  entry->null_count = static_cast<std::uint64_t>(std::count(column.valid.begin(), column.valid.end(), 0));
  return {};
}

}  // namespace

Result<EncodedChunk> encode_chunk(const Schema& schema, const codec::Uuid& uuid, std::uint64_t chunk, std::uint32_t num_samples,
                                  const std::vector<ColumnChunk>& columns, const Limits& limits, const Dictionaries& dictionaries) {
  if (columns.size() != schema.fields.size()) {
    return Status(Code::kInvalidArgument, strf("encode a chunk: %zu columns for %zu fields", columns.size(), schema.fields.size()));
  }
  std::vector<PageLayout> layouts;
  std::uint64_t most_bytes = 0;
  HR_RETURN_IF_ERROR(layout_chunk(schema, num_samples, columns, limits, &layouts, &most_bytes));
  EncodedChunk out;
  out.num_samples = num_samples;
  out.page_entries.resize(columns.size() * kPageEntryBytes);
  out.bytes.reserve(round_up(most_bytes, kChunkAlignment));
  for (std::size_t f = 0; f < columns.size(); ++f) {
    out.bytes.resize(round_up(out.bytes.size(), kPageAlignment));
    const std::uint64_t offset = out.bytes.size();
    const std::uint64_t seed = codec::place_seed(uuid, codec::Region::kPage, static_cast<std::uint32_t>(f), chunk);
    PageEntry entry;
    const codec::Dictionary* const dictionary = f < dictionaries.size() ? dictionaries[f].get() : nullptr;
    if (schema.fields[f].dictionary && dictionary == nullptr)
      return Status(Code::kInvalidArgument, strf("encode field '%s': it has no dictionary yet", schema.fields[f].name.c_str()));
    HR_RETURN_IF_ERROR(encode_page(schema.fields[f], layouts[f], seed, dictionary, columns[f], out.bytes, &entry));
    entry.offset = offset;
    entry.first_block = out.num_blocks;
    encode_page_entry(entry, out.page_entries.data() + f * kPageEntryBytes);
    out.num_blocks += entry.num_blocks;
    out.raw_bytes += entry.values_bytes;
  }
  out.bytes.resize(round_up(out.bytes.size(), kChunkAlignment));
  return out;
}

}  // namespace headrace::format
