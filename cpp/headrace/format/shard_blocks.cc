// The blocks of an open shard: tables, hashes, decoding, offsets. FORMAT.md section 5.
#include <cstring>

#include "headrace/format/layout.h"
#include "headrace/format/page_layout.h"
#include "headrace/format/shard_reader.h"

namespace headrace::format {
namespace {

using U64 = unsigned long long;

constexpr std::uint64_t kLz4Ratio = 255;
constexpr std::uint64_t kLz4Slack = 64u << 10;

// What is wrong with the stored size of a values block, or null.
const char* bad_stored_size(codec::Codec codec, std::uint64_t stored, std::uint64_t decoded) {
  if (stored == 0) return "nothing is stored";
  if (stored > decoded) return "more is stored than decodes from it";
  if (codec == codec::Codec::kNone && stored != decoded) return "without a codec both must be equal";
  return nullptr;
}

bool beyond_lz4(codec::Codec codec, std::uint64_t stored, std::uint64_t decoded) {
  return (codec == codec::Codec::kLz4 || codec == codec::Codec::kLz4Hc) && decoded > kLz4Ratio * stored + kLz4Slack;
}

template <typename T>
std::uint64_t first_bad_offset(Bytes offsets, std::uint64_t end, std::uint64_t row_bytes) {
  const std::size_t count = offsets.size() / sizeof(T);
  const auto at = [&](std::size_t i) { return load_le<T>(offsets.data() + i * sizeof(T)); };
  bool bad = count > 0 && at(count - 1) > end;
  for (std::size_t i = 1; i < count; ++i) bad |= at(i) < at(i - 1);
  if (row_bytes > 1) {
    for (std::size_t i = 0; i < count; ++i) bad |= at(i) % row_bytes != 0;
  }
  if (!bad) return count;
  for (std::size_t i = 0; i < count; ++i) {  // Only now, so that the loops above have no exit.
    if (at(i) > end || at(i) % row_bytes != 0 || (i > 0 && at(i) < at(i - 1))) return i;
  }
  return count;
}

std::uint64_t offset_at(Bytes offsets, std::uint64_t i, std::uint32_t width) {
  return width == 4 ? load_le<std::uint32_t>(offsets.data() + i * 4) : load_le<std::uint64_t>(offsets.data() + i * 8);
}

}  // namespace

std::string Shard::describe_block(std::uint64_t chunk, std::uint32_t field, std::uint32_t block, const BlockRef& ref) const {
  return strf("%s, block %u at offset %llu (%u bytes)", describe(chunk, field).c_str(), block, static_cast<U64>(ref.offset),
              ref.stored_bytes);
}

Status Shard::check_table(std::uint64_t chunk, std::uint32_t field, Bytes table) const {
  const PageRef ref = page(chunk, field);
  const auto corrupt = [&](const std::string& what) {
    return Status(Code::kCorrupt,
                  strf("%s, block table at offset %llu: %s", describe(chunk, field).c_str(), static_cast<U64>(ref.offset), what.c_str()));
  };
  if (table.size() != ref.num_blocks * kBlockEntryBytes)
    return corrupt(strf("%zu bytes given; it has %llu", table.size(), static_cast<U64>(ref.num_blocks * kBlockEntryBytes)));
  const std::uint64_t found = codec::hash(table, page_seed(chunk, field));
  if (found != ref.table_hash) {
    return corrupt(strf("checksum is %016llx, its bytes give %016llx; the file is damaged, restore it from a copy",
                        static_cast<U64>(ref.table_hash), static_cast<U64>(found)));
  }
  const codec::Codec codec = schema_.fields[field].codec;
  std::uint64_t at = 0;
  for (int s = 0; s < 3; ++s) {
    const SectionRef& section = ref.sections[s];
    if (section.num_blocks > 0) at = section.offset;
    for (std::uint32_t b = section.first_block; b < section.first_block + section.num_blocks; ++b) {
      const BlockRef entry = block(ref, table, b);
      const std::uint32_t decoded = decoded_block_bytes(section, b);
      if (entry.offset != at)
        return corrupt(strf("block %u is at %llu; expected %llu", b, static_cast<U64>(entry.offset), static_cast<U64>(at)));
      if (entry.decoded_bytes != decoded)
        return corrupt(strf("block %u decodes to %u bytes; expected %u", b, entry.decoded_bytes, decoded));
      const char* wrong = bad_stored_size(s == 2 ? codec : codec::Codec::kNone, entry.stored_bytes, decoded);
      if (wrong != nullptr) return corrupt(strf("block %u stores %u bytes for %u: %s", b, entry.stored_bytes, decoded, wrong));
      if (s == 2 && beyond_lz4(codec, entry.stored_bytes, decoded)) {
        return {Code::kLimitExceeded, describe_block(chunk, field, b, entry) +
                                          strf(": declares %u decoded bytes; LZ4 holds at most 255 times the stored", decoded)};
      }
      at += entry.stored_bytes;
    }
  }
  const std::uint64_t end = ref.offset + ref.stored_bytes;
  if (ref.section(Section::kValues).num_blocks > 0 && at != end)
    return corrupt(strf("its blocks end at %llu, its page at %llu", static_cast<U64>(at), static_cast<U64>(end)));
  return {};
}

BlockRef Shard::block(const PageRef& page, Bytes table, std::uint32_t block) {
  const std::uint8_t* const at = table.data() + block * kBlockEntryBytes;
  return {page.offset + load_le<std::uint64_t>(at), load_le<std::uint32_t>(at + 8), load_le<std::uint32_t>(at + 12),
          load_le<std::uint64_t>(at + 16)};
}

Status Shard::check_block(std::uint64_t chunk, std::uint32_t field, std::uint32_t block, const BlockRef& ref, Bytes stored) const {
  const std::uint64_t found = codec::hash(stored, page_seed(chunk, field));
  if (found == ref.hash && stored.size() == ref.stored_bytes) return {};
  return {Code::kCorrupt, describe_block(chunk, field, block, ref) +
                              strf(": checksum is %016llx, its bytes give %016llx; the file is damaged, restore it from a copy",
                                   static_cast<U64>(ref.hash), static_cast<U64>(found))};
}

Status Shard::decode_frame(std::uint64_t chunk, std::uint32_t field, std::uint32_t block, const BlockRef& ref, Bytes stored,
                           MutableBytes out) const {
  if (stored.size() != ref.stored_bytes || out.size() != ref.decoded_bytes) {
    return {Code::kInvalidArgument,
            describe_block(chunk, field, block, ref) +
                strf(": decode %zu into %zu bytes; it has %u and %u", stored.size(), out.size(), ref.stored_bytes, ref.decoded_bytes)};
  }
  if (ref.stored_bytes == ref.decoded_bytes) {
    if (!out.empty()) std::memcpy(out.data(), stored.data(), out.size());
    return {};
  }
  const codec::Codec codec = schema_.fields[field].codec;
  if (codec == codec::Codec::kNone)
    return {Code::kCorrupt, describe_block(chunk, field, block, ref) + ": stored and decoded bytes differ without a codec"};
  const Status status = codec::decode(codec, stored, out, dictionaries_[field].get());
  return status.is_ok() ? status : status.with_context(describe_block(chunk, field, block, ref));
}

Status Shard::decode_block(std::uint64_t chunk, std::uint32_t field, std::uint32_t block, const BlockRef& ref, Bytes stored,
                           MutableBytes out, std::vector<std::uint8_t>& scratch) const {
  const Field& f = schema_.fields[field];
  if (f.filter == codec::Filter::kNone) return decode_frame(chunk, field, block, ref, stored, out);
  Bytes filtered = stored;
  if (ref.stored_bytes != ref.decoded_bytes) {
    if (scratch.size() < out.size()) scratch.resize(out.size());
    const MutableBytes target = MutableBytes(scratch).first(out.size());
    HR_RETURN_IF_ERROR(decode_frame(chunk, field, block, ref, stored, target));
    filtered = target;
  } else if (stored.size() != ref.stored_bytes || out.size() != ref.decoded_bytes) {
    return decode_frame(chunk, field, block, ref, stored, out);  // Says what is wrong.
  }
  codec::revert_filter(f.filter, f.element_bytes(), filtered, out);
  return {};
}

Status Shard::check_offsets(std::uint64_t chunk, std::uint32_t field, const PageRef& page, std::uint32_t begin, Bytes offsets) const {
  const std::uint64_t end = page.section(Section::kValues).decoded_bytes;
  const std::uint64_t row_bytes = schema_.fields[field].row_bytes();
  const std::uint32_t width = page.offset_width;
  const std::uint64_t count = offsets.size() / width;
  std::uint64_t bad =
      width == 4 ? first_bad_offset<std::uint32_t>(offsets, end, row_bytes) : first_bad_offset<std::uint64_t>(offsets, end, row_bytes);
  if (begin == 0 && count > 0 && offset_at(offsets, 0, width) != 0) bad = 0;
  const bool has_last = std::uint64_t{begin} + count == std::uint64_t{page.num_samples} + 1;
  if (bad == count && has_last && count > 0 && offset_at(offsets, count - 1, width) != end) bad = count - 1;
  if (bad == count) return {};
  return {Code::kCorrupt, strf("%s: offset %llu is %llu; offsets start at 0, never decrease, end at %llu and are multiples of %llu; the "
                               "writer was wrong, write it again",
                               describe(chunk, field).c_str(), static_cast<U64>(begin + bad),
                               static_cast<U64>(offset_at(offsets, bad, width)), static_cast<U64>(end), static_cast<U64>(row_bytes))};
}

}  // namespace headrace::format
