#include "headrace/statistics/sort_values.h"

#include <algorithm>
#include <bit>
#include <cstdint>

namespace headrace::statistics {
namespace {

constexpr std::size_t kFew = 256;  // below, comparing is as fast
constexpr std::size_t kBytes = 8, kDigits = 256;
constexpr std::uint64_t kSign = std::uint64_t{1} << 63;

// Keys rise as values do, without a sign.
std::uint64_t key_of(double value) {
  const auto bits = std::bit_cast<std::uint64_t>(value);
  return bits ^ ((bits >> 63) != 0 ? ~std::uint64_t{0} : kSign);
}
double value_of(std::uint64_t key) { return std::bit_cast<double>(key ^ ((key >> 63) != 0 ? kSign : ~std::uint64_t{0})); }

std::size_t digit(std::uint64_t key, std::size_t byte) { return key >> (8 * byte) & (kDigits - 1); }

// Where the keys of each digit go.
void to_places(std::uint32_t* counts) {
  std::uint32_t at = 0;
  for (std::size_t d = 0; d < kDigits; ++d) {
    const std::uint32_t count = counts[d];
    counts[d] = at;
    at += count;
  }
}

}  // namespace

void sort_values(double* values, std::size_t count, double* scratch) {
  if (count < kFew) {
    std::sort(values, values + count, [](double a, double b) { return key_of(a) < key_of(b); });
    return;
  }
  std::uint32_t counts[kBytes][kDigits] = {};
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint64_t key = key_of(values[i]);
    values[i] = std::bit_cast<double>(key);
    for (std::size_t b = 0; b < kBytes; ++b) ++counts[b][digit(key, b)];
  }
  double *from = values, *to = scratch;
  const auto first = std::bit_cast<std::uint64_t>(values[0]);
  for (std::size_t b = 0; b < kBytes; ++b) {
    if (counts[b][digit(first, b)] == count) continue;
    to_places(counts[b]);
    for (std::size_t i = 0; i < count; ++i) to[counts[b][digit(std::bit_cast<std::uint64_t>(from[i]), b)]++] = from[i];
    std::swap(from, to);
  }
  for (std::size_t i = 0; i < count; ++i) values[i] = value_of(std::bit_cast<std::uint64_t>(from[i]));
}

}  // namespace headrace::statistics
