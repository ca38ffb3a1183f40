#include "headrace/pipeline/decode_rate.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <thread>
#include <vector>

#include "headrace/base/clock.h"

namespace headrace::pipeline {
namespace {

using format::BlockRef;
using format::PageRef;
using format::Section;
using format::SectionRef;

struct Stored {
  const format::Shard* shard;
  io::BlockId id;
  BlockRef ref;
  const std::uint8_t* bytes;
};

// The blocks of one field, found and touched ahead of the clock.
class BlockFinder {
 public:
  BlockFinder(const Dataset& dataset, std::uint32_t field) : dataset_(dataset), field_(field) {}

  // Appends the values blocks of one batch, each once, by place.
  Status find(std::span<const std::uint64_t> samples, std::vector<Stored>& out) {
    const std::size_t first = out.size();
    for (const std::uint64_t sample : samples) HR_RETURN_IF_ERROR(find_sample(sample, out));
    const auto begin = out.begin() + static_cast<std::ptrdiff_t>(first);
    std::sort(begin, out.end(), [](const Stored& a, const Stored& b) { return a.bytes < b.bytes; });
    out.erase(std::unique(begin, out.end(), [](const Stored& a, const Stored& b) { return a.bytes == b.bytes; }), out.end());
    return {};
  }

 private:
  Status find_sample(std::uint64_t sample, std::vector<Stored>& out) {
    const Location at = dataset_.locate(sample);
    HR_ASSIGN_OR_RETURN(io::ShardSource* const source, dataset_.source(at.shard));
    if (!source->is_mapped())
      return {Code::kInvalidArgument, "measure the decode rate: only a mapped dataset (reader='mmap') holds blocks in memory"};
    const PageRef page = source->shard().page(at.chunk, field_);
    const SectionRef& values = page.section(Section::kValues);
    const format::Field& field = source->shard().schema().fields[field_];
    std::uint64_t begin = at.row * field.row_bytes(), end = begin + field.row_bytes();
    if (field.is_variable()) {
      HR_RETURN_IF_ERROR(offset(*source, page, at, at.row, &begin));
      HR_RETURN_IF_ERROR(offset(*source, page, at, at.row + 1ull, &end));
    }
    if (begin > end || end > values.decoded_bytes)
      return {Code::kCorrupt,
              strf("measure the decode rate: sample %llu: the offsets are damaged", static_cast<unsigned long long>(sample))};
    for (std::uint64_t b = begin / values.block_bytes; begin < end && b <= (end - 1) / values.block_bytes; ++b) {
      const io::BlockId id{at.chunk, field_, values.first_block + static_cast<std::uint32_t>(b)};
      HR_RETURN_IF_ERROR(source->touch(id, page, counters_));
      const BlockRef ref = format::Shard::block(page, {source->mapped() + page.offset, page.num_blocks * 24ull}, id.block);
      out.push_back({&source->shard(), id, ref, source->mapped() + ref.offset});
    }
    return {};
  }

  Status offset(io::ShardSource& source, const PageRef& page, const Location& at, std::uint64_t number, std::uint64_t* out) {
    const SectionRef& offsets = page.section(Section::kOffsets);
    const std::uint64_t place = number * page.offset_width;
    HR_RETURN_IF_ERROR(
        source.touch({at.chunk, field_, offsets.first_block + static_cast<std::uint32_t>(place / offsets.block_bytes)}, page, counters_));
    const std::uint8_t* const from = source.mapped() + offsets.offset + place;
    *out = page.offset_width == 4 ? load_le<std::uint32_t>(from) : load_le<std::uint64_t>(from);
    return {};
  }

  const Dataset& dataset_;
  const std::uint32_t field_;
  io::Counters counters_;
};

Status decode(const Stored& block, bool with_filters, MutableBytes out, std::vector<std::uint8_t>& scratch) {
  const Bytes stored{block.bytes, block.ref.stored_bytes};
  if (with_filters) return block.shard->decode_block(block.id.chunk, block.id.field, block.id.block, block.ref, stored, out, scratch);
  return block.shard->decode_frame(block.id.chunk, block.id.field, block.id.block, block.ref, stored, out);
}

}  // namespace

Result<DecodeRate> measure_decode_rate(const Dataset& dataset, std::uint32_t field, std::span<const std::uint64_t> samples,
                                       std::uint64_t batch_size, int threads, bool with_filters) {
  if (dataset.table() != nullptr) return Status(Code::kInvalidArgument, "measure the decode rate: a table in memory has no blocks");
  if (field >= dataset.schema().fields.size()) return Status(Code::kInvalidArgument, strf("there is no field number %u", field));
  if (batch_size == 0 || threads < 1)
    return Status(Code::kInvalidArgument, "measure the decode rate: expected a batch_size and threads of at least 1");
  for (const std::uint64_t sample : samples) {
    if (sample >= dataset.num_samples())
      return Status(Code::kInvalidArgument, strf("there is no sample %llu", static_cast<unsigned long long>(sample)));
  }
  std::vector<Stored> blocks;
  std::vector<std::size_t> batch_ends;
  std::uint64_t largest = 0;
  BlockFinder finder(dataset, field);
  for (std::uint64_t from = 0; from < samples.size(); from += batch_size) {
    const std::size_t first = blocks.size();
    HR_RETURN_IF_ERROR(finder.find(samples.subspan(from, std::min<std::uint64_t>(batch_size, samples.size() - from)), blocks));
    std::uint64_t bytes = 0;
    for (std::size_t i = first; i < blocks.size(); ++i) bytes += blocks[i].ref.decoded_bytes;
    largest = std::max(largest, bytes);
    batch_ends.push_back(blocks.size());
  }
  DecodeRate rate;
  rate.blocks = blocks.size();
  for (const Stored& block : blocks) {
    rate.decoded_bytes += block.ref.decoded_bytes;
    rate.stored_bytes += block.ref.stored_bytes;
  }
  std::vector<Status> failures(static_cast<std::size_t>(threads));
  std::vector<std::vector<std::uint8_t>> buffers(failures.size(), std::vector<std::uint8_t>(largest));
  std::atomic<std::size_t> next{0};
  const auto work = [&](std::size_t thread) {
    std::vector<std::uint8_t> scratch;
    for (std::size_t batch; failures[thread].is_ok() && (batch = next.fetch_add(1)) < batch_ends.size();) {
      std::uint8_t* to = buffers[thread].data();
      for (std::size_t i = batch == 0 ? 0 : batch_ends[batch - 1]; i < batch_ends[batch]; ++i) {
        failures[thread] = decode(blocks[i], with_filters, {to, blocks[i].ref.decoded_bytes}, scratch);
        if (!failures[thread].is_ok()) break;
        to += blocks[i].ref.decoded_bytes;
      }
    }
  };
  const std::int64_t start = now_ns();
  std::vector<std::thread> others;
  for (std::size_t i = 1; i < failures.size(); ++i) others.emplace_back(work, i);
  work(0);
  for (std::thread& thread : others) thread.join();
  rate.seconds = static_cast<double>(now_ns() - start) * 1e-9;
  for (const Status& failure : failures) HR_RETURN_IF_ERROR(failure);
  return rate;
}

}  // namespace headrace::pipeline
