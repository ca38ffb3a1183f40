#include "headrace/codec/filter.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cstring>
#include <string>
#include <vector>

#include "headrace/base/multiversion.h"

namespace headrace::codec {
namespace {

constexpr std::size_t kVectorBytes = 16;
constexpr std::size_t kTileBytes = 8192;  // a tile and its planes stay in the first-level cache

// 16 bytes that compile to SSE2, NEON or plain code alike.
typedef std::uint8_t Vector __attribute__((vector_size(kVectorBytes)));

Vector load(const std::uint8_t* from) { return load_le<Vector>(from); }
void store(std::uint8_t* to, Vector value) { store_le(to, value); }

Vector interleave_low(Vector a, Vector b) { return __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23); }
Vector interleave_high(Vector a, Vector b) {
  return __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
}

// One perfect shuffle of the 16 * S bytes: byte i of the first half goes to 2i, of the second to 2i + 1.
// It rotates the bits of each byte's index by one, so log2(S) of them turn planes into elements, and 4 turn elements into planes.
template <std::size_t S>
void perfect_shuffle(std::array<Vector, S>& rows) {
  std::array<Vector, S> next;
  for (std::size_t i = 0; i < S / 2; ++i) {
    next[2 * i] = interleave_low(rows[i], rows[i + S / 2]);
    next[2 * i + 1] = interleave_high(rows[i], rows[i + S / 2]);
  }
  rows = next;
}

// Elements [0, count) of `in` to planes of `out`, plane k at out + k * stride.
void shuffle_any(std::size_t s, const std::uint8_t* in, std::size_t count, std::uint8_t* out, std::size_t stride) {
  for (std::size_t k = 0; k < s; ++k) {
    for (std::size_t j = 0; j < count; ++j) out[k * stride + j] = in[j * s + k];
  }
}

void unshuffle_any(std::size_t s, const std::uint8_t* in, std::size_t stride, std::uint8_t* out, std::size_t count) {
  for (std::size_t k = 0; k < s; ++k) {
    for (std::size_t j = 0; j < count; ++j) out[j * s + k] = in[k * stride + j];
  }
}

template <std::size_t S>
void shuffle_fixed(const std::uint8_t* in, std::size_t count, std::uint8_t* out, std::size_t stride) {
  std::size_t j = 0;
  for (; j + kVectorBytes <= count; j += kVectorBytes) {
    std::array<Vector, S> rows;
    for (std::size_t k = 0; k < S; ++k) rows[k] = load(in + j * S + k * kVectorBytes);
    for (int turn = 0; turn < 4; ++turn) perfect_shuffle<S>(rows);
    for (std::size_t k = 0; k < S; ++k) store(out + k * stride + j, rows[k]);
  }
  shuffle_any(S, in + j * S, count - j, out + j, stride);
}

template <std::size_t S>
void unshuffle_fixed(const std::uint8_t* in, std::size_t stride, std::uint8_t* out, std::size_t count) {
  std::size_t j = 0;
  for (; j + kVectorBytes <= count; j += kVectorBytes) {
    std::array<Vector, S> rows;
    for (std::size_t k = 0; k < S; ++k) rows[k] = load(in + k * stride + j);
    for (std::size_t turn = 1; turn < S; turn *= 2) perfect_shuffle<S>(rows);
    for (std::size_t k = 0; k < S; ++k) store(out + j * S + k * kVectorBytes, rows[k]);
  }
  unshuffle_any(S, in + j, stride, out + j * S, count - j);
}

void shuffle_tile(std::size_t s, const std::uint8_t* in, std::size_t count, std::uint8_t* out, std::size_t stride) {
  switch (s) {
    case 1: std::memcpy(out, in, count); return;
    case 2: return shuffle_fixed<2>(in, count, out, stride);
    case 4: return shuffle_fixed<4>(in, count, out, stride);
    case 8: return shuffle_fixed<8>(in, count, out, stride);
    case 16: return shuffle_fixed<16>(in, count, out, stride);
    default: return shuffle_any(s, in, count, out, stride);
  }
}

void unshuffle_tile(std::size_t s, const std::uint8_t* in, std::size_t stride, std::uint8_t* out, std::size_t count) {
  switch (s) {
    case 1: std::memcpy(out, in, count); return;
    case 2: return unshuffle_fixed<2>(in, stride, out, count);
    case 4: return unshuffle_fixed<4>(in, stride, out, count);
    case 8: return unshuffle_fixed<8>(in, stride, out, count);
    case 16: return unshuffle_fixed<16>(in, stride, out, count);
    default: return unshuffle_any(s, in, stride, out, count);
  }
}

// Element j minus element j - 1; the one before the first is `before`.
template <typename T>
void delta_of(const std::uint8_t* in, std::size_t count, T before, std::uint8_t* out) {
  if (count == 0) return;
  store_le(out, static_cast<T>(load_le<T>(in) - before));
  for (std::size_t j = 1; j < count; ++j) {
    store_le(out + j * sizeof(T), static_cast<T>(load_le<T>(in + j * sizeof(T)) - load_le<T>(in + (j - 1) * sizeof(T))));
  }
}

// Lanes moved up by N, zeros below: one step of a prefix sum inside a vector.
template <std::size_t N, typename V>
V moved_up(V value) {
  constexpr std::size_t kBytes = kVectorBytes;
  const Vector zero = {};
  const auto bytes = reinterpret_cast<Vector>(value);
  return [&]<std::size_t... I>(std::index_sequence<I...>) {
    return reinterpret_cast<V>(__builtin_shufflevector(zero, bytes, (I < N ? static_cast<int>(I) : static_cast<int>(kBytes + I - N))...));
  }(std::make_index_sequence<kBytes>{});
}

// Running sums of `in`, starting from `sum`; answers the last. `in` may be `out`.
template <typename T>
T prefix_sum(const std::uint8_t* in, std::size_t count, T sum, std::uint8_t* out) {
  std::size_t j = 0;
  if constexpr (sizeof(T) <= 4) {
    typedef T V __attribute__((vector_size(kVectorBytes)));
    constexpr std::size_t kLanes = kVectorBytes / sizeof(T);
    for (; j + kLanes <= count; j += kLanes) {
      V lanes = load_le<V>(in + j * sizeof(T));
      if constexpr (sizeof(T) <= 1) lanes += moved_up<1>(lanes);
      if constexpr (sizeof(T) <= 2) lanes += moved_up<2>(lanes);
      lanes += moved_up<4>(lanes);
      lanes += moved_up<8>(lanes);
      store_le(out + j * sizeof(T), static_cast<V>(lanes + sum));
      sum = static_cast<T>(sum + lanes[kLanes - 1]);
    }
  }
  for (; j < count; ++j) {
    sum = static_cast<T>(sum + load_le<T>(in + j * sizeof(T)));
    store_le(out + j * sizeof(T), sum);
  }
  return sum;
}

// Calls `body` with a zero of the unsigned integer of `s` bytes.
template <typename Body>
void with_integer(std::size_t s, Body&& body) {
  assert(s == 1 || s == 2 || s == 4 || s == 8);
  if (s == 1) body(std::uint8_t{0});
  if (s == 2) body(std::uint16_t{0});
  if (s == 4) body(std::uint32_t{0});
  if (s == 8) body(std::uint64_t{0});
}

// Elements that are taken together, so that a tile of them is in the cache for the second pass.
std::size_t tile_elements(std::size_t s) { return std::max<std::size_t>(kTileBytes / s, kVectorBytes); }

void delta_shuffle(std::size_t s, const std::uint8_t* in, std::size_t count, std::uint8_t* out) {
  with_integer(s, [&]<typename T>(T before) {
    alignas(64) std::array<std::uint8_t, kTileBytes> tile;
    constexpr std::size_t kStep = kTileBytes / sizeof(T);
    for (std::size_t j = 0; j < count; j += kStep) {
      const std::size_t part = std::min(kStep, count - j);
      delta_of<T>(in + j * sizeof(T), part, before, tile.data());
      before = load_le<T>(in + (j + part - 1) * sizeof(T));
      shuffle_tile(sizeof(T), tile.data(), part, out + j, count);
    }
  });
}

void unshuffle_sum(std::size_t s, const std::uint8_t* in, std::size_t count, std::uint8_t* out) {
  with_integer(s, [&]<typename T>(T sum) {
    constexpr std::size_t kStep = kTileBytes / sizeof(T);
    for (std::size_t j = 0; j < count; j += kStep) {
      const std::size_t part = std::min(kStep, count - j);
      unshuffle_tile(sizeof(T), in + j, count, out + j * sizeof(T), part);
      sum = prefix_sum<T>(out + j * sizeof(T), part, sum, out + j * sizeof(T));
    }
  });
}

void shuffle(std::size_t s, const std::uint8_t* in, std::size_t count, std::uint8_t* out) {
  const std::size_t step = tile_elements(s);
  for (std::size_t j = 0; j < count; j += step) shuffle_tile(s, in + j * s, std::min(step, count - j), out + j, count);
}

void unshuffle(std::size_t s, const std::uint8_t* in, std::size_t count, std::uint8_t* out) {
  const std::size_t step = tile_elements(s);
  for (std::size_t j = 0; j < count; j += step) unshuffle_tile(s, in + j, count, out + j * s, std::min(step, count - j));
}

// Bit b of byte a goes to bit a of byte b: an 8 x 8 matrix of bits in one word, its own inverse.
HR_INLINE std::uint64_t transposed(std::uint64_t x) {
  std::uint64_t t = (x ^ x >> 7) & 0x00AA00AA00AA00AAull;
  x ^= t ^ t << 7;
  t = (x ^ x >> 14) & 0x0000CCCC0000CCCCull;
  x ^= t ^ t << 14;
  t = (x ^ x >> 28) & 0x00000000F0F0F0F0ull;
  return x ^ t ^ t << 28;
}

HR_MULTIVERSION
void transpose_words(std::uint8_t* words, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) store_le(words + 8 * i, transposed(load_le<std::uint64_t>(words + 8 * i)));
}

// Elements of a tile whose planes fit two buffers, a multiple of 128 where that is possible.
std::size_t bit_tile_elements(std::size_t s) { return std::max<std::size_t>(8, kTileBytes / s / 128 * 128); }

// Calls body(first element, elements, tile buffer of s planes) for tiles of all whole groups of 8 elements.
template <typename Body>
void for_bit_tiles(std::size_t s, std::size_t count, Body&& body) {
  const std::size_t step = bit_tile_elements(s), whole = count / 8 * 8;
  std::vector<std::uint8_t> large;
  alignas(64) std::array<std::uint8_t, kTileBytes> small;
  if (step * s > small.size()) large.resize(step * s);
  std::uint8_t* const tile = large.empty() ? small.data() : large.data();
  for (std::size_t j = 0; j < whole; j += step) body(j, std::min(step, whole - j), tile);
}

// Row b of byte k (bit b of byte k of every element, 8 elements a byte) begins at (8 k + b) * rows.
void bit_shuffle(std::size_t s, const std::uint8_t* in, std::size_t count, std::uint8_t* out) {
  const std::size_t rows = count / 8;
  for_bit_tiles(s, count, [&](std::size_t at, std::size_t part, std::uint8_t* tile) {
    shuffle_tile(s, in + at * s, part, tile, part);
    for (std::size_t k = 0; k < s; ++k) {
      transpose_words(tile + k * part, part / 8);
      shuffle_tile(8, tile + k * part, part / 8, out + 8 * k * rows + at / 8, rows);
    }
  });
  if (count > rows * 8) std::memcpy(out + rows * 8 * s, in + rows * 8 * s, (count - rows * 8) * s);
}

void bit_unshuffle(std::size_t s, const std::uint8_t* in, std::size_t count, std::uint8_t* out) {
  const std::size_t rows = count / 8;
  for_bit_tiles(s, count, [&](std::size_t at, std::size_t part, std::uint8_t* tile) {
    for (std::size_t k = 0; k < s; ++k) {
      unshuffle_tile(8, in + 8 * k * rows + at / 8, rows, tile + k * part, part / 8);
      transpose_words(tile + k * part, part / 8);
    }
    unshuffle_tile(s, tile, part, out + at * s, part);
  });
  if (count > rows * 8) std::memcpy(out + rows * 8 * s, in + rows * 8 * s, (count - rows * 8) * s);
}

}  // namespace

Result<Filter> filter_from_name(std::string_view name) {
  for (const Filter filter : {Filter::kNone, Filter::kShuffle, Filter::kDelta, Filter::kDeltaShuffle, Filter::kBitShuffle}) {
    if (name == filter_name(filter)) return filter;
  }
  return Status(Code::kInvalidArgument,
                "filter '" + std::string(name) + "' is unknown; expected none, shuffle, delta, delta+shuffle or bitshuffle");
}

const char* filter_name(Filter filter) {
  switch (filter) {
    case Filter::kNone: return "none";
    case Filter::kShuffle: return "shuffle";
    case Filter::kDelta: return "delta";
    case Filter::kDeltaShuffle: return "delta+shuffle";
    case Filter::kBitShuffle: return "bitshuffle";
  }
  return "unknown";
}

bool filter_allows(Filter filter, std::uint32_t element_bytes) {
  switch (filter) {
    case Filter::kNone: return true;
    case Filter::kShuffle:
    case Filter::kBitShuffle: return element_bytes >= 1;
    case Filter::kDelta:
    case Filter::kDeltaShuffle: return element_bytes == 1 || element_bytes == 2 || element_bytes == 4 || element_bytes == 8;
  }
  return false;
}

void apply_filter(Filter filter, std::uint32_t element_bytes, Bytes in, MutableBytes out) {
  assert(in.size() == out.size() && filter_allows(filter, element_bytes));
  const std::size_t count = filter == Filter::kNone ? 0 : in.size() / element_bytes;
  switch (filter) {
    case Filter::kNone: break;
    case Filter::kShuffle: shuffle(element_bytes, in.data(), count, out.data()); break;
    case Filter::kDelta: with_integer(element_bytes, [&]<typename T>(T zero) { delta_of<T>(in.data(), count, zero, out.data()); }); break;
    case Filter::kBitShuffle: bit_shuffle(element_bytes, in.data(), count, out.data()); break;
    case Filter::kDeltaShuffle: delta_shuffle(element_bytes, in.data(), count, out.data()); break;
  }
  const std::size_t done = count * element_bytes;
  if (done < in.size()) std::memcpy(out.data() + done, in.data() + done, in.size() - done);
}

void revert_filter(Filter filter, std::uint32_t element_bytes, Bytes in, MutableBytes out) {
  assert(in.size() == out.size() && filter_allows(filter, element_bytes));
  const std::size_t count = filter == Filter::kNone ? 0 : in.size() / element_bytes;
  switch (filter) {
    case Filter::kNone: break;
    case Filter::kShuffle: unshuffle(element_bytes, in.data(), count, out.data()); break;
    case Filter::kDelta: with_integer(element_bytes, [&]<typename T>(T zero) { prefix_sum<T>(in.data(), count, zero, out.data()); }); break;
    case Filter::kBitShuffle: bit_unshuffle(element_bytes, in.data(), count, out.data()); break;
    case Filter::kDeltaShuffle: unshuffle_sum(element_bytes, in.data(), count, out.data()); break;
  }
  const std::size_t done = count * element_bytes;
  if (done < in.size()) std::memcpy(out.data() + done, in.data() + done, in.size() - done);
}

}  // namespace headrace::codec
