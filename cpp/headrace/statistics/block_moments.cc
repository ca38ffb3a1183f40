#include "headrace/statistics/block_moments.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "headrace/base/multiversion.h"

namespace headrace::statistics {
namespace {

// Vectors of a fixed length, whatever the processor's: so sums are made in the same order everywhere.
using Vector = double __attribute__((vector_size(64)));
using HalfVector = float __attribute__((vector_size(32)));
using Mask = long long __attribute__((vector_size(64)));
constexpr std::size_t kVectors = 4;
constexpr std::size_t kLanes = 32;
constexpr long long kMagnitude = 0x7FFFFFFFFFFFFFFFll, kInfinity = 0x7FF0000000000000ll;

struct Sums {
  double sum[kLanes];
  long long count[kLanes], nulls[kLanes];
};
struct Powers {
  double rest[kLanes], m2[kLanes], m3[kLanes], min[kLanes], max[kLanes];
};

// Eight values as float64, which holds each of float32's. By reference: how vectors are returned differs between processors.
HR_INLINE void load(const double* x, Vector& out) { std::memcpy(&out, x, sizeof out); }
HR_INLINE void load(const float* x, Vector& out) {
  HalfVector stored;
  std::memcpy(&stored, x, sizeof stored);
  out = __builtin_convertvector(stored, Vector);
}

template <typename T>
HR_INLINE void sum_lanes(const T* x, std::size_t rows, std::size_t stride, double* sum) {
  Vector s[kVectors] = {};
  for (std::size_t r = 0; r < rows; ++r, x += stride) {
    for (std::size_t q = 0; q < kVectors; ++q) {
      Vector v;
      load(x + q * 8, v);
      s[q] += v;
    }
  }
  std::memcpy(sum, s, sizeof s);
}

template <typename T>
HR_INLINE void sum_finite_lanes(const T* x, std::size_t rows, std::size_t stride, Sums& out) {
  Vector s[kVectors] = {};
  Mask count[kVectors] = {}, nulls[kVectors] = {};
  for (std::size_t r = 0; r < rows; ++r, x += stride) {
    for (std::size_t q = 0; q < kVectors; ++q) {
      Vector v;
      Mask bits, finite;
      load(x + q * 8, v);
      std::memcpy(&bits, &v, sizeof bits);
      bits &= kMagnitude;
      finite = bits < kInfinity;
      count[q] -= finite;
      nulls[q] -= bits > kInfinity;
      s[q] += finite ? v : Vector{};
    }
  }
  std::memcpy(out.sum, s, sizeof s);
  std::memcpy(out.count, count, sizeof count);
  std::memcpy(out.nulls, nulls, sizeof nulls);
}

template <bool kAllFinite, typename T>
HR_INLINE void powers(const T* x, std::size_t rows, std::size_t stride, const double* means, Powers& out) {
  Vector mean[kVectors], rest[kVectors] = {}, m2[kVectors] = {}, m3[kVectors] = {}, least[kVectors], most[kVectors];
  std::memcpy(mean, means, sizeof mean);
  for (std::size_t q = 0; q < kVectors; ++q) {
    least[q] = Vector{} + std::numeric_limits<double>::infinity();
    most[q] = -least[q];
  }
  for (std::size_t r = 0; r < rows; ++r, x += stride) {
    for (std::size_t q = 0; q < kVectors; ++q) {
      Vector v;
      load(x + q * 8, v);
      if constexpr (!kAllFinite) {
        Mask bits;
        std::memcpy(&bits, &v, sizeof bits);
        const Mask finite = (bits & kMagnitude) < kInfinity;
        least[q] = (finite & (v < least[q])) ? v : least[q];
        most[q] = (finite & (v > most[q])) ? v : most[q];
        v = finite ? v : mean[q];
      } else {
        least[q] = v < least[q] ? v : least[q];
        most[q] = v > most[q] ? v : most[q];
      }
      const Vector d = v - mean[q], dd = d * d;
      rest[q] += d;
      m2[q] += dd;
      m3[q] += dd * d;
    }
  }
  std::memcpy(out.rest, rest, sizeof rest);
  std::memcpy(out.m2, m2, sizeof m2);
  std::memcpy(out.m3, m3, sizeof m3);
  std::memcpy(out.min, least, sizeof least);
  std::memcpy(out.max, most, sizeof most);
}

// On the processor's own vectors.
#define HR_KERNELS(T)                                                                                                                      \
  HR_MULTIVERSION void sum_all(const T* x, std::size_t rows, std::size_t stride, double* sum) { sum_lanes(x, rows, stride, sum); }         \
  HR_MULTIVERSION void sum_finite(const T* x, std::size_t rows, std::size_t stride, Sums& out) { sum_finite_lanes(x, rows, stride, out); } \
  HR_MULTIVERSION void powers_of_all(const T* x, std::size_t rows, std::size_t stride, const double* means, Powers& out) {                 \
    powers<true>(x, rows, stride, means, out);                                                                                             \
  }                                                                                                                                        \
  HR_MULTIVERSION void powers_of_finite(const T* x, std::size_t rows, std::size_t stride, const double* means, Powers& out) {              \
    powers<false>(x, rows, stride, means, out);                                                                                            \
  }
HR_KERNELS(double)
HR_KERNELS(float)
#undef HR_KERNELS

// The mean of a column whose sum is beyond float64: all its values are scaled down first.
template <typename T>
double scaled_mean(const T* x, std::size_t rows, std::size_t stride, double count) {
  double sum = 0;
  for (std::size_t r = 0; r < rows; ++r) sum += std::isfinite(x[r * stride]) ? std::ldexp(static_cast<double>(x[r * stride]), -16) : 0.0;
  return std::ldexp(sum / count, 16);
}

// Columns [first, first + columns) of a tile whose rows are `stride` wide; `abreast` rows make one of the lanes.
template <typename T>
struct Part {
  const T* at;
  std::size_t stride;  // of a sub-row of lanes
  std::size_t rows;    // of lanes
  std::size_t columns;
  std::size_t abreast;
};

// Lane sums become column sums, in `sums`' first lanes.
template <typename T>
void fold(const Part<T>& part, Sums& sums) {
  for (std::size_t g = 1; g < part.abreast; ++g) {
    for (std::size_t c = 0; c < part.columns; ++c) {
      sums.sum[c] += sums.sum[g * part.columns + c];
      sums.count[c] += sums.count[g * part.columns + c];
      sums.nulls[c] += sums.nulls[g * part.columns + c];
    }
  }
}

template <typename T>
void fold(const Part<T>& part, Powers& powers) {
  for (std::size_t g = 1; g < part.abreast; ++g) {
    for (std::size_t c = 0; c < part.columns; ++c) {
      const std::size_t lane = g * part.columns + c;
      powers.rest[c] += powers.rest[lane];
      powers.m2[c] += powers.m2[lane];
      powers.m3[c] += powers.m3[lane];
      powers.min[c] = std::min(powers.min[c], powers.min[lane]);
      powers.max[c] = std::max(powers.max[c], powers.max[lane]);
    }
  }
}

// Counts and sums; answers whether all values are finite.
template <typename T>
bool sum_part(const Part<T>& part, Sums& sums) {
  const std::size_t lanes = part.columns * part.abreast;
  sum_all(part.at, part.rows, part.stride, sums.sum);
  if (std::all_of(sums.sum, sums.sum + lanes, [](double sum) { return std::isfinite(sum); })) {
    std::fill(sums.count, sums.count + kLanes, static_cast<long long>(part.rows));
    std::fill(sums.nulls, sums.nulls + kLanes, 0);
    return true;
  }
  sum_finite(part.at, part.rows, part.stride, sums);
  return false;
}

template <typename T>
void part_moments(const Part<T>& part, std::size_t padded_rows, std::size_t first, BlockMoments& out) {
  Sums sums;
  Powers powers;
  double means[kLanes] = {};
  const bool all_finite = sum_part(part, sums);
  fold(part, sums);
  for (std::size_t c = 0; c < part.columns; ++c) {
    const auto count = static_cast<double>(sums.count[c]);
    double mean = sums.count[c] == 0 ? 0.0 : sums.sum[c] / count;
    if (!std::isfinite(mean)) mean = scaled_mean(part.at + c, part.rows * part.abreast, part.stride / part.abreast, count);
    for (std::size_t g = 0; g < part.abreast; ++g) means[g * part.columns + c] = mean;
  }
  if (all_finite) {
    powers_of_all(part.at, part.rows, part.stride, means, powers);
  } else {
    powers_of_finite(part.at, part.rows, part.stride, means, powers);
  }
  fold(part, powers);
  for (std::size_t c = 0; c < part.columns; ++c) {
    const std::size_t to = first + c;
    const auto count = static_cast<double>(sums.count[c]);
    out.count[to] = sums.count[c];
    out.nulls[to] = sums.nulls[c] - static_cast<std::int64_t>(padded_rows);
    out.infinities[to] = static_cast<std::int64_t>(part.rows * part.abreast) - sums.count[c] - sums.nulls[c];
    out.min[to] = powers.min[c];
    out.max[to] = powers.max[c];
    out.mean[to] = means[c];
    out.mean_low[to] = 0;
    out.m2[to] = powers.m2[c];
    out.m3[to] = powers.m3[c];
    if (sums.count[c] == 0) continue;
    if (powers.min[c] == powers.max[c]) {  // Constants are exact.
      out.mean[to] = powers.min[c];
      out.m2[to] = out.m3[to] = 0;
      continue;
    }
    // What rounding left of the mean (Chan, Golub, LeVeque 1983: the corrected two-pass algorithm).
    const double shift = powers.rest[c] / count;
    if (!std::isfinite(powers.m2[c]) || !std::isfinite(shift)) continue;
    out.mean[to] = means[c] + shift;
    out.mean_low[to] = shift - (out.mean[to] - means[c]);
    out.m2[to] = std::max(0.0, powers.m2[c] - powers.rest[c] * shift);
    out.m3[to] = powers.m3[c] - 3 * shift * powers.m2[c] + 2 * count * shift * shift * shift;
  }
}

template <typename T>
void parts_moments(const T* at, std::size_t stride, std::size_t rows, std::size_t columns, std::size_t abreast, std::size_t padded,
                   BlockMoments& out) {
  for (std::size_t first = 0; first < columns; first += kLanes)
    part_moments(Part<T>{at + first, stride * abreast, rows / abreast, std::min(kLanes, columns - first), abreast}, padded, first, out);
}

}  // namespace

void block_moments(double* tile, std::size_t rows, std::size_t columns, BlockMoments& out) {
  const std::size_t abreast = rows_abreast(columns);
  const std::size_t padded = (abreast - rows % abreast) % abreast;
  std::fill(tile + rows * columns, tile + rows * columns + padded * columns, std::numeric_limits<double>::quiet_NaN());
  std::fill(tile + (rows + padded) * columns, tile + (rows + padded) * columns + kLanes, 0.0);
  parts_moments(tile, columns, rows + padded, columns, abreast, padded, out);
}

template <typename T>
void block_moments_in_place(const T* values, std::size_t stride, std::size_t rows, std::size_t columns, BlockMoments& out) {
  parts_moments(values, stride, rows, columns, stride == columns ? rows_abreast(columns) : 1, 0, out);
}

template void block_moments_in_place(const float*, std::size_t, std::size_t, std::size_t, BlockMoments&);
template void block_moments_in_place(const double*, std::size_t, std::size_t, std::size_t, BlockMoments&);

}  // namespace headrace::statistics
