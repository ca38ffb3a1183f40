#include "headrace/io/node_index.h"

#include <algorithm>
#include <cstring>

namespace headrace::io {
namespace {

constexpr std::uint64_t kMagic = 0x31784465646F4E52ull;
constexpr std::uint64_t kEntryBytes = 48;
constexpr std::uint64_t kFooterBytes = 24;  // hash of the entries, their number, magic

}  // namespace

std::uint64_t node_hash(const NodeKey& key, Bytes block) {
  return codec::hash(block, codec::place_seed(key.shard, codec::Region::kPage, 0xFFFFFFFFu, key.block));
}

std::uint64_t node_index_bytes(std::uint64_t count) { return count * kEntryBytes + kFooterBytes; }

void write_node_index(const std::vector<NodeEntry>& entries, MutableBytes segment) {
  std::uint8_t* const begin = segment.data() + segment.size() - node_index_bytes(entries.size());
  std::uint8_t* at = begin;
  for (const NodeEntry& entry : entries) {
    std::copy(entry.key.shard.begin(), entry.key.shard.end(), at);
    store_le<std::uint64_t>(at + 16, entry.key.block);
    store_le<std::uint64_t>(at + 24, entry.offset);
    store_le<std::uint64_t>(at + 32, entry.size);
    store_le<std::uint64_t>(at + 40, entry.hash);
    at += kEntryBytes;
  }
  store_le<std::uint64_t>(at, codec::hash({begin, static_cast<std::size_t>(at - begin)}, kMagic));
  store_le<std::uint64_t>(at + 8, entries.size());
  store_le<std::uint64_t>(at + 16, kMagic);
}

std::optional<std::vector<NodeEntry>> read_node_index(Bytes segment) {
  if (segment.size() < kFooterBytes) return std::nullopt;
  const std::uint8_t* const footer = segment.data() + segment.size() - kFooterBytes;
  const std::uint64_t count = load_le<std::uint64_t>(footer + 8);
  const std::uint64_t most = (segment.size() - kFooterBytes) / kEntryBytes;
  if (load_le<std::uint64_t>(footer + 16) != kMagic || count > most) return std::nullopt;
  const Bytes table{footer - count * kEntryBytes, count * kEntryBytes};
  if (codec::hash(table, kMagic) != load_le<std::uint64_t>(footer)) return std::nullopt;
  const std::uint64_t end = segment.size() - kFooterBytes - table.size();
  std::vector<NodeEntry> out(count);
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::uint8_t* const at = table.data() + i * kEntryBytes;
    NodeEntry& entry = out[i];
    std::copy_n(at, entry.key.shard.size(), entry.key.shard.begin());
    entry.key.block = load_le<std::uint64_t>(at + 16);
    entry.offset = load_le<std::uint64_t>(at + 24);
    entry.size = load_le<std::uint64_t>(at + 32);
    entry.hash = load_le<std::uint64_t>(at + 40);
    if (entry.offset > end || entry.size > end - entry.offset) return std::nullopt;
  }
  return out;
}

}  // namespace headrace::io
