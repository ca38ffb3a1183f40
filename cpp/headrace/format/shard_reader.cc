#include "headrace/format/shard_reader.h"

#include <algorithm>
#include <array>

#include "headrace/format/framing.h"
#include "headrace/format/index_check.h"
#include "headrace/format/layout.h"
#include "headrace/format/page_layout.h"

namespace headrace::format {
namespace {

using U64 = unsigned long long;

Status corrupt(const std::string& what) { return {Code::kCorrupt, what}; }

Status check_limits(const Header& header, const Footer& footer, const Limits& limits) {
  if (header.chunk_samples > limits.chunk_samples) {
    return {Code::kLimitExceeded, strf("header: chunks of %u samples; the limit is %u", header.chunk_samples, limits.chunk_samples)};
  }
  if (header.num_fields > limits.fields)
    return {Code::kLimitExceeded, strf("header: %u fields; the limit is %u", header.num_fields, limits.fields)};
  if (footer.index_bytes > limits.index_bytes) {
    return {Code::kLimitExceeded, strf("footer: an index of %llu bytes; the limit is %llu", static_cast<U64>(footer.index_bytes),
                                       static_cast<U64>(limits.index_bytes))};
  }
  if (footer.schema_bytes > limits.manifest_bytes) {
    return {Code::kLimitExceeded, strf("footer: a schema of %llu bytes; the limit is %llu (that of a manifest)",
                                       static_cast<U64>(footer.schema_bytes), static_cast<U64>(limits.manifest_bytes))};
  }
  return {};
}

// Index, schema and footer must end the file, one after the other, and the index must be of its chunks' size.
Status check_cover(const Footer& footer) {
  std::uint64_t index_end = 0, schema_end = 0, index_bytes = 0;
  if (footer.index_offset < kHeaderBytes || !checked_add(footer.index_offset, footer.index_bytes, &index_end) ||
      index_end != footer.schema_offset) {
    return corrupt(strf("footer: the index at %llu with %llu bytes must lie behind the header and end at the schema, %llu",
                        static_cast<U64>(footer.index_offset), static_cast<U64>(footer.index_bytes),
                        static_cast<U64>(footer.schema_offset)));
  }
  if (!checked_add(footer.schema_offset, footer.schema_bytes, &schema_end) || schema_end != footer.file_bytes - kFooterBytes) {
    return corrupt(strf("footer: the schema at %llu with %llu bytes must end at the footer, %llu", static_cast<U64>(footer.schema_offset),
                        static_cast<U64>(footer.schema_bytes), static_cast<U64>(footer.file_bytes - kFooterBytes)));
  }
  const std::uint64_t entry = kChunkEntryBytes + kPageEntryBytes * footer.num_fields;
  if (!checked_mul(footer.num_chunks, entry, &index_bytes) || index_bytes != footer.index_bytes) {
    return corrupt(strf("footer: %llu chunks of %u fields need an index of %llu bytes each; it has %llu in all",
                        static_cast<U64>(footer.num_chunks), footer.num_fields, static_cast<U64>(entry),
                        static_cast<U64>(footer.index_bytes)));
  }
  return {};
}

Status check_expected(const ShardEntry& expected, const Header& header, const Footer& footer) {
  const auto differs = [](const char* what, std::uint64_t wanted, std::uint64_t found) {
    return Status(Code::kChanged,
                  strf("the manifest says %s %llu, the file %llu; it was replaced since: restore it, or write the dataset again", what,
                       static_cast<U64>(wanted), static_cast<U64>(found)));
  };
  if (expected.uuid != header.uuid) return {Code::kChanged, "its uuid is not the one in the manifest; another file took its name"};
  if (expected.file_bytes != footer.file_bytes) return differs("bytes", expected.file_bytes, footer.file_bytes);
  if (expected.num_samples != footer.num_samples) return differs("samples", expected.num_samples, footer.num_samples);
  if (expected.chunk_samples != header.chunk_samples) return differs("chunk samples", expected.chunk_samples, header.chunk_samples);
  if (expected.footer_hash != footer.hash) return differs("footer hash", expected.footer_hash, footer.hash);
  return {};
}

// Reads a structure that the footer describes. Its size is known to lie inside the file and below its limit.
Status read_region(const storage::File& file, const Footer& footer, codec::Region region, std::unique_ptr<std::uint8_t[]>* out) {
  const bool index = region == codec::Region::kIndex;
  const std::uint64_t offset = index ? footer.index_offset : footer.schema_offset;
  const std::uint64_t expected = index ? footer.index_hash : footer.schema_hash;
  const std::size_t bytes = index ? footer.index_bytes : footer.schema_bytes;
  *out = std::make_unique_for_overwrite<std::uint8_t[]>(bytes);
  HR_RETURN_IF_ERROR(file.read_exact(offset, {out->get(), bytes}));
  const std::uint64_t found = codec::hash({out->get(), bytes}, codec::place_seed(footer.uuid, region));
  if (found == expected) return {};
  return corrupt(
      strf("%s at offset %llu (%zu bytes): checksum is %016llx, its bytes give %016llx; the file is damaged, restore it from a copy",
           index ? "index" : "schema", static_cast<U64>(offset), bytes, static_cast<U64>(expected), static_cast<U64>(found)));
}

}  // namespace

Result<std::shared_ptr<const Shard>> Shard::open(const std::string& path, const Limits& limits, const ShardEntry* expected) {
  HR_ASSIGN_OR_RETURN(storage::File file, storage::File::open(path));
  std::shared_ptr<Shard> shard(new Shard());
  shard->path_ = path;
  shard->limits_ = limits;
  Status status = shard->load(file, expected);
  // A shard that a manifest names was one.
  if (expected != nullptr && status.code() == Code::kInvalidArgument) status = corrupt(status.message() + "; restore it from a copy");
  if (!status.is_ok()) return status.with_context(strf("open shard %s", path.c_str()));
  return std::shared_ptr<const Shard>(std::move(shard));
}

Status Shard::load(const storage::File& file, const ShardEntry* expected) {
  HR_ASSIGN_OR_RETURN(identity_, file.identity());
  file_bytes_ = identity_.size;
  std::array<std::uint8_t, kHeaderBytes> head{};
  std::array<std::uint8_t, kFooterBytes> foot{};
  const MutableBytes start = MutableBytes(head).first(std::min(file_bytes_, kHeaderBytes));
  HR_RETURN_IF_ERROR(file.read_exact(0, start));
  if (file_bytes_ < kHeaderBytes + kFooterBytes) return too_short(start, file_bytes_);
  HR_RETURN_IF_ERROR(file.read_exact(file_bytes_ - kFooterBytes, foot));
  Header header;
  Footer footer;
  HR_RETURN_IF_ERROR(decode_ends(head, foot, file_bytes_, &header, &footer));
  HR_RETURN_IF_ERROR(check_cover(footer));
  HR_RETURN_IF_ERROR(check_limits(header, footer, limits_));
  if (expected != nullptr) HR_RETURN_IF_ERROR(check_expected(*expected, header, footer));
  uuid_ = header.uuid;
  chunk_samples_ = header.chunk_samples;
  newer_minor_ = header.minor > kMinor;
  num_samples_ = footer.num_samples;
  num_chunks_ = footer.num_chunks;
  num_blocks_ = footer.num_blocks;
  footer_hash_ = footer.hash;
  std::unique_ptr<std::uint8_t[]> schema;
  HR_RETURN_IF_ERROR(read_region(file, footer, codec::Region::kSchema, &schema));
  HR_ASSIGN_OR_RETURN(schema_, decode_schema({schema.get(), footer.schema_bytes}, limits_, &dictionaries_));
  if (schema_.fields.size() != header.num_fields) {
    return corrupt(strf("the schema has %zu fields, the header says %u", schema_.fields.size(), header.num_fields));
  }
  HR_RETURN_IF_ERROR(read_region(file, footer, codec::Region::kIndex, &index_));
  return check_index({schema_, footer, header.chunk_samples, limits_, newer_minor_}, {index_.get(), footer.index_bytes}, &sums_);
}

const std::uint8_t* Shard::chunk_entry(std::uint64_t chunk) const {
  return index_.get() + chunk * (kChunkEntryBytes + kPageEntryBytes * schema_.fields.size());
}

std::uint32_t Shard::samples_in_chunk(std::uint64_t chunk) const { return load_le<std::uint32_t>(chunk_entry(chunk) + 16); }
std::uint64_t Shard::chunk_offset(std::uint64_t chunk) const { return load_le<std::uint64_t>(chunk_entry(chunk)); }
std::uint64_t Shard::chunk_bytes(std::uint64_t chunk) const { return load_le<std::uint64_t>(chunk_entry(chunk) + 8); }

PageRef Shard::page(std::uint64_t chunk, std::uint32_t field) const {
  const std::uint8_t* const entry = chunk_entry(chunk);
  const PageEntry stored = decode_page_entry(entry + kChunkEntryBytes + kPageEntryBytes * field);
  PageRef page;
  page.offset = load_le<std::uint64_t>(entry) + stored.offset;
  page.stored_bytes = stored.bytes;
  page.first_block = stored.first_block;
  page.num_blocks = stored.num_blocks;
  page.num_samples = load_le<std::uint32_t>(entry + 16);
  PageLayout layout;
  // Always fits: check_index() laid out the same page. The result is only looked at there.
  [[maybe_unused]] const bool fits = layout_page(schema_.fields[field], page.num_samples, stored.values_bytes, &layout);
  page.offset_width = layout.offset_width;
  for (int i = 0; i < 3; ++i) {
    page.sections[i] = layout.sections[i];
    page.sections[i].offset += page.offset;
  }
  page.table_hash = stored.table_hash;
  page.has_min_max = (stored.flags & kFlagMinMax) != 0;
  page.min = stored.min;
  page.max = stored.max;
  page.null_count = stored.null_count;
  return page;
}

std::uint64_t Shard::page_seed(std::uint64_t chunk, std::uint32_t field) const {
  return codec::place_seed(uuid_, codec::Region::kPage, field, chunk);
}

std::string Shard::describe(std::uint64_t chunk, std::uint32_t field) const {
  return strf("shard %s, chunk %llu, field '%s'", path_.c_str(), static_cast<U64>(chunk), schema_.fields[field].name.c_str());
}

}  // namespace headrace::format
