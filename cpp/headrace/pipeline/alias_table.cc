#include "headrace/pipeline/alias_table.h"

#include <algorithm>
#include <new>

#include "headrace/base/bytes.h"
#include "headrace/base/parallel.h"
#include "headrace/base/philox.h"
#include "headrace/codec/checksum.h"

namespace headrace::pipeline {
namespace {

constexpr std::size_t kHashedEntries = std::size_t{1} << 17;
constexpr std::uint64_t kStream = 0x77656967687473ull;  // "weights": keeps these draws apart from other streams of the same key
constexpr std::size_t kAhead = 32;                      // draws whose entries are fetched at once

}  // namespace

Status AliasTable::take_fingerprint(int threads) {
  std::vector<std::uint64_t> hashes(ceil_div(size_, kHashedEntries) + 1);
  hashes.back() = size_;
  HR_RETURN_IF_ERROR(parallel_for(hashes.size() - 1, threads, [&](std::size_t i) {
    const auto part = entries().subspan(i * kHashedEntries, std::min(kHashedEntries, size_ - i * kHashedEntries));
    hashes[i] = codec::hash({reinterpret_cast<const std::uint8_t*>(part.data()), part.size_bytes()}, i);
    return Status::ok();
  }));
  fingerprint_ = codec::hash({reinterpret_cast<const std::uint8_t*>(hashes.data()), hashes.size() * sizeof hashes[0]}, 0);
  return {};
}

Result<std::shared_ptr<const AliasTable>> AliasTable::from_entries(std::span<const std::uint64_t> entries, int threads) {
  if (entries.empty() || entries.size() > kMaxWeights) {
    return Status(Code::kInvalidArgument, strf("a table of %zu weights; expected 1 to 2^31", entries.size()));
  }
  std::shared_ptr<AliasTable> table(new AliasTable());
  table->size_ = entries.size();
  table->entries_.reset(new (std::nothrow) std::uint64_t[entries.size()]);
  if (table->entries_ == nullptr) return Status(Code::kOutOfMemory, strf("a table of %zu weights: out of memory", entries.size()));
  for (std::size_t i = 0; i < entries.size(); ++i) {
    if ((entries[i] & 0xFFFFFFFFu) >= entries.size()) return Status(Code::kInvalidArgument, strf("entry %zu points outside the table", i));
    table->entries_[i] = entries[i];
  }
  HR_RETURN_IF_ERROR(table->take_fingerprint(threads));
  return std::shared_ptr<const AliasTable>(std::move(table));
}

void AliasTable::draw(std::uint64_t key, std::uint64_t begin, std::span<std::uint64_t> out) const {
  const Philox philox{{key, kStream}};
  std::array<std::uint64_t, kAhead> bins, chances;
  for (std::size_t done = 0; done < out.size();) {
    const std::size_t count = std::min(kAhead, out.size() - done);
    // A block of four words serves two positions: 2b and 2b + 1.
    for (std::size_t i = 0; i < count;) {
      const std::uint64_t position = begin + done + i;
      const std::array<std::uint64_t, 4> words = philox.block(position / 2);
      for (std::uint64_t half = position % 2; half < 2 && i < count; ++half, ++i) {
        bins[i] = static_cast<std::uint64_t>(static_cast<unsigned __int128>(words[2 * half]) * size_ >> 64);
        chances[i] = words[2 * half + 1] >> 32;
        __builtin_prefetch(&entries_[bins[i]]);
      }
    }
    for (std::size_t i = 0; i < count; ++i) {
      const std::uint64_t entry = entries_[bins[i]];
      out[done + i] = chances[i] < entry >> 32 ? bins[i] : entry & 0xFFFFFFFFu;
    }
    done += count;
  }
}

std::vector<std::uint64_t> AliasTable::masses() const {
  std::vector<std::uint64_t> out(size_);
  for (std::size_t i = 0; i < size_; ++i) {
    const std::uint64_t own = entries_[i] >> 32;
    out[i] += own;
    out[entries_[i] & 0xFFFFFFFFu] += kBin - own;
  }
  return out;
}

}  // namespace headrace::pipeline
