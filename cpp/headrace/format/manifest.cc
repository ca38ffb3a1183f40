#include "headrace/format/manifest.h"

#include <algorithm>
#include <cstring>

#include "headrace/format/extensions.h"
#include "headrace/format/layout.h"
#include "headrace/format/utf8.h"

namespace headrace::format {
namespace {

using U64 = unsigned long long;

// Up to and with the length of the schema; the smallest shard entry; the hash at the end.
constexpr std::uint64_t kFixedBytes = 64;
constexpr std::uint64_t kMinShardBytes = 2 + 16 + 8 + 8 + 4 + 4 + 8;
constexpr std::uint64_t kHashBytes = 8;

Status corrupt(const std::string& what) { return {Code::kCorrupt, "manifest: " + what}; }

Bytes bytes_of(const std::string& text) { return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()}; }

void read_uuid(ByteReader& reader, codec::Uuid* out) {
  const Bytes raw = reader.read_bytes(out->size());
  std::copy(raw.begin(), raw.end(), out->begin());
}

std::uint64_t hash_of(Bytes body, const codec::Uuid& uuid, std::uint64_t version) {
  return codec::hash(body, codec::place_seed(uuid, codec::Region::kManifest, 0, version));
}

// Magic, version and hash: what says that the bytes are a whole manifest that this library reads.
Status check_envelope(Bytes bytes, const Limits& limits) {
  const std::size_t known = std::min(bytes.size(), kManifestMagic.size());
  // A manifest is found by its name, so that whatever else stands there is damage.
  if (!std::equal(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(known), kManifestMagic.begin())) {
    return corrupt("offset 0: not a headrace manifest: it starts with other bytes than \\x89HRM; restore it from a copy");
  }
  if (bytes.size() < kFixedBytes + kHashBytes) {
    return {Code::kTruncated, strf("manifest: %zu bytes; it takes at least %llu: it was cut, restore it from a copy", bytes.size(),
                                   static_cast<U64>(kFixedBytes + kHashBytes))};
  }
  if (bytes.size() > limits.manifest_bytes) {
    return {Code::kLimitExceeded, strf("manifest: %zu bytes; the limit is %llu", bytes.size(), static_cast<U64>(limits.manifest_bytes))};
  }
  codec::Uuid uuid;
  std::copy_n(bytes.begin() + 16, uuid.size(), uuid.begin());
  const Bytes body = bytes.first(bytes.size() - kHashBytes);
  const auto version = load_le<std::uint64_t>(bytes.data() + 32);
  const auto expected = load_le<std::uint64_t>(bytes.data() + body.size());
  const auto major = load_le<std::uint16_t>(bytes.data() + 8);
  if (major != kMajor) {
    // Another major may hash otherwise. If the hash is right for ours, it is the number that is damaged.
    std::vector<std::uint8_t> ours(body.begin(), body.end());
    store_le(ours.data() + 8, kMajor);
    if (hash_of(ours, uuid, version) == expected) return corrupt("offset 8: the format version is damaged; restore it from a copy");
    return {Code::kUnsupported, strf("manifest: format version %u.%u; this library reads %u.x: install a version of headrace that reads it",
                                     major, load_le<std::uint16_t>(bytes.data() + 10), kMajor)};
  }
  const std::uint64_t found = hash_of(body, uuid, version);
  if (found == expected) return {};
  return corrupt(strf("checksum is %016llx, its %zu bytes give %016llx; it is damaged or cut, restore it from a copy",
                      static_cast<U64>(expected), bytes.size(), static_cast<U64>(found)));
}

Status check_entry(const ShardEntry& entry, std::size_t number) {
  const std::string& name = entry.file_name;
  const bool bad = name.empty() || name[0] == '.' || name.find('/') != std::string::npos || name.find('\0') != std::string::npos ||
                   !is_utf8(bytes_of(name));
  if (bad)
    return corrupt(strf("shard %zu: its file name is not one: expected UTF-8 without '/' and NUL that does not start with '.'", number));
  if (entry.chunk_samples == 0) return corrupt(strf("shard %zu ('%s'): chunk samples are 0; expected at least 1", number, name.c_str()));
  return {};
}

Status read_shards(ByteReader& reader, std::uint32_t count, const Limits& limits, Manifest* out) {
  if (count > limits.shards) return {Code::kLimitExceeded, strf("manifest: %u shards; the limit is %u", count, limits.shards)};
  if (count > reader.remaining() / kMinShardBytes)
    return corrupt(strf("%u shards do not fit the %zu bytes left", count, reader.remaining()));
  out->shards.resize(count);
  for (std::size_t i = 0; i < count; ++i) {
    ShardEntry& entry = out->shards[i];
    entry.file_name = reader.read_string(reader.read<std::uint16_t>());
    read_uuid(reader, &entry.uuid);
    entry.file_bytes = reader.read<std::uint64_t>();
    entry.num_samples = reader.read<std::uint64_t>();
    entry.chunk_samples = reader.read<std::uint32_t>();
    const auto reserved = reader.read<std::uint32_t>();
    entry.footer_hash = reader.read<std::uint64_t>();
    if (!reader.ok()) return corrupt(strf("shard %zu reaches beyond the end", i));
    if (reserved != 0 && !out->newer_minor) return corrupt(strf("shard %zu: reserved bytes are not zero", i));
    HR_RETURN_IF_ERROR(check_entry(entry, i));
  }
  return {};
}

}  // namespace

std::uint64_t Manifest::num_samples() const {
  std::uint64_t samples = 0;
  for (const ShardEntry& shard : shards) samples += shard.num_samples;
  return samples;
}

std::uint64_t Manifest::fingerprint() const { return codec::hash(encode_manifest(*this), 0); }

std::vector<std::uint8_t> encode_manifest(const Manifest& manifest) {
  ByteWriter out;
  out.write_bytes(kManifestMagic);
  out.write(kMajor);
  out.write(minor_of(manifest.schema));
  out.write(std::uint32_t{0});
  out.write_bytes(manifest.uuid);
  out.write(manifest.version);
  out.write(manifest.created_ns);
  out.write(manifest.num_samples());
  out.write(static_cast<std::uint32_t>(manifest.shards.size()));
  const std::vector<std::uint8_t> schema = encode_schema(manifest.schema);
  out.write(static_cast<std::uint32_t>(schema.size()));
  out.write_bytes(schema);
  for (const ShardEntry& shard : manifest.shards) {
    out.write(static_cast<std::uint16_t>(shard.file_name.size()));
    out.write_string(shard.file_name);
    out.write_bytes(shard.uuid);
    out.write(shard.file_bytes);
    out.write(shard.num_samples);
    out.write(shard.chunk_samples);
    out.write(std::uint32_t{0});
    out.write(shard.footer_hash);
  }
  out.write(std::uint32_t{0});  // extensions
  out.write(hash_of(out.bytes(), manifest.uuid, manifest.version));
  return std::move(out.bytes());
}

Result<Manifest> decode_manifest(Bytes bytes, const Limits& limits) {
  HR_RETURN_IF_ERROR(check_envelope(bytes, limits));
  ByteReader reader(bytes.first(bytes.size() - kHashBytes));
  reader.read_bytes(kManifestMagic.size() + 2);
  Manifest manifest;
  manifest.newer_minor = reader.read<std::uint16_t>() > kMinor;
  if (reader.read<std::uint32_t>() != 0 && !manifest.newer_minor) return corrupt("offset 12: reserved bytes are not zero");
  read_uuid(reader, &manifest.uuid);
  manifest.version = reader.read<std::uint64_t>();
  manifest.created_ns = reader.read<std::int64_t>();
  const auto samples = reader.read<std::uint64_t>();
  const auto num_shards = reader.read<std::uint32_t>();
  const auto schema_bytes = reader.read<std::uint32_t>();
  const Bytes schema = reader.read_bytes(schema_bytes);
  if (!reader.ok()) return corrupt(strf("a schema of %u bytes reaches beyond the end", schema_bytes));
  Result<Schema> decoded = decode_schema(schema, limits);
  if (!decoded) return decoded.status().with_context("manifest");
  manifest.schema = std::move(decoded).value();
  HR_RETURN_IF_ERROR(read_shards(reader, num_shards, limits, &manifest));
  const Status extensions = skip_extensions(reader);
  if (extensions.code() == Code::kTruncated) return corrupt(extensions.message());
  HR_RETURN_IF_ERROR(extensions.with_context("manifest"));
  if (reader.remaining() != 0) return corrupt(strf("%zu bytes stand between its extensions and its hash", reader.remaining()));
  if (manifest.version == 0) return corrupt("version is 0; expected at least 1");
  std::uint64_t sum = 0;
  for (const ShardEntry& shard : manifest.shards) {
    if (!checked_add(sum, shard.num_samples, &sum)) return corrupt("the samples of its shards do not fit 64 bits");
  }
  if (sum != samples) return corrupt(strf("it says %llu samples; its shards have %llu", static_cast<U64>(samples), static_cast<U64>(sum)));
  return manifest;
}

}  // namespace headrace::format
