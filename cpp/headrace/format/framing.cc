#include "headrace/format/framing.h"

#include <algorithm>
#include <cstring>

namespace headrace::format {
namespace {

constexpr std::uint64_t kHeaderHashAt = 4088;
constexpr std::uint64_t kHeaderReservedAt = 40;
constexpr std::uint64_t kFooterHashAt = 112;
constexpr std::uint64_t kEndMagicAt = 120;

using U64 = unsigned long long;

Status corrupt(const std::string& what) { return {Code::kCorrupt, what}; }
Status hash_mismatch(const char* region, std::uint64_t offset, std::uint64_t expected, std::uint64_t found) {
  return corrupt(strf("%s at offset %llu: checksum is %016llx, its bytes give %016llx; the file is damaged, restore it from a copy", region,
                      static_cast<U64>(offset), static_cast<U64>(expected), static_cast<U64>(found)));
}

template <std::size_t N>
bool starts_with(Bytes bytes, const std::array<std::uint8_t, N>& magic) {
  return bytes.size() >= N && std::memcmp(bytes.data(), magic.data(), N) == 0;
}

void parse_header(Bytes bytes, Header* out) {
  ByteReader reader(bytes.subspan(8));
  out->major = reader.read<std::uint16_t>();
  out->minor = reader.read<std::uint16_t>();
  reader.read<std::uint32_t>();
  std::copy_n(reader.read_bytes(16).begin(), 16, out->uuid.begin());
  out->chunk_samples = reader.read<std::uint32_t>();
  out->num_fields = reader.read<std::uint32_t>();
}

void parse_footer(Bytes bytes, Footer* out) {
  ByteReader reader(bytes.subspan(8));
  out->major = reader.read<std::uint16_t>();
  out->minor = reader.read<std::uint16_t>();
  out->num_fields = reader.read<std::uint32_t>();
  std::copy_n(reader.read_bytes(16).begin(), 16, out->uuid.begin());
  for (std::uint64_t* value :
       {&out->file_bytes, &out->num_chunks, &out->num_samples, &out->index_offset, &out->index_bytes, &out->schema_offset,
        &out->schema_bytes, &out->index_hash, &out->schema_hash, &out->num_blocks, &out->hash}) {
    *value = reader.read<std::uint64_t>();
  }
}

// Which of a shard's marks are there decides what the file is.
Status check_magic(Bytes head, Bytes foot, std::uint64_t file_bytes) {
  const bool start = starts_with(head, kShardMagic);
  const bool footer = starts_with(foot, kFooterMagic);
  const bool end = starts_with(foot.subspan(kEndMagicAt), kEndMagic);
  if (start && footer && end) return {};
  if (!start && !footer && !end) return {Code::kInvalidArgument, "not a headrace shard: it starts with other bytes than \\x89HRS"};
  if (start && !footer && !end) {
    return {Code::kTruncated, strf("unfinished or cut: no footer at the end of its %llu bytes; write it again or restore it from a copy",
                                   static_cast<U64>(file_bytes))};
  }
  if (!start) return corrupt("header at offset 0: the magic number is damaged; restore the file from a copy");
  const U64 offset = file_bytes - kFooterBytes + (footer ? kEndMagicAt : 0);
  return corrupt(strf("footer at offset %llu: the magic number is damaged; restore the file from a copy", offset));
}

// Hashes hold only within a major version, so versions come first. Both ends say the same number: one alone is damage.
Status check_version(const Header& header, const Footer& footer) {
  if (header.major != footer.major || header.minor != footer.minor) {
    return corrupt(strf("header at offset 8 says version %u.%u, the footer says %u.%u; one of them is damaged", header.major, header.minor,
                        footer.major, footer.minor));
  }
  if (header.major == kMajor) return {};
  return {Code::kUnsupported, strf("format version %u.%u; this library reads %u.x: install a version of headrace that reads it",
                                   header.major, header.minor, kMajor)};
}

Status check_header(Bytes head, const Header& header) {
  const auto expected = load_le<std::uint64_t>(head.data() + kHeaderHashAt);
  const std::uint64_t found = codec::hash(head.first(kHeaderHashAt), codec::place_seed(header.uuid, codec::Region::kHeader));
  if (expected != found) return hash_mismatch("header", 0, expected, found);
  const auto bytes = load_le<std::uint32_t>(head.data() + 12);
  if (bytes != kHeaderBytes)
    return corrupt(strf("header at offset 12: header bytes are %u; expected %llu", bytes, static_cast<U64>(kHeaderBytes)));
  if (header.chunk_samples == 0) return corrupt("header at offset 32: chunk samples are 0; expected at least 1");
  const Bytes reserved = head.subspan(kHeaderReservedAt, kHeaderHashAt - kHeaderReservedAt);
  const bool zero = std::all_of(reserved.begin(), reserved.end(), [](std::uint8_t byte) { return byte == 0; });
  if (!zero && header.minor <= kMinor) return corrupt("header at offset 40: reserved bytes are not zero");
  return {};
}

Status check_footer(Bytes foot, std::uint64_t file_bytes, const Header& header, const Footer& footer) {
  const std::uint64_t at = file_bytes - kFooterBytes;
  const std::uint64_t found = codec::hash(foot.first(kFooterHashAt), codec::place_seed(footer.uuid, codec::Region::kFooter));
  if (footer.hash != found) return hash_mismatch("footer", at, footer.hash, found);
  if (footer.uuid != header.uuid) return corrupt("header and footer name two shards: this file was put together from parts of others");
  if (footer.num_fields != header.num_fields) {
    return corrupt(strf("footer says %u fields, the header %u", footer.num_fields, header.num_fields));
  }
  if (footer.file_bytes == file_bytes) return {};
  const Code code = footer.file_bytes > file_bytes ? Code::kTruncated : Code::kCorrupt;
  return {code, strf("footer at offset %llu says %llu bytes; the file has %llu", static_cast<U64>(at), static_cast<U64>(footer.file_bytes),
                     static_cast<U64>(file_bytes))};
}

}  // namespace

std::array<std::uint8_t, kHeaderBytes> encode_header(const Header& header) {
  std::array<std::uint8_t, kHeaderBytes> out{};
  std::copy(kShardMagic.begin(), kShardMagic.end(), out.begin());
  store_le(out.data() + 8, header.major);
  store_le(out.data() + 10, header.minor);
  store_le(out.data() + 12, static_cast<std::uint32_t>(kHeaderBytes));
  std::copy(header.uuid.begin(), header.uuid.end(), out.begin() + 16);
  store_le(out.data() + 32, header.chunk_samples);
  store_le(out.data() + 36, header.num_fields);
  store_le(out.data() + kHeaderHashAt,
           codec::hash(Bytes(out).first(kHeaderHashAt), codec::place_seed(header.uuid, codec::Region::kHeader)));
  return out;
}

std::array<std::uint8_t, kFooterBytes> encode_footer(const Footer& footer) {
  ByteWriter writer;
  writer.write_bytes(kFooterMagic);
  writer.write(footer.major);
  writer.write(footer.minor);
  writer.write(footer.num_fields);
  writer.write_bytes(footer.uuid);
  for (const std::uint64_t value : {footer.file_bytes, footer.num_chunks, footer.num_samples, footer.index_offset, footer.index_bytes,
                                    footer.schema_offset, footer.schema_bytes, footer.index_hash, footer.schema_hash, footer.num_blocks}) {
    writer.write(value);
  }
  writer.write(codec::hash(writer.bytes(), codec::place_seed(footer.uuid, codec::Region::kFooter)));
  writer.write_bytes(kEndMagic);
  std::array<std::uint8_t, kFooterBytes> out{};
  std::copy(writer.bytes().begin(), writer.bytes().end(), out.begin());
  return out;
}

Status decode_ends(Bytes head, Bytes foot, std::uint64_t file_bytes, Header* header, Footer* footer) {
  HR_RETURN_IF_ERROR(check_magic(head, foot, file_bytes));
  parse_header(head, header);
  parse_footer(foot, footer);
  HR_RETURN_IF_ERROR(check_version(*header, *footer));
  HR_RETURN_IF_ERROR(check_header(head, *header));
  return check_footer(foot, file_bytes, *header, *footer);
}

Status too_short(Bytes head, std::uint64_t file_bytes) {
  const std::size_t known = std::min<std::size_t>(head.size(), kShardMagic.size());
  if (!std::equal(head.begin(), head.begin() + static_cast<std::ptrdiff_t>(known), kShardMagic.begin())) {
    return {Code::kInvalidArgument, "not a headrace shard: it starts with other bytes than \\x89HRS"};
  }
  return {Code::kTruncated,
          strf("unfinished or cut: %llu bytes, and header and footer alone take %llu; write it again or restore it from a copy",
               static_cast<U64>(file_bytes), static_cast<U64>(kHeaderBytes + kFooterBytes))};
}

}  // namespace headrace::format
