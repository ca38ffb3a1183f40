#include "headrace/format/storage_choice.h"

#include <algorithm>
#include <vector>

namespace headrace::format {
namespace {

// A raw block is what one random read must fetch and hash, so it is small. A compressed one must be decoded whole, but
// codecs find less to share in less: 64 KiB is the window of LZ4 and keeps zstd within a few percent of its best.
constexpr std::uint64_t kRawBlockBytes = 16u << 10;
constexpr std::uint64_t kCompressedBlockBytes = 64u << 10;
constexpr std::uint64_t kMaxBlockBytes = 1u << 20;

// With a dictionary a block needs no window of its own: what is left is the cost of a frame, so blocks are as small as samples are.
constexpr std::uint64_t kDictionaryBlockBytes = 2u << 10;
constexpr std::size_t kMaxDictionaryBytes = 64u << 10;  // digested, it stays in the second-level cache beside a block
constexpr std::size_t kTrainingShare = 32;              // bytes to learn from for a byte of it
constexpr std::size_t kMaxTrainingBytes = 8u << 20;
constexpr std::size_t kMinTrainingBytes = 64u << 10;
constexpr std::size_t kMinTrainingBlocks = 8;

constexpr std::uint64_t kSampleBlocks = 16;

std::vector<Bytes> sample_blocks(Bytes values, std::uint64_t block_bytes) {
  const std::uint64_t blocks = ceil_div(values.size(), block_bytes);
  const std::uint64_t taken = std::min(blocks, kSampleBlocks);
  std::vector<Bytes> out;
  for (std::uint64_t i = 0; i < taken; ++i) {
    const std::uint64_t at = i * blocks / taken * block_bytes;
    out.push_back(values.subspan(at, std::min(block_bytes, values.size() - at)));
  }
  return out;
}

struct Candidate {
  codec::Codec codec = codec::Codec::kNone;
  codec::Filter filter = codec::Filter::kNone;
  std::uint64_t bytes = 0;
};

Result<std::uint64_t> stored_bytes(const Candidate& candidate, std::uint32_t element_bytes, const std::vector<Bytes>& blocks) {
  std::uint64_t total = 0;
  std::vector<std::uint8_t> filtered, frame;
  for (Bytes block : blocks) {
    if (candidate.filter != codec::Filter::kNone) {
      filtered.resize(block.size());
      codec::apply_filter(candidate.filter, element_bytes, block, filtered);
    }
    frame.clear();
    const Bytes raw = candidate.filter == codec::Filter::kNone ? block : Bytes(filtered);
    HR_RETURN_IF_ERROR(codec::encode(candidate.codec, codec::default_level(candidate.codec), raw, frame));
    total += std::min(frame.size(), block.size());
  }
  return total;
}

bool is_number(const Field& field) {
  const bool dates = field.dtype == DType::kDateTime64 || field.dtype == DType::kTimeDelta64;
  return field.kind <= Kind::kRagged && (field.dtype <= DType::kComplex128 || dates);
}

// The smallest of one codec's filters; the simpler one where two are equal.
Result<Candidate> best_filter(codec::Codec codec, const Field& field, const std::vector<Bytes>& blocks) {
  std::vector<codec::Filter> filters = {codec::Filter::kNone};
  if (is_number(field) && field.element_bytes() > 1) filters.insert(filters.end(), {codec::Filter::kShuffle, codec::Filter::kDeltaShuffle});
  Candidate best;
  for (const codec::Filter filter : filters) {
    Candidate candidate{codec, filter, 0};
    HR_ASSIGN_OR_RETURN(candidate.bytes, stored_bytes(candidate, field.element_bytes(), blocks));
    if (best.codec == codec::Codec::kNone || candidate.bytes < best.bytes) best = candidate;
  }
  return best;
}

}  // namespace

Result<std::shared_ptr<const codec::Dictionary>> train_dictionary(const ColumnChunk& column, Field& field) {
  if (!field.dictionary) return std::shared_ptr<const codec::Dictionary>();
  const Bytes values = Bytes(column.values).first(std::min<std::size_t>(column.values.size(), kMaxTrainingBytes));
  std::vector<std::size_t> sizes;
  std::vector<std::uint8_t> samples(values.size());
  for (std::size_t at = 0; at < values.size(); at += field.block_bytes) {
    sizes.push_back(std::min<std::size_t>(field.block_bytes, values.size() - at));
    const Bytes block = values.subspan(at, sizes.back());
    const MutableBytes to = MutableBytes(samples).subspan(at, sizes.back());
    if (field.filter == codec::Filter::kNone) {
      std::copy(block.begin(), block.end(), to.begin());
    } else {
      codec::apply_filter(field.filter, field.element_bytes(), block, to);
    }
  }
  if (sizes.size() >= kMinTrainingBlocks && values.size() >= kMinTrainingBytes) {
    const std::size_t size = std::min(kMaxDictionaryBytes, values.size() / kTrainingShare);
    Result<std::shared_ptr<const codec::Dictionary>> trained = codec::Dictionary::train(samples, sizes, size);
    if (trained || trained.status().code() == Code::kOutOfMemory) return trained;
  }
  field.dictionary = false;
  return std::shared_ptr<const codec::Dictionary>();
}

std::uint32_t default_block_bytes(const Field& field) {
  const std::uint64_t target = field.codec == codec::Codec::kNone ? kRawBlockBytes
                               : field.dictionary                 ? kDictionaryBlockBytes
                                                                  : kCompressedBlockBytes;
  // Whole rows, so that a random read of one touches one block; filters want whole elements in any case.
  const std::uint64_t row = std::max<std::uint64_t>(field.row_bytes(), 1);
  if (row <= target) return static_cast<std::uint32_t>(target / row * row);
  const std::uint64_t element = std::max<std::uint64_t>(field.element_bytes(), 1);
  const std::uint64_t large = std::min(row, std::max(kMaxBlockBytes, element));
  return static_cast<std::uint32_t>(large / element * element);
}

Status choose_codec(const ColumnChunk& column, Field& field) {
  field.codec = codec::Codec::kNone;
  field.filter = codec::Filter::kNone;
  field.level = 0;
  if (field.kind == Kind::kImage || column.values.empty()) return {};  // Encoded images are compressed already.
  Field compressed = field;
  compressed.codec = codec::Codec::kZstd;
  const std::vector<Bytes> blocks = sample_blocks(column.values, default_block_bytes(compressed));
  std::uint64_t raw = 0;
  for (const Bytes block : blocks) raw += block.size();
  HR_ASSIGN_OR_RETURN(const Candidate lz4, best_filter(codec::Codec::kLz4, field, blocks));
  HR_ASSIGN_OR_RETURN(const Candidate zstd, best_filter(codec::Codec::kZstd, field, blocks));
  // A third must be saved to be worth decoding at all; LZ4 decodes several times faster, which is worth 15 %, or 2 % of the raw bytes
  // where both make next to nothing of them.
  if (std::min(lz4.bytes, zstd.bytes) * 3 > raw * 2) return {};
  const Candidate& best = lz4.bytes * 100 <= zstd.bytes * 115 + raw * 2 ? lz4 : zstd;
  field.codec = best.codec;
  field.filter = best.filter;
  field.level = codec::default_level(best.codec);
  return {};
}

}  // namespace headrace::format
