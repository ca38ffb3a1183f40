#include "headrace/statistics/moments.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <new>

#include "headrace/base/parallel.h"
#include "headrace/ops/gather.h"
#include "headrace/statistics/state_values.h"

namespace headrace::statistics {
namespace {

constexpr std::size_t kSpanBlocks = 4;                        // what a thread takes at a time, at most
constexpr std::size_t kGroupBytes = std::size_t{16} << 20;    // of spans' totals that wait for their turn
constexpr std::size_t kAloneValues = std::size_t{1} << 17;    // below, waking threads costs more than it saves
constexpr std::size_t kPartialValues = std::size_t{1} << 19;  // of a block of wide rows
constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr std::uint32_t kState = 0x314D5248;  // "HRM1"

// A power of two: so batches of so many rows hold whole blocks of fields of any width.
std::size_t rows_of_block(std::size_t width) {
  if (width <= kPanel) return std::bit_floor(kTileValues / width);
  return std::bit_floor(std::clamp<std::size_t>(kPartialValues / width, 1, kTileValues / kPanel));
}

// Adds a column's numbers to those of the same column. The mean is kept in two parts: what rounding takes from it, of blocks far from 0,
// would else show in the sums of squares.
template <typename Other>
void merge_column(ColumnMoments& a, std::size_t at, const Other& b, std::size_t from) {
  a.nulls[at] += b.nulls[from];
  a.infinities[at] += b.infinities[from];
  if (b.count[from] == 0) return;
  a.min[at] = std::min(a.min[at], b.min[from]);
  a.max[at] = std::max(a.max[at], b.max[from]);
  const auto na = static_cast<double>(a.count[at]), nb = static_cast<double>(b.count[from]);
  a.count[at] += b.count[from];
  double &mean = a.mean[at], &low = a.mean_low[at], &m2 = a.m2[at], &m3 = a.m3[at];
  if (na == 0) {
    mean = b.mean[from], low = b.mean_low[from], m2 = b.m2[from], m3 = b.m3[from];
    return;
  }
  const double n = na + nb, delta = (b.mean[from] - mean) + (b.mean_low[from] - low);
  if (std::isfinite(delta)) {
    const double step = delta / n, moved = step * nb + low;
    m3 += b.m3[from] + delta * step * step * na * nb * (na - nb) + 3 * step * (na * b.m2[from] - nb * m2);
    m2 += b.m2[from] + delta * step * na * nb;
    const double sum = mean + moved, part = sum - mean;  // Knuth's two-sum
    low = (mean - (sum - part)) + (moved - part);
    mean = sum;
  } else {  // Opposite ends of float64.
    mean = mean * (na / n) + b.mean[from] * (nb / n);
    low = 0;
    m2 = kInf;
    m3 = std::numeric_limits<double>::quiet_NaN();
  }
}

// What a state must hold for its numbers to make sense.
bool is_sound(const ColumnMoments& totals) {
  for (std::size_t c = 0; c < totals.count.size(); ++c) {
    constexpr std::int64_t kMost = std::int64_t{1} << 62;
    const bool counts = totals.count[c] >= 0 && totals.count[c] < kMost && totals.nulls[c] >= 0 && totals.nulls[c] < kMost &&
                        totals.infinities[c] >= 0 && totals.infinities[c] < kMost;
    if (!counts || std::isnan(totals.mean[c]) || std::isnan(totals.mean_low[c]) || !(totals.m2[c] >= 0) || std::isnan(totals.min[c]) ||
        std::isnan(totals.max[c]))
      return false;
  }
  return true;
}

}  // namespace

ColumnMoments::ColumnMoments(std::size_t width)
    : count(width),
      nulls(width),
      infinities(width),
      mean(width),
      mean_low(width),
      m2(width),
      m3(width),
      min(width, kInf),
      max(width, -kInf) {}

void ColumnMoments::merge(const ColumnMoments& other, std::size_t begin, std::size_t end) {
  for (std::size_t c = begin; c < end; ++c) merge_column(*this, c, other, c);
}

void ColumnMoments::merge(const BlockMoments& block, std::size_t begin, std::size_t end) {
  for (std::size_t c = begin; c < end; ++c) merge_column(*this, c, block, c - begin);
}

void ColumnMoments::clear() { *this = ColumnMoments(count.size()); }

Moments::Moments(std::size_t width)
    : width_(width),
      block_rows_(rows_of_block(width)),
      span_blocks_(std::min(kSpanBlocks, kMostSpanRows / block_rows_)),
      total_(width),
      open_(width) {}

Result<Moments> Moments::create(std::size_t width) try {
  if (width < 1 || width > kMaxWidth) return Status(Code::kInvalidArgument, strf("width is %zu; expected 1 to %zu", width, kMaxWidth));
  return Moments(width);
} catch (const std::bad_alloc&) {
  return Status(Code::kOutOfMemory, "moments: out of memory");
}

namespace {

// Counts a block of rows where it lies, if it can be.
template <typename T>
bool count_in_place(const Rows& rows, std::size_t first_row, std::size_t count, std::size_t begin, std::size_t columns, BlockMoments& out) {
  const std::size_t at = first_row * rows.width + begin;
  // Rows that lie together are taken several at a time, in the same order as those of a tile; others would be in another order.
  const bool same_order = columns == rows.width || rows_abreast(columns) == 1;
  if (!same_order || at + values_read(rows.width, count, columns) > rows.count * rows.width) return false;
  block_moments_in_place(reinterpret_cast<const T*>(rows.values) + at, rows.width, count, columns, out);
  return true;
}

bool count_in_place(const Rows& rows, std::size_t first_row, std::size_t count, std::size_t begin, std::size_t columns, BlockMoments& out) {
  if (rows.valid != nullptr) return false;
  if (rows.dtype == format::DType::kFloat32) return count_in_place<float>(rows, first_row, count, begin, columns, out);
  if (rows.dtype == format::DType::kFloat64) return count_in_place<double>(rows, first_row, count, begin, columns, out);
  return false;
}

}  // namespace

void Moments::add_panel(const Rows& rows, std::size_t first_row, std::size_t blocks, std::size_t panel, ColumnMoments& to) const {
  alignas(64) double tile[kTileValues + kTilePadding];
  BlockMoments block;
  const std::size_t begin = panel * kPanel, end = std::min(width_, begin + kPanel), row_bytes = width_ * number_bytes(rows.dtype);
  for (std::size_t b = 0; b < blocks; ++b) {
    const bool in_place = count_in_place(rows, first_row + b * block_rows_, block_rows_, begin, end - begin, block);
    if (!in_place) load_tile(rows, first_row + b * block_rows_, block_rows_, begin, end - begin, tile);
    // The next block comes while this one is counted: memory and arithmetic take turns otherwise.
    const std::size_t next = first_row + (b + 1) * block_rows_;
    if (end - begin == width_ && next + block_rows_ <= rows.count) ops::prefetch(rows.values + next * row_bytes, block_rows_ * row_bytes);
    if (!in_place) block_moments(tile, block_rows_, end - begin, block);
    to.merge(block, begin, end);
  }
}

Status Moments::add_blocks(const Rows& rows, std::size_t first_row, std::size_t blocks, ColumnMoments& to, int threads) const {
  if (blocks == 0) return {};
  return parallel_for(ceil_div(width_, kPanel), threads, [&](std::size_t panel) {
    add_panel(rows, first_row, blocks, panel, to);
    return Status();
  });
}

// Spans are counted side by side, a group at a time, and added in their order.
Status Moments::add_spans(const Rows& rows, std::size_t first_row, std::size_t spans, int threads) {
  const std::size_t panels = ceil_div(width_, kPanel), span_rows = span_blocks_ * block_rows_;
  const std::size_t group = std::clamp<std::size_t>(kGroupBytes / (width_ * 72), 1, std::max<std::size_t>(spans, 1));
  std::vector<ColumnMoments> found(std::min(group, spans), ColumnMoments(width_));
  for (std::size_t done = 0; done < spans; done += group) {
    const std::size_t now = std::min(group, spans - done);
    HR_RETURN_IF_ERROR(parallel_for(now * panels, threads, [&](std::size_t i) {
      add_panel(rows, first_row + (done + i / panels) * span_rows, span_blocks_, i % panels, found[i / panels]);
      return Status();
    }));
    for (std::size_t s = 0; s < now; ++s) {
      total_.merge(found[s], 0, width_);
      if (done + now < spans) found[s].clear();
    }
  }
  return {};
}

void Moments::count_span(const Rows& rows, std::size_t first_row, ColumnMoments& to) const {
  for (std::size_t panel = 0; panel * kPanel < width_; ++panel) add_panel(rows, first_row, span_blocks_, panel, to);
}

Status Moments::add(const CountedRows& counted, int threads) {
  if (open_blocks_ > 0 || partial_rows_ > 0)
    return {Code::kInvalidArgument, strf("add counted rows: the rows before end within a span of %zu", span_rows())};
  for (const ColumnMoments& span : counted.spans) {
    if (span.count.size() != width_)
      return {Code::kInvalidArgument, strf("add counted rows: they have width %zu; expected %zu", span.count.size(), width_)};
    total_.merge(span, 0, width_);
  }
  if (counted.rest_rows == 0) return {};
  if (counted.rest.size() != counted.rest_rows * width_ * number_bytes(counted.dtype))
    return {Code::kInvalidArgument,
            strf("add counted rows: %zu bytes are no %zu rows of %zu values", counted.rest.size(), counted.rest_rows, width_)};
  return update({counted.dtype, counted.rest.data(), counted.rest_rows, width_}, threads);
}

// Takes rows into the block that is under way; answers how many.
std::size_t Moments::fill_partial(const Rows& rows) {
  const std::size_t taken = std::min(rows.count, block_rows_ - partial_rows_);
  if (partial_.empty()) partial_.resize(block_rows_ * width_);
  load_tile(rows, 0, taken, 0, width_, partial_.data() + partial_rows_ * width_);
  partial_rows_ += taken;
  return taken;
}

void Moments::close_partial(ColumnMoments& to) const {
  if (partial_rows_ == 0) return;
  alignas(64) double tile[kTileValues + kTilePadding];
  BlockMoments block;
  const Rows rows{format::DType::kFloat64, reinterpret_cast<const std::uint8_t*>(partial_.data()), partial_rows_, width_};
  for (std::size_t begin = 0; begin < width_; begin += kPanel) {
    const std::size_t columns = std::min(kPanel, width_ - begin);
    load_tile(rows, 0, partial_rows_, begin, columns, tile);
    block_moments(tile, partial_rows_, columns, block);
    to.merge(block, begin, begin + columns);
  }
}

Status Moments::update(const Rows& rows, int threads) try {
  if (rows.count * width_ < kAloneValues) threads = 0;
  std::size_t at = 0;
  if (partial_rows_ > 0) {
    at = fill_partial(rows);
    if (partial_rows_ < block_rows_) return {};
    close_partial(open_);
    partial_rows_ = 0;
    ++open_blocks_;
  }
  std::size_t blocks = (rows.count - at) / block_rows_;
  if (open_blocks_ > 0) {
    const std::size_t first = std::min(blocks, span_blocks_ - open_blocks_);
    HR_RETURN_IF_ERROR(add_blocks(rows, at, first, open_, threads));
    at += first * block_rows_, blocks -= first, open_blocks_ += first;
    if (open_blocks_ == span_blocks_) {
      total_.merge(open_, 0, width_);
      open_.clear();
      open_blocks_ = 0;
    }
  }
  const std::size_t spans = blocks / span_blocks_;
  HR_RETURN_IF_ERROR(add_spans(rows, at, spans, threads));
  at += spans * span_blocks_ * block_rows_, blocks -= spans * span_blocks_;
  HR_RETURN_IF_ERROR(add_blocks(rows, at, blocks, open_, threads));
  at += blocks * block_rows_, open_blocks_ += blocks;
  if (at == rows.count) return {};
  Rows rest = rows;
  rest.values += at * width_ * number_bytes(rows.dtype);
  rest.valid = rows.valid == nullptr ? nullptr : rows.valid + at * (rows.valid_of_values ? width_ : 1);
  rest.count -= at;
  (void)fill_partial(rest);
  return {};
} catch (const std::bad_alloc&) {
  return {Code::kOutOfMemory, "moments: out of memory"};
}

Result<ColumnMoments> Moments::totals() const try {
  ColumnMoments all = total_;
  all.merge(open_, 0, width_);
  close_partial(all);
  return all;
} catch (const std::bad_alloc&) {
  return Status(Code::kOutOfMemory, "moments: out of memory");
}

Status Moments::merge(const Moments& other) {
  if (other.width_ != width_) return {Code::kInvalidArgument, strf("merge: the other has width %zu; expected %zu", other.width_, width_)};
  HR_ASSIGN_OR_RETURN(const ColumnMoments theirs, other.totals());
  HR_ASSIGN_OR_RETURN(total_, totals());
  open_.clear();
  open_blocks_ = partial_rows_ = 0;
  total_.merge(theirs, 0, width_);
  return {};
}

Result<std::vector<std::uint8_t>> Moments::save() const try {
  HR_ASSIGN_OR_RETURN(const ColumnMoments all, totals());
  ByteWriter out;
  out.write(kState);
  out.write(static_cast<std::uint64_t>(width_));
  for (const auto* part : {&all.count, &all.nulls, &all.infinities}) write_all(out, *part);
  for (const auto* part : {&all.mean, &all.mean_low, &all.m2, &all.m3, &all.min, &all.max}) write_all(out, *part);
  return std::move(out.bytes());
} catch (const std::bad_alloc&) {
  return Status(Code::kOutOfMemory, "moments: out of memory");
}

Result<Moments> Moments::load(Bytes state) try {
  const Status damaged(Code::kInvalidArgument, strf("not the state of Moments: %zu bytes", state.size()));
  ByteReader in(state);
  if (in.read<std::uint32_t>() != kState) return damaged;
  const auto width = in.read<std::uint64_t>();
  if (!in.ok() || width > kMaxWidth || in.remaining() != width * 72) return damaged;
  HR_ASSIGN_OR_RETURN(Moments made, create(width));
  for (auto* part : {&made.total_.count, &made.total_.nulls, &made.total_.infinities}) read_all(in, *part);
  for (auto* part : {&made.total_.mean, &made.total_.mean_low, &made.total_.m2, &made.total_.m3, &made.total_.min, &made.total_.max})
    read_all(in, *part);
  if (!in.ok() || !is_sound(made.total_)) return damaged;
  return made;
} catch (const std::bad_alloc&) {
  return Status(Code::kOutOfMemory, "moments: out of memory");
}

}  // namespace headrace::statistics
