#include "headrace/format/verify_chunk.h"

#include <algorithm>
#include <bit>
#include <cinttypes>
#include <cstring>

#include "headrace/format/layout.h"
#include "headrace/format/page_layout.h"
#include "headrace/format/statistics.h"
#include "headrace/format/utf8.h"

namespace headrace::format {
namespace {

// Enough for one request to keep a device busy. Measured on cached files, mapping is 1.1 to 1.8 times as fast as reading
// into a buffer that stays in the processor's cache, and nothing is allocated; announcing a window before (MADV_WILLNEED)
// costs a fifth of that and gains nothing on cold ones, where the kernel reads ahead by itself.
constexpr std::uint64_t kWindowBytes = 2u << 20;
// A page that is garbage throughout says so this many times, and once more for the rest.
constexpr std::size_t kMaxPageDamages = 64;

bool all_zero(Bytes bytes) {
  std::uint8_t any = 0;
  for (const std::uint8_t byte : bytes) any |= byte;
  return any == 0;
}

}  // namespace

void Window::open(const storage::Mapping* file, std::uint64_t end) {
  file_ = file;
  end_ = end;
  ready_begin_ = ready_end_ = 0;
}

Result<Bytes> Window::view(std::uint64_t offset, std::uint64_t length) {
  if (offset < ready_begin_ || offset + length > ready_end_) {
    std::uint64_t ahead = std::max(length, std::min(kWindowBytes, end_ - offset));
    Status status = file_->populate(offset, ahead);
    if (!status.is_ok() && ahead > length) {  // What is unreadable may lie further on.
      ahead = length;
      status = file_->populate(offset, ahead);
    }
    if (!status.is_ok()) return status;
    ready_begin_ = offset;
    ready_end_ = offset + ahead;
  }
  return file_->bytes().subspan(offset, length);
}

void ChunkChecker::check(const Shard& shard, const storage::Mapping& file, std::uint64_t chunk, std::vector<Damage>* damages) {
  shard_ = &shard;
  chunk_ = chunk;
  damages_ = damages;
  const std::uint64_t end = shard.chunk_offset(chunk) + shard.chunk_bytes(chunk);
  window_.open(&file, end);
  std::uint64_t at = shard.chunk_offset(chunk);
  for (field_ = 0; field_ < shard.schema().fields.size(); ++field_) {
    page_ = shard.page(chunk, field_);
    page_damages_ = 0;
    check_padding(at, page_.offset);
    check_page();
    at = page_.offset + page_.stored_bytes;
  }
  --field_;  // The bytes after the last page are its own.
  check_padding(at, end);
}

void ChunkChecker::report(std::uint64_t offset, std::uint64_t bytes, Status status) {
  if (++page_damages_ <= kMaxPageDamages) {
    damages_->push_back({shard_->path(), static_cast<std::int64_t>(chunk_), field().name, offset, bytes, std::move(status)});
  } else if (page_damages_ == kMaxPageDamages + 1) {
    damages_->push_back({shard_->path(), static_cast<std::int64_t>(chunk_), field().name, offset,
                         page_.offset + page_.stored_bytes - offset, wrong("more of this page is damaged; it is not listed")});
  }
}

Status ChunkChecker::wrong(const std::string& what) const { return {Code::kCorrupt, shard_->describe(chunk_, field_) + ": " + what}; }

std::uint64_t ChunkChecker::offset_at(std::uint64_t i) const {
  return page_.offset_width == 4 ? load_le<std::uint32_t>(offsets_.data() + i * 4) : load_le<std::uint64_t>(offsets_.data() + i * 8);
}

void ChunkChecker::check_padding(std::uint64_t begin, std::uint64_t end) {
  if (begin == end) return;
  const Result<Bytes> bytes = window_.view(begin, end - begin);
  if (!bytes) return report(begin, end - begin, bytes.status());
  if (!all_zero(*bytes))
    report(begin, end - begin, wrong(strf("the %" PRIu64 " bytes of padding at offset %" PRIu64 " are not zero", end - begin, begin)));
}

void ChunkChecker::check_page() {
  if (!check_table()) return;  // Without it, no block can be told from another.
  for (int s = 0; s < 3; ++s) {
    const auto which = static_cast<Section>(s);
    const SectionRef& section = page_.section(which);
    bool good = true;
    if (which == Section::kValidity) {
      good = has_validity_ = check_section(which, &validity_);
      if (good && section.num_blocks > 0) check_validity();
    } else if (which == Section::kOffsets) {
      good = has_offsets_ = check_section(which, &offsets_);
      if (good && section.num_blocks > 0) check_offsets();
    } else {
      check_values();
    }
    const std::uint64_t end = section.offset + section.decoded_bytes;
    if (which != Section::kValues) check_padding(end, round_up(end, kPageAlignment));
  }
}

bool ChunkChecker::check_table() {
  const std::uint64_t bytes = page_.num_blocks * kBlockEntryBytes;
  const Result<Bytes> table = window_.view(page_.offset, bytes);
  Status status = table.status();
  if (table) {
    table_.assign(table->begin(), table->end());
    status = shard_->check_table(chunk_, field_, table_);
  }
  if (!status.is_ok()) report(page_.offset, bytes, status);
  if (table) check_padding(page_.offset + bytes, page_.offset + round_up(bytes, kPageAlignment));
  return status.is_ok();
}

bool ChunkChecker::check_section(Section which, std::vector<std::uint8_t>* copy) {
  const SectionRef& section = page_.section(which);
  copy->clear();
  bool good = true;
  for (std::uint32_t b = section.first_block; b < section.first_block + section.num_blocks; ++b) {
    const BlockRef ref = Shard::block(page_, table_, b);
    const Result<Bytes> stored = window_.view(ref.offset, ref.stored_bytes);
    const Status status = stored ? shard_->check_block(chunk_, field_, b, ref, *stored) : stored.status();
    if (status.is_ok()) {
      copy->insert(copy->end(), stored->begin(), stored->end());
    } else {
      report(ref.offset, ref.stored_bytes, status);
      good = false;
    }
  }
  return good;
}

void ChunkChecker::check_validity() {
  const SectionRef& section = page_.section(Section::kValidity);
  std::uint64_t present = 0;
  for (const std::uint8_t byte : validity_) present += static_cast<std::uint64_t>(std::popcount(byte));
  const std::uint32_t used = page_.num_samples % 8;
  Status status;
  if (used != 0 && validity_.back() >> used != 0) {
    status = wrong("unused bits of its validity are not zero");
  } else if (present + page_.null_count != page_.num_samples) {
    status = wrong(strf("the index says %" PRIu64 " nulls; its validity has %" PRIu64, page_.null_count, page_.num_samples - present));
  }
  if (status.is_ok()) return;
  has_validity_ = false;
  report(section.offset, section.decoded_bytes, status);
}

void ChunkChecker::check_offsets() {
  const SectionRef& section = page_.section(Section::kOffsets);
  Status status = shard_->check_offsets(chunk_, field_, page_, 0, offsets_);
  if (!status.is_ok()) has_offsets_ = false;
  for (std::uint64_t i = 0; status.is_ok() && page_.null_count > 0 && has_validity_ && i < page_.num_samples; ++i) {
    if (is_null(i) && offset_at(i) != offset_at(i + 1)) status = wrong(strf("sample %" PRIu64 " of the chunk is null and has bytes", i));
  }
  if (!status.is_ok()) report(section.offset, section.decoded_bytes, status);
}

void ChunkChecker::check_values() {
  const SectionRef& section = page_.section(Section::kValues);
  text_broken_ = !has_offsets_;
  text_row_ = text_carry_ = 0;
  scalars_.clear();
  for (std::uint32_t b = section.first_block; b < section.first_block + section.num_blocks; ++b) {
    const BlockRef ref = Shard::block(page_, table_, b);
    const Result<Bytes> stored = window_.view(ref.offset, ref.stored_bytes);
    Status status = stored ? shard_->check_block(chunk_, field_, b, ref, *stored) : stored.status();
    if (status.is_ok() && decode_) {
      status = check_decoded(ref, b, *stored);
    } else if (!status.is_ok()) {
      text_broken_ = true;  // A character may be cut by what is lost.
    }
    if (!status.is_ok()) report(ref.offset, ref.stored_bytes, status);
  }
  // Only of a page that was decoded whole.
  if (decode_ && scalars_.size() == section.decoded_bytes && has_statistics(field())) check_statistics();
}

void ChunkChecker::check_statistics() {
  std::vector<std::uint8_t> valid;
  if (field().nullable) {
    if (!has_validity_) return;
    for (std::uint32_t i = 0; i < page_.num_samples; ++i) valid.push_back(is_null(i) ? 0 : 1);
  }
  const MinMax found = min_max(field(), scalars_, valid);
  if (same_min_max(field(), found, {page_.has_min_max, page_.min, page_.max})) return;
  const SectionRef& section = page_.section(Section::kValues);
  report(section.offset, section.decoded_bytes,
         wrong(strf("the index says min and max (bits) %" PRIx64 " and %" PRIx64 "%s; its values have %" PRIx64 " and %" PRIx64 "%s",
                    page_.min, page_.max, page_.has_min_max ? "" : " (none)", found.min, found.max, found.known ? "" : " (none)")));
}

Status ChunkChecker::check_decoded(const BlockRef& ref, std::uint32_t block, Bytes stored) {
  const std::uint64_t size = text_carry_ + ref.decoded_bytes;
  if (decoded_.size() < size) decoded_.resize(size);
  const MutableBytes out = MutableBytes(decoded_).subspan(text_carry_, ref.decoded_bytes);
  const Status status = shard_->decode_block(chunk_, field_, block, ref, stored, out, scratch_);
  if (!status.is_ok()) {
    text_broken_ = true;
    return status;
  }
  if (has_statistics(field())) scalars_.insert(scalars_.end(), out.begin(), out.end());
  if (field().dtype == DType::kBool && std::any_of(out.begin(), out.end(), [](std::uint8_t byte) { return byte > 1; })) {
    return wrong(strf("a bool in block %u is neither 0 nor 1", block));
  }
  if (field().kind == Kind::kString && !text_broken_) return check_text(block, size);
  if (field().kind != Kind::kTensor || page_.null_count == 0 || !has_validity_) return {};
  const SectionRef& section = page_.section(Section::kValues);
  return check_nulls(std::uint64_t{block - section.first_block} * section.block_bytes, out);
}

Status ChunkChecker::check_text(std::uint32_t block, std::uint64_t size) {
  const SectionRef& section = page_.section(Section::kValues);
  const std::uint64_t block_begin = std::uint64_t{block - section.first_block} * section.block_bytes;
  const std::uint64_t text_begin = block_begin - text_carry_;
  const std::uint64_t text_end = text_begin + size;
  const Bytes text = Bytes(decoded_).first(size);
  const std::uint64_t tail = size - utf8_prefix(text);
  bool good = tail <= 3 && (tail == 0 || text_end < section.decoded_bytes);
  for (; good && text_row_ < page_.num_samples && offset_at(text_row_) < text_end; ++text_row_) {
    const std::uint64_t start = offset_at(text_row_);
    good = offset_at(text_row_ + 1) == start || !is_utf8_continuation(text[start - text_begin]);
  }
  if (!good) {
    text_broken_ = true;
    text_carry_ = 0;
    return wrong(strf("a string that reaches into block %u is not UTF-8", block));
  }
  std::memmove(decoded_.data(), decoded_.data() + (size - tail), tail);
  text_carry_ = tail;
  return {};
}

Status ChunkChecker::check_nulls(std::uint64_t begin, Bytes decoded) const {
  const std::uint64_t row_bytes = field().row_bytes();
  const std::uint64_t end = begin + decoded.size();
  for (std::uint64_t row = begin / row_bytes; row * row_bytes < end; ++row) {
    if (!is_null(row)) continue;
    const std::uint64_t from = std::max(begin, row * row_bytes);
    const std::uint64_t to = std::min(end, (row + 1) * row_bytes);
    if (!all_zero(decoded.subspan(from - begin, to - from)))
      return wrong(strf("sample %" PRIu64 " of the chunk is null and not zero", row));
  }
  return {};
}

}  // namespace headrace::format
