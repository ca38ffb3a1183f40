#include "headrace/statistics/quantiles.h"

#include <algorithm>
#include <cmath>
#include <new>

#include "headrace/base/parallel.h"

namespace headrace::statistics {
namespace {

constexpr std::size_t kExactAll = std::size_t{1} << 22;     // values that are kept as they are, over all columns
constexpr std::size_t kExactColumn = std::size_t{1} << 16;  // and of one column
constexpr std::size_t kAbreast = 8;                         // columns of a task: a cache line of float64
constexpr std::size_t kTile = 4096;                         // values
constexpr std::size_t kAloneValues = std::size_t{1} << 13;  // below, waking threads costs more than it saves
constexpr std::size_t kSliceValues = std::size_t{1} << 21;  // that wait for spans to be sorted
constexpr std::uint32_t kState = 0x32515248;                // "HRQ2"

Status out_of_memory() { return {Code::kOutOfMemory, "quantiles: out of memory"}; }

}  // namespace

Quantiles::Quantiles(std::size_t width, double rank_error, std::uint64_t seed) : rank_error_(rank_error), seed_(seed) {
  const std::size_t exact = std::min(kExactColumn, kExactAll / width);
  columns_.reserve(width);
  for (std::size_t c = 0; c < width; ++c) columns_.emplace_back(QuantileSketch::capacity_for(rank_error), exact, seed, c);
}

Result<Quantiles> Quantiles::create(std::size_t width, double rank_error, std::uint64_t seed) try {
  if (width < 1 || width > kMaxWidth) return Status(Code::kInvalidArgument, strf("width is %zu; expected 1 to %zu", width, kMaxWidth));
  if (!(rank_error >= 1e-5 && rank_error <= 0.1)) {
    return Status(Code::kInvalidArgument,
                  strf("rank_error is %g; expected 0.00001 to 0.1 (0.001: a thousandth of the values)", rank_error));
  }
  return Quantiles(width, rank_error, seed);
} catch (const std::bad_alloc&) {
  return out_of_memory();
}

// Rows [begin, until) of columns [first, end).
void Quantiles::append_columns(const Rows& rows, std::size_t begin, std::size_t until, std::size_t first, std::size_t end) {
  double tile[kTile], kept[kTile];
  const std::size_t wide = end - first, step = kTile / wide;
  for (std::size_t row = begin; row < until; row += step) {
    const std::size_t count = std::min(step, until - row);
    load_tile(rows, row, count, first, wide, tile);
    for (std::size_t c = 0; c < wide; ++c) {
      std::size_t found = 0;
      for (std::size_t r = 0; r < count; ++r) {
        kept[found] = tile[r * wide + c];
        found += std::isfinite(kept[found]) ? 1 : 0;
      }
      columns_[first + c].append(kept, found);
    }
  }
}

// Spans of all columns are sorted side by side, then each column takes its own in their order.
Status Quantiles::take_spans(int threads) {
  std::vector<std::pair<std::size_t, std::size_t>> full;
  for (std::size_t c = 0; c < width(); ++c) {
    for (std::size_t span = 0; span < columns_[c].full_spans(); ++span) full.emplace_back(c, span);
  }
  if (full.empty()) return {};
  HR_RETURN_IF_ERROR(parallel_for(full.size(), threads, [&](std::size_t i) {
    columns_[full[i].first].sort_span(full[i].second);
    return Status();
  }));
  return parallel_for(width(), threads, [&](std::size_t c) {
    columns_[c].take_spans();
    return Status();
  });
}

Status Quantiles::update(const Rows& rows, int threads) try {
  if (rows.count * width() < kAloneValues) threads = 0;
  const std::size_t step = std::max<std::size_t>(1, kSliceValues / width());
  for (std::size_t begin = 0; begin < rows.count; begin += step) {
    const std::size_t end = std::min(rows.count, begin + step);
    HR_RETURN_IF_ERROR(parallel_for(ceil_div(width(), kAbreast), threads, [&](std::size_t task) {
      append_columns(rows, begin, end, task * kAbreast, std::min(width(), (task + 1) * kAbreast));
      return Status();
    }));
    HR_RETURN_IF_ERROR(take_spans(threads));
  }
  return {};
} catch (const std::bad_alloc&) {
  return out_of_memory();
}

Status Quantiles::merge(const Quantiles& other) try {
  if (other.width() != width() || other.rank_error_ != rank_error_) {
    return {Code::kInvalidArgument, strf("merge: the other has width %zu and rank_error %g; expected %zu and %g", other.width(),
                                         other.rank_error_, width(), rank_error_)};
  }
  for (std::size_t c = 0; c < width(); ++c) columns_[c].merge(other.columns_[c]);
  return {};
} catch (const std::bad_alloc&) {
  return out_of_memory();
}

bool Quantiles::is_exact() const {
  return std::all_of(columns_.begin(), columns_.end(), [](const QuantileSketch& column) { return column.is_exact(); });
}

Result<std::vector<std::uint8_t>> Quantiles::save() const try {
  ByteWriter out;
  out.write(kState);
  out.write(static_cast<std::uint64_t>(width()));
  out.write(rank_error_);
  out.write(seed_);
  for (const QuantileSketch& column : columns_) column.save(out);
  return std::move(out.bytes());
} catch (const std::bad_alloc&) {
  return out_of_memory();
}

Result<Quantiles> Quantiles::load(Bytes state) try {
  const Status damaged(Code::kInvalidArgument, strf("not the state of Quantiles: %zu bytes", state.size()));
  ByteReader in(state);
  if (in.read<std::uint32_t>() != kState) return damaged;
  const auto width = in.read<std::uint64_t>();
  const auto rank_error = in.read<double>();
  const auto seed = in.read<std::uint64_t>();
  if (!in.ok() || width > in.remaining() / 40) return damaged;
  HR_ASSIGN_OR_RETURN(Quantiles made, create(width, rank_error, seed));
  for (QuantileSketch& column : made.columns_) {
    if (!column.load(in)) return damaged;
  }
  if (in.remaining() != 0) return damaged;
  return made;
} catch (const std::bad_alloc&) {
  return out_of_memory();
}

}  // namespace headrace::statistics
