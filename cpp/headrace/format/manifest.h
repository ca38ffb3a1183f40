// The list of shards that make one version of a dataset. FORMAT.md section 7.
//
// Plain values. read / publish touch the directory; any thread or process may do so at the same time: publishing a version
// that exists answers kAlreadyExists, and a reader sees the old list or the new one.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "headrace/base/status.h"
#include "headrace/codec/checksum.h"
#include "headrace/format/schema.h"
#include "headrace/format/shard_reader.h"

namespace headrace::format {

struct Manifest {
  codec::Uuid uuid{};  // of the dataset; the same in all its versions
  std::uint64_t version = 1;
  std::int64_t created_ns = 0;
  Schema schema;
  std::vector<ShardEntry> shards;
  bool newer_minor = false;  // set by decode

  std::uint64_t num_samples() const;
  // XXH3-64 of the encoded manifest: tells two versions, or two datasets, apart.
  std::uint64_t fingerprint() const;
};

std::vector<std::uint8_t> encode_manifest(const Manifest& manifest);
// Errors: kTruncated, kCorrupt (another file than a manifest, too), kUnsupported, kLimitExceeded.
Result<Manifest> decode_manifest(Bytes bytes, const Limits& limits);

// Versions present in a directory, ascending. Errors: kNotFound (no such directory), kIoError.
Result<std::vector<std::uint64_t>> list_versions(const std::string& directory);
// Version 0 is the newest. Errors: kNotFound (no manifest: not a dataset, or never committed; or not that version, listing
// those that exist), and decode_manifest's, with the path named.
Result<Manifest> read_manifest(const std::string& directory, std::uint64_t version, const Limits& limits);
Status publish_manifest(const std::string& directory, const Manifest& manifest);
std::string manifest_name(std::uint64_t version);

}  // namespace headrace::format
