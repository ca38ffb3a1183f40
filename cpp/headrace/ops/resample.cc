#include "headrace/ops/resample.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numbers>

#include "headrace/base/bytes.h"
#include "headrace/base/multiversion.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace headrace::ops {
namespace {

constexpr int kPrecision = 22;  // 32 bits less 8 of a pixel and 2 for overshoot
constexpr std::int32_t kHalf = 1 << (kPrecision - 1);
constexpr std::size_t kLanes = 16;    // rows side by side in a tile
constexpr std::size_t kColumns = 64;  // bytes of a row that are summed together

double sinc(double x) { return x == 0.0 ? 1.0 : std::sin(x * std::numbers::pi) / (x * std::numbers::pi); }

double support_of(Filter filter) {
  switch (filter) {
    case Filter::kNearest:
    case Filter::kBox: return 0.5;
    case Filter::kBilinear:
    case Filter::kHamming: return 1.0;
    case Filter::kBicubic: return 2.0;
    case Filter::kLanczos: return 3.0;
  }
  return 0.5;
}

double weight_of(Filter filter, double x) {
  switch (filter) {
    case Filter::kNearest:
    case Filter::kBox: return x > -0.5 && x <= 0.5 ? 1.0 : 0.0;
    case Filter::kBilinear: x = std::fabs(x); return x < 1.0 ? 1.0 - x : 0.0;
    case Filter::kHamming:
      x = std::fabs(x);
      if (x == 0.0) return 1.0;
      if (x >= 1.0) return 0.0;
      x *= std::numbers::pi;
      return std::sin(x) / x * (0.54 + 0.46 * std::cos(x));
    case Filter::kBicubic: {
      constexpr double a = -0.5;
      x = std::fabs(x);
      if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
      if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * a;
      return 0.0;
    }
    case Filter::kLanczos: return -3.0 <= x && x < 3.0 ? sinc(x) * sinc(x / 3) : 0.0;
  }
  return 0.0;
}

// One pixel of the output: its first input pixel and weights. Returns how many.
std::uint32_t find_taps(Filter filter, double center, double filter_scale, std::uint32_t in_size, std::uint32_t* first,
                        std::vector<double>& weights) {
  const double support = support_of(filter) * filter_scale;
  const auto from = std::max(0, static_cast<int>(center - support + 0.5));
  const auto to = std::min(static_cast<int>(in_size), static_cast<int>(center + support + 0.5));
  double sum = 0;
  const auto count = static_cast<std::uint32_t>(std::max(0, to - from));
  weights.resize(count);
  for (std::uint32_t i = 0; i < count; ++i) {
    weights[i] = weight_of(filter, (from + static_cast<int>(i) - center + 0.5) / filter_scale);
    sum += weights[i];
  }
  for (double& weight : weights) weight = sum != 0.0 ? weight / sum : weight;
  *first = static_cast<std::uint32_t>(from);
  return count;
}

// Where the pixels of the nearest filter lie, summed up step by step as Pillow does it, rounding included.
std::vector<double> step_through(double begin, double scale, std::uint32_t count) {
  std::vector<double> out(count);
  double at = begin + scale * 0.5;
  for (double& place : out) {
    place = at;
    at += scale;
  }
  return out;
}

HR_INLINE std::uint8_t to_byte(std::int32_t sum) { return static_cast<std::uint8_t>(std::clamp(sum >> kPrecision, 0, 255)); }

// to[column][row] = from[row][column] for 16 rows, columns a multiple of 16; `to` holds 16 bytes a column.
#if defined(__SSE2__)
HR_INLINE void transpose_16x16(const std::uint8_t* from, std::size_t from_stride, std::uint8_t* to, std::size_t to_stride) {
  __m128i a[16], b[16];
  for (int i = 0; i < 16; ++i) a[i] = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i * from_stride));
  // Four rounds of interleaving row i with row i + 8.
  for (int i = 0; i < 8; ++i) b[2 * i] = _mm_unpacklo_epi8(a[i], a[i + 8]), b[2 * i + 1] = _mm_unpackhi_epi8(a[i], a[i + 8]);
  for (int i = 0; i < 8; ++i) a[2 * i] = _mm_unpacklo_epi8(b[i], b[i + 8]), a[2 * i + 1] = _mm_unpackhi_epi8(b[i], b[i + 8]);
  for (int i = 0; i < 8; ++i) b[2 * i] = _mm_unpacklo_epi8(a[i], a[i + 8]), b[2 * i + 1] = _mm_unpackhi_epi8(a[i], a[i + 8]);
  for (int i = 0; i < 8; ++i) a[2 * i] = _mm_unpacklo_epi8(b[i], b[i + 8]), a[2 * i + 1] = _mm_unpackhi_epi8(b[i], b[i + 8]);
  for (int i = 0; i < 16; ++i) _mm_storeu_si128(reinterpret_cast<__m128i*>(to + i * to_stride), a[i]);
}
#else
HR_INLINE void transpose_16x16(const std::uint8_t* from, std::size_t from_stride, std::uint8_t* to, std::size_t to_stride) {
  for (std::size_t row = 0; row < 16; ++row) {
    for (std::size_t column = 0; column < 16; ++column) to[column * to_stride + row] = from[row * from_stride + column];
  }
}
#endif

// Sixteen rows of the input, transposed: tile[byte of the row][row]. Fewer rows: the others keep what they hold.
void load_tile(const std::uint8_t* in, std::size_t stride, std::size_t row_bytes, std::size_t rows, std::uint8_t* tile) {
  std::uint8_t edge[kLanes * kLanes];
  for (std::size_t at = 0; at < row_bytes; at += kLanes) {
    if (rows == kLanes && at + kLanes <= row_bytes) {
      transpose_16x16(in + at, stride, tile + at * kLanes, kLanes);
      continue;
    }
    const std::size_t bytes = std::min(kLanes, row_bytes - at);
    for (std::size_t row = 0; row < rows; ++row) std::memcpy(edge + row * kLanes, in + row * stride + at, bytes);
    for (std::size_t row = rows; row < kLanes; ++row) std::memset(edge + row * kLanes, 0, kLanes);
    transpose_16x16(edge, kLanes, tile + at * kLanes, kLanes);
  }
}

// out[x][lane] for one channel: sums over the pixels of `tile`, whose pixel p lies at p * step.
HR_MULTIVERSION void sum_columns(const std::uint8_t* tile, std::size_t step, const std::uint32_t* first, const std::uint32_t* taps,
                                 const std::int32_t* weights, std::size_t most, std::size_t count, std::uint8_t* out) {
  for (std::size_t x = 0; x < count; ++x) {
    std::int32_t sum[kLanes];
    for (std::size_t lane = 0; lane < kLanes; ++lane) sum[lane] = kHalf;
    const std::uint8_t* from = tile + first[x] * step;
    for (std::size_t tap = 0; tap < taps[x]; ++tap) {
      const std::int32_t weight = weights[x * most + tap];
      for (std::size_t lane = 0; lane < kLanes; ++lane) sum[lane] += weight * from[tap * step + lane];
    }
    for (std::size_t lane = 0; lane < kLanes; ++lane) out[x * kLanes + lane] = to_byte(sum[lane]);
  }
}

// out[x] = sums over rows `stride` apart. `bytes` is a multiple of kColumns.
HR_MULTIVERSION void sum_rows(const std::uint8_t* in, std::size_t stride, const std::int32_t* weights, std::size_t taps, std::size_t bytes,
                              std::uint8_t* out) {
  for (std::size_t at = 0; at < bytes; at += kColumns) {
    std::int32_t sum[kColumns];
    for (std::size_t i = 0; i < kColumns; ++i) sum[i] = kHalf;
    for (std::size_t tap = 0; tap < taps; ++tap) {
      const std::uint8_t* from = in + tap * stride + at;
      for (std::size_t i = 0; i < kColumns; ++i) sum[i] += weights[tap] * from[i];
    }
    for (std::size_t i = 0; i < kColumns; ++i) out[at + i] = to_byte(sum[i]);
  }
}

struct Buffers {
  std::vector<std::uint8_t> tile, sums, between, row;
};

std::uint8_t* at_least(std::vector<std::uint8_t>& buffer, std::size_t bytes) {
  if (buffer.size() < bytes) buffer.resize(bytes);
  return buffer.data();
}

// Rows of the input with the output's columns: between[c][row][x], `plane` bytes a channel, `padded` a row.
void resample_columns(const std::uint8_t* in, std::size_t stride, std::size_t channels, const Axis& columns, std::size_t rows,
                      std::size_t padded, Buffers& buffers) {
  const std::size_t row_bytes = (columns.end - columns.begin) * channels;
  const std::size_t plane = round_up(rows, kLanes) * padded;
  std::uint8_t* const between = at_least(buffers.between, plane * channels);
  std::uint8_t* const tile = at_least(buffers.tile, round_up(row_bytes, kLanes) * kLanes);
  std::uint8_t* const sums = at_least(buffers.sums, padded * kLanes);
  for (std::size_t row = 0; row < rows; row += kLanes) {
    load_tile(in + row * stride, stride, row_bytes, std::min(kLanes, rows - row), tile);
    for (std::size_t c = 0; c < channels; ++c) {
      sum_columns(tile + c * kLanes, channels * kLanes, columns.first.data(), columns.taps.data(), columns.weights.data(), columns.most,
                  columns.count, sums);
      for (std::size_t x = 0; x < padded; x += kLanes) {
        transpose_16x16(sums + x * kLanes, kLanes, between + c * plane + row * padded + x, padded);
      }
    }
  }
}

}  // namespace

std::optional<Filter> filter_from_name(std::string_view name) {
  constexpr std::string_view kNames[] = {"nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"};
  for (std::size_t i = 0; i < std::size(kNames); ++i) {
    if (name == kNames[i]) return static_cast<Filter>(i);
  }
  return std::nullopt;
}

void make_axis(Filter filter, std::uint32_t in_size, double box_begin, double box_end, std::uint32_t out_size, std::uint32_t window_begin,
               std::uint32_t window_count, bool backwards, Axis* axis) {
  const double scale = (box_end - box_begin) / out_size;
  const double filter_scale = std::max(scale, 1.0);
  axis->count = window_count;
  axis->most = filter == Filter::kNearest ? 1 : static_cast<std::uint32_t>(std::ceil(support_of(filter) * filter_scale)) * 2 + 1;
  axis->first.resize(window_count);
  axis->taps.resize(window_count);
  axis->weights.resize(std::size_t{window_count} * axis->most);
  std::uint32_t begin = in_size, end = 0;
  std::vector<double> weights;
  const std::vector<double> nearest = filter == Filter::kNearest ? step_through(box_begin, scale, window_begin + window_count) : weights;
  for (std::uint32_t i = 0; i < window_count; ++i) {
    const std::uint32_t at = window_begin + (backwards ? window_count - 1 - i : i);
    const double center = box_begin + (at + 0.5) * scale;
    if (filter == Filter::kNearest) {
      axis->first[i] = std::min(in_size - 1, static_cast<std::uint32_t>(nearest[at]));
      weights.assign(1, 1.0);
    } else {
      find_taps(filter, center, filter_scale, in_size, &axis->first[i], weights);
    }
    axis->taps[i] = static_cast<std::uint32_t>(weights.size());
    for (std::size_t tap = 0; tap < weights.size(); ++tap) {
      const double scaled = weights[tap] * (1 << kPrecision);
      axis->weights[i * axis->most + tap] = static_cast<std::int32_t>(scaled < 0 ? scaled - 0.5 : scaled + 0.5);
    }
    begin = std::min(begin, axis->first[i]);
    end = std::max(end, axis->first[i] + axis->taps[i]);
  }
  axis->begin = begin;
  axis->end = end;
  for (std::uint32_t& first : axis->first) first -= begin;
}

void resample(const std::uint8_t* in, std::size_t stride, std::uint32_t channels, const Axis& columns, const Axis& rows,
              std::uint8_t* out) {
  thread_local Buffers buffers;
  const std::size_t padded = round_up(columns.count, kColumns);
  const std::size_t num_rows = rows.end - rows.begin;
  resample_columns(in, stride, channels, columns, num_rows, padded, buffers);
  const std::size_t plane = round_up(num_rows, kLanes) * padded;
  std::uint8_t* const row = at_least(buffers.row, padded);
  for (std::size_t c = 0; c < channels; ++c) {
    for (std::size_t y = 0; y < rows.count; ++y) {
      sum_rows(buffers.between.data() + c * plane + rows.first[y] * padded, padded, rows.weights.data() + y * rows.most, rows.taps[y],
               padded, row);
      std::memcpy(out + (c * rows.count + y) * columns.count, row, columns.count);
    }
  }
}

void resample_reference(const std::uint8_t* in, std::size_t stride, std::uint32_t channels, const Axis& columns, const Axis& rows,
                        std::uint8_t* out) {
  const std::size_t num_rows = rows.end - rows.begin;
  std::vector<std::uint8_t> between(num_rows * columns.count);
  for (std::uint32_t c = 0; c < channels; ++c) {
    for (std::size_t y = 0; y < num_rows; ++y) {
      for (std::size_t x = 0; x < columns.count; ++x) {
        std::int32_t sum = kHalf;
        for (std::size_t tap = 0; tap < columns.taps[x]; ++tap)
          sum += columns.weights[x * columns.most + tap] * in[y * stride + (columns.first[x] + tap) * channels + c];
        between[y * columns.count + x] = to_byte(sum);
      }
    }
    for (std::size_t y = 0; y < rows.count; ++y) {
      for (std::size_t x = 0; x < columns.count; ++x) {
        std::int32_t sum = kHalf;
        for (std::size_t tap = 0; tap < rows.taps[y]; ++tap)
          sum += rows.weights[y * rows.most + tap] * between[(rows.first[y] + tap) * columns.count + x];
        out[(std::size_t{c} * rows.count + y) * columns.count + x] = to_byte(sum);
      }
    }
  }
}

}  // namespace headrace::ops
