#include "headrace/format/index_check.h"

#include "headrace/format/layout.h"
#include "headrace/format/page_layout.h"
#include "headrace/format/statistics.h"

namespace headrace::format {
namespace {

using U64 = unsigned long long;

// The layout of a field's last page: that of most others too, since chunks hold the same number of samples.
struct KnownLayout {
  PageLayout layout;
  std::uint64_t values_bytes = 0;
  std::uint32_t samples = 0;
  bool known = false;
};

struct ChunkEntry {
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;
  std::uint32_t samples = 0;
  std::uint32_t reserved = 0;
};

// Walks the index once; the members are what has been summed so far.
class IndexCheck {
 public:
  IndexCheck(const IndexFacts& facts, Bytes index, IndexSums* sums)
      : facts_(facts), index_(index), sums_(sums), layouts_(facts.schema.fields.size()) {}

  Status run();

 private:
  Status corrupt(const std::string& what) const {
    return {Code::kCorrupt, strf("index: chunk %llu: %s", static_cast<U64>(chunk_), what.c_str())};
  }
  Status corrupt(const Field& field, const std::string& what) const {
    return corrupt(strf("field '%s': %s", field.name.c_str(), what.c_str()));
  }
  Status check_chunk(const ChunkEntry& entry) const;
  Status check_pages(const ChunkEntry& chunk, const std::uint8_t* entries);
  Status check_page(const Field& field, const ChunkEntry& chunk, const PageEntry& page, KnownLayout* known) const;
  Status lay_out(const Field& field, const ChunkEntry& chunk, const PageEntry& page, KnownLayout* known) const;
  Status check_sizes(const Field& field, const PageEntry& page, const PageLayout& layout) const;
  Status check_statistics(const Field& field, const ChunkEntry& chunk, const PageEntry& page) const;

  const IndexFacts& facts_;
  Bytes index_;
  IndexSums* sums_;
  std::vector<KnownLayout> layouts_;  // by field
  std::uint64_t chunk_ = 0;
  std::uint64_t at_ = kHeaderBytes;  // where the chunk must start
  std::uint64_t page_at_ = 0;        // where the page must start in its chunk
  std::uint64_t blocks_ = 0;
  std::uint64_t samples_ = 0;
};

Status IndexCheck::check_chunk(const ChunkEntry& entry) const {
  if (entry.offset != at_)
    return corrupt(strf("it starts at %llu; the bytes before it end at %llu", static_cast<U64>(entry.offset), static_cast<U64>(at_)));
  if (entry.bytes % kChunkAlignment != 0) return corrupt(strf("%llu bytes are no multiple of 4096", static_cast<U64>(entry.bytes)));
  if (entry.offset > facts_.footer.index_offset || entry.bytes > facts_.footer.index_offset - entry.offset) {
    return corrupt(strf("%llu bytes at %llu reach into the index at %llu", static_cast<U64>(entry.bytes), static_cast<U64>(entry.offset),
                        static_cast<U64>(facts_.footer.index_offset)));
  }
  const bool last = chunk_ + 1 == facts_.footer.num_chunks;
  if (entry.samples > facts_.chunk_samples || (!last && entry.samples != facts_.chunk_samples)) {
    return corrupt(strf("%u samples; expected %s%u", entry.samples, last ? "at most " : "", facts_.chunk_samples));
  }
  if (entry.reserved != 0 && !facts_.newer_minor) return corrupt("its reserved bytes are not zero");
  return {};
}

Status IndexCheck::check_sizes(const Field& field, const PageEntry& page, const PageLayout& layout) const {
  // Values are stored in at least a byte a block, and never in more than they decode to.
  const std::uint64_t most = layout.values_offset() + layout.values_bytes();
  const bool raw = field.codec == codec::Codec::kNone;
  const std::uint64_t least = raw ? most : layout.values_offset() + layout.section(Section::kValues).num_blocks;
  if (page.bytes >= least && page.bytes <= most) return {};
  return corrupt(field, strf("%llu bytes stored; its sections need %llu to %llu", static_cast<U64>(page.bytes), static_cast<U64>(least),
                             static_cast<U64>(most)));
}

Status IndexCheck::check_statistics(const Field& field, const ChunkEntry& chunk, const PageEntry& page) const {
  if ((page.flags & ~kFlagMinMax) != 0 && !facts_.newer_minor) return corrupt(field, strf("flags are %#x; expected 0 or 1", page.flags));
  const bool known = (page.flags & kFlagMinMax) != 0;
  if (known ? !has_statistics(field) : page.min != 0 || page.max != 0) return corrupt(field, "min and max stand where there can be none");
  if (page.null_count > (field.nullable ? chunk.samples : 0)) {
    return corrupt(field, strf("%llu samples of %u are null", static_cast<U64>(page.null_count), chunk.samples));
  }
  return {};
}

// Sections and blocks of a page, from its samples and the size of its values.
Status IndexCheck::lay_out(const Field& field, const ChunkEntry& chunk, const PageEntry& page, KnownLayout* known) const {
  if (known->known && known->samples == chunk.samples && known->values_bytes == page.values_bytes) return {};
  *known = {};
  const std::uint64_t limit = chunk.samples == 1 ? facts_.limits.sample_bytes : facts_.limits.chunk_bytes;
  if (page.values_bytes > limit || !layout_page(field, chunk.samples, page.values_bytes, &known->layout)) {
    return {Code::kLimitExceeded, strf("index: chunk %llu, field '%s': its values decode to %llu bytes; the limit for %u samples is %llu",
                                       static_cast<U64>(chunk_), field.name.c_str(), static_cast<U64>(page.values_bytes), chunk.samples,
                                       static_cast<U64>(limit))};
  }
  std::uint64_t expected = 0;
  if (!field.is_variable() && (!checked_mul(field.row_bytes(), chunk.samples, &expected) || expected != page.values_bytes)) {
    return corrupt(field, strf("its values decode to %llu bytes; %u samples of %llu bytes were expected",
                               static_cast<U64>(page.values_bytes), chunk.samples, static_cast<U64>(field.row_bytes())));
  }
  known->samples = chunk.samples;
  known->values_bytes = page.values_bytes;
  known->known = true;
  return {};
}

Status IndexCheck::check_page(const Field& field, const ChunkEntry& chunk, const PageEntry& page, KnownLayout* known) const {
  if (page.offset != page_at_)
    return corrupt(field, strf("its page is at %llu; expected %llu", static_cast<U64>(page.offset), static_cast<U64>(page_at_)));
  HR_RETURN_IF_ERROR(lay_out(field, chunk, page, known));
  const PageLayout& layout = known->layout;
  if (page.first_block != blocks_)
    return corrupt(field, strf("its first block is %llu; expected %llu", static_cast<U64>(page.first_block), static_cast<U64>(blocks_)));
  if (page.num_blocks != layout.num_blocks)
    return corrupt(field, strf("%u blocks; its sections need %u", page.num_blocks, layout.num_blocks));
  HR_RETURN_IF_ERROR(check_sizes(field, page, layout));
  if (page.offset > chunk.bytes || page.bytes > chunk.bytes - page.offset) {
    return corrupt(field, strf("%llu bytes at %llu reach beyond the chunk's %llu", static_cast<U64>(page.bytes),
                               static_cast<U64>(page.offset), static_cast<U64>(chunk.bytes)));
  }
  return check_statistics(field, chunk, page);
}

Status IndexCheck::check_pages(const ChunkEntry& chunk, const std::uint8_t* entries) {
  page_at_ = 0;
  std::uint64_t end = 0, decoded = 0;
  const std::size_t fields = facts_.schema.fields.size();
  for (std::size_t f = 0; f < fields; ++f) {
    const PageEntry page = decode_page_entry(entries + kPageEntryBytes * f);
    HR_RETURN_IF_ERROR(check_page(facts_.schema.fields[f], chunk, page, &layouts_[f]));
    const PageLayout& layout = layouts_[f].layout;
    sums_->values_offsets[chunk_ * fields + f] = chunk.offset + page.offset + layout.values_offset();
    sums_->field_blocks[f] += page.num_blocks;
    end = page.offset + page.bytes;
    page_at_ = round_up(end, kPageAlignment);
    blocks_ += page.num_blocks;
    decoded += layout.values_bytes();  // Each is below 2^62 and there are at most 2^32: checked before it can wrap.
    const std::uint64_t limit = chunk.samples == 1 ? facts_.limits.sample_bytes : facts_.limits.chunk_bytes;
    if (decoded > limit) {
      return {Code::kLimitExceeded, strf("index: chunk %llu: its fields decode to more than the limit of %llu bytes for %u samples",
                                         static_cast<U64>(chunk_), static_cast<U64>(limit), chunk.samples)};
    }
  }
  if (round_up(end, kChunkAlignment) != chunk.bytes) {
    return corrupt(strf("%llu bytes; its pages end at %llu", static_cast<U64>(chunk.bytes), static_cast<U64>(end)));
  }
  return {};
}

Status IndexCheck::run() {
  const std::size_t fields = facts_.schema.fields.size();
  const std::uint64_t entry_bytes = kChunkEntryBytes + kPageEntryBytes * fields;
  sums_->values_offsets.resize(facts_.footer.num_chunks * fields);
  sums_->field_blocks.assign(fields, 0);
  for (chunk_ = 0; chunk_ < facts_.footer.num_chunks; ++chunk_) {
    const std::uint8_t* at = index_.data() + chunk_ * entry_bytes;
    const ChunkEntry entry{load_le<std::uint64_t>(at), load_le<std::uint64_t>(at + 8), load_le<std::uint32_t>(at + 16),
                           load_le<std::uint32_t>(at + 20)};
    HR_RETURN_IF_ERROR(check_chunk(entry));
    HR_RETURN_IF_ERROR(check_pages(entry, at + kChunkEntryBytes));
    at_ += entry.bytes;
    samples_ += entry.samples;
  }
  const Footer& footer = facts_.footer;
  if (at_ != footer.index_offset || samples_ != footer.num_samples || blocks_ != footer.num_blocks) {
    return {Code::kCorrupt,
            strf("index: its chunks end at %llu with %llu samples and %llu blocks; the footer says %llu, %llu and %llu",
                 static_cast<U64>(at_), static_cast<U64>(samples_), static_cast<U64>(blocks_), static_cast<U64>(footer.index_offset),
                 static_cast<U64>(footer.num_samples), static_cast<U64>(footer.num_blocks))};
  }
  return {};
}

}  // namespace

void encode_page_entry(const PageEntry& entry, std::uint8_t* at) {
  store_le(at, entry.offset);
  store_le(at + 8, entry.bytes);
  store_le(at + 16, entry.values_bytes);
  store_le(at + 24, entry.first_block);
  store_le(at + 32, entry.num_blocks);
  store_le(at + 36, entry.flags);
  store_le(at + 40, entry.table_hash);
  store_le(at + 48, entry.min);
  store_le(at + 56, entry.max);
  store_le(at + 64, entry.null_count);
}

Status check_index(const IndexFacts& facts, Bytes index, IndexSums* sums) { return IndexCheck(facts, index, sums).run(); }

}  // namespace headrace::format
