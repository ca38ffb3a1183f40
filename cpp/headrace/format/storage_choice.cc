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

}  // namespace headrace::format
