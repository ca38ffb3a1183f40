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

constexpr std::size_t kFirstRows = 4;       // of lanes, whose mean is the shift
constexpr double kMostOfShift = 15.0 / 16;  // of the squares about the shift, which its distance from the mean may be

struct Sums {
  double sum[kLanes];
  long long count[kLanes], nulls[kLanes];
};
struct Powers {
  long long count[kLanes];
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

// Powers of what is left of each value when its lane's center is taken off; of finite values, or of all but NaN.
template <bool kFinite, typename T>
HR_INLINE void power_lanes(const T* x, std::size_t rows, std::size_t stride, const double* centers, Powers& out) {
  Vector center[kVectors], rest[kVectors] = {}, m2[kVectors] = {}, m3[kVectors] = {}, least[kVectors], most[kVectors];
  Mask count[kVectors] = {};
  std::memcpy(center, centers, sizeof center);
  for (std::size_t q = 0; q < kVectors; ++q) {
    least[q] = Vector{} + std::numeric_limits<double>::infinity();
    most[q] = -least[q];
  }
  for (std::size_t r = 0; r < rows; ++r, x += stride) {
    for (std::size_t q = 0; q < kVectors; ++q) {
      Vector v;
      Mask taken;
      load(x + q * 8, v);
      if constexpr (kFinite) {
        Mask bits;
        std::memcpy(&bits, &v, sizeof bits);
        taken = (bits & kMagnitude) < kInfinity;
        least[q] = (taken & (v < least[q])) ? v : least[q];
        most[q] = (taken & (v > most[q])) ? v : most[q];
      } else {
        taken = v == v;
        least[q] = v < least[q] ? v : least[q];
        most[q] = v > most[q] ? v : most[q];
      }
      const Vector d = taken ? v - center[q] : Vector{}, dd = d * d;
      count[q] -= taken;
      rest[q] += d;
      m2[q] += dd;
      m3[q] += dd * d;
    }
  }
  std::memcpy(out.count, count, sizeof count);
  std::memcpy(out.rest, rest, sizeof rest);
  std::memcpy(out.m2, m2, sizeof m2);
  std::memcpy(out.m3, m3, sizeof m3);
  std::memcpy(out.min, least, sizeof least);
  std::memcpy(out.max, most, sizeof most);
}

// On the processor's own vectors.
#define HR_KERNELS(T)                                                                                                                      \
  HR_MULTIVERSION void sum_finite(const T* x, std::size_t rows, std::size_t stride, Sums& out) { sum_finite_lanes(x, rows, stride, out); } \
  HR_MULTIVERSION void powers_of_numbers(const T* x, std::size_t rows, std::size_t stride, const double* centers, Powers& out) {           \
    power_lanes<false>(x, rows, stride, centers, out);                                                                                     \
  }                                                                                                                                        \
  HR_MULTIVERSION void powers_of_finite(const T* x, std::size_t rows, std::size_t stride, const double* centers, Powers& out) {            \
    power_lanes<true>(x, rows, stride, centers, out);                                                                                      \
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
      powers.count[c] += powers.count[lane];
      powers.rest[c] += powers.rest[lane];
      powers.m2[c] += powers.m2[lane];
      powers.m3[c] += powers.m3[lane];
      powers.min[c] = std::min(powers.min[c], powers.min[lane]);
      powers.max[c] = std::max(powers.max[c], powers.max[lane]);
    }
  }
}

// Each column's number, for all of its lanes.
template <typename T>
void spread(const Part<T>& part, double* lanes) {
  for (std::size_t g = 1; g < part.abreast; ++g) std::copy(lanes, lanes + part.columns, lanes + g * part.columns);
}

// Whether sums about a shift tell a column's moments: where it is far from the mean, rounding would show in them.
bool is_exact(const Powers& powers, std::size_t c) {
  if (powers.count[c] == 0 || powers.min[c] == powers.max[c]) return std::isfinite(powers.rest[c]);
  const double of_shift = powers.rest[c] * (powers.rest[c] / static_cast<double>(powers.count[c]));
  return std::isfinite(powers.m2[c]) && std::isfinite(powers.m3[c]) && of_shift <= kMostOfShift * powers.m2[c];
}

// One pass, about the mean of the first few rows. Answers whether it is exact: no infinity, and a shift near the mean.
template <typename T>
bool shifted_powers(const Part<T>& part, double* centers, Powers& powers) {
  Sums first;
  sum_finite(part.at, std::min(part.rows, kFirstRows), part.stride, first);
  fold(part, first);
  for (std::size_t c = 0; c < part.columns; ++c) {
    centers[c] = first.count[c] == 0 ? 0.0 : first.sum[c] / static_cast<double>(first.count[c]);
    if (!std::isfinite(centers[c])) return false;
  }
  spread(part, centers);
  powers_of_numbers(part.at, part.rows, part.stride, centers, powers);
  fold(part, powers);
  for (std::size_t c = 0; c < part.columns; ++c)
    if (!is_exact(powers, c)) return false;
  return true;
}

// Two passes: the mean, then powers of what is left. Answers each column's nulls and infinities in `sums`.
template <typename T>
void centered_powers(const Part<T>& part, double* centers, Powers& powers, Sums& sums) {
  sum_finite(part.at, part.rows, part.stride, sums);
  fold(part, sums);
  for (std::size_t c = 0; c < part.columns; ++c) {
    const auto count = static_cast<double>(sums.count[c]);
    centers[c] = sums.count[c] == 0 ? 0.0 : sums.sum[c] / count;
    if (!std::isfinite(centers[c])) centers[c] = scaled_mean(part.at + c, part.rows * part.abreast, part.stride / part.abreast, count);
  }
  spread(part, centers);
  powers_of_finite(part.at, part.rows, part.stride, centers, powers);
  fold(part, powers);
}

template <typename T>
void part_moments(const Part<T>& part, std::size_t padded_rows, std::size_t first, BlockMoments& out) {
  Sums sums;
  Powers powers;
  double centers[kLanes] = {};
  const auto rows = static_cast<std::int64_t>(part.rows * part.abreast);
  const bool is_shifted = shifted_powers(part, centers, powers);
  if (!is_shifted) centered_powers(part, centers, powers, sums);
  for (std::size_t c = 0; c < part.columns; ++c) {
    const std::size_t to = first + c;
    const std::int64_t nulls = is_shifted ? rows - powers.count[c] : sums.nulls[c];
    const auto count = static_cast<double>(powers.count[c]);
    out.count[to] = powers.count[c];
    out.nulls[to] = nulls - static_cast<std::int64_t>(padded_rows);
    out.infinities[to] = rows - powers.count[c] - nulls;
    out.min[to] = powers.min[c];
    out.max[to] = powers.max[c];
    out.mean[to] = centers[c];
    out.mean_low[to] = 0;
    out.m2[to] = powers.m2[c];
    out.m3[to] = powers.m3[c];
    if (powers.count[c] == 0) continue;
    if (powers.min[c] == powers.max[c]) {  // Constants are exact.
      out.mean[to] = powers.min[c];
      out.m2[to] = out.m3[to] = 0;
      continue;
    }
    // From powers about the center to those about the mean (Chan, Golub, LeVeque 1983: shifted data, and the corrected two-pass algorithm).
    const double shift = powers.rest[c] / count;
    if (!std::isfinite(powers.m2[c]) || !std::isfinite(shift)) continue;
    out.mean[to] = centers[c] + shift;
    out.mean_low[to] = shift - (out.mean[to] - centers[c]);
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
