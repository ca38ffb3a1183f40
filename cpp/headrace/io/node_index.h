// The index at the end of a shared segment: which blocks it holds, and where. Written by one process, not trusted by another.
//
// Plain functions over bytes; any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "headrace/base/bytes.h"
#include "headrace/codec/checksum.h"

namespace headrace::io {

struct NodeKey {
  codec::Uuid shard{};
  std::uint64_t block = 0;
  bool operator==(const NodeKey&) const = default;
};

struct NodeEntry {
  NodeKey key;
  std::uint64_t offset = 0, size = 0;  // in the segment
  std::uint64_t hash = 0;              // XXH3-64 of the block, seeded by its place
};

std::uint64_t node_hash(const NodeKey& key, Bytes block);
// Bytes that an index of `count` entries takes.
std::uint64_t node_index_bytes(std::uint64_t count);
// Writes the index so that it ends at segment.size().
void write_node_index(const std::vector<NodeEntry>& entries, MutableBytes segment);
// None if it is damaged, or any entry lies outside.
std::optional<std::vector<NodeEntry>> read_node_index(Bytes segment);

}  // namespace headrace::io
