// The two fixed structures at the ends of a shard file. FORMAT.md section 3.
//
// Plain values; owns nothing.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "headrace/base/bytes.h"
#include "headrace/base/status.h"
#include "headrace/codec/checksum.h"
#include "headrace/format/layout.h"

namespace headrace::format {

struct Header {
  std::uint16_t major = kMajor;
  std::uint16_t minor = kMinor;
  codec::Uuid uuid{};
  std::uint32_t chunk_samples = 1;
  std::uint32_t num_fields = 0;
};

struct Footer {
  std::uint16_t major = kMajor;
  std::uint16_t minor = kMinor;
  std::uint32_t num_fields = 0;
  codec::Uuid uuid{};
  std::uint64_t file_bytes = 0;
  std::uint64_t num_chunks = 0;
  std::uint64_t num_samples = 0;
  std::uint64_t index_offset = 0, index_bytes = 0;
  std::uint64_t schema_offset = 0, schema_bytes = 0;
  std::uint64_t index_hash = 0, schema_hash = 0;
  std::uint64_t num_blocks = 0;
  std::uint64_t hash = 0;  // of the footer itself
};

std::array<std::uint8_t, kHeaderBytes> encode_header(const Header& header);
std::array<std::uint8_t, kFooterBytes> encode_footer(const Footer& footer);  // computes the hash

// Reads both ends of a file of `file_bytes` and checks them against themselves and each other.
// REQUIRES: head has kHeaderBytes, foot has kFooterBytes.
// Errors: kInvalidArgument (not a shard), kTruncated (unfinished or cut), kUnsupported (another major), kCorrupt.
Status decode_ends(Bytes head, Bytes foot, std::uint64_t file_bytes, Header* header, Footer* footer);

// What a file too short for both ends is: the beginning of a shard (kTruncated) or something else (kInvalidArgument).
Status too_short(Bytes head, std::uint64_t file_bytes);

}  // namespace headrace::format
