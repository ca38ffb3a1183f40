#include "headrace/pipeline/permutation.h"

#include <algorithm>
#include <array>
#include <bit>
#include <numeric>

#include "headrace/base/multiversion.h"

namespace headrace::pipeline {
namespace {

constexpr int kMinBits = 10;  // Tiny domains permute badly; walking a larger one costs at most 2^10 steps in all.
constexpr std::uint64_t kGolden = 0x9E3779B97F4A7C15ull;
constexpr std::size_t kAbreast = 128;  // values of forward_each() that are walked together

// Finaliser of SplitMix64 (Steele, Lea, Flood 2014).
HR_INLINE std::uint64_t finalise(std::uint64_t z) {
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
  return z ^ (z >> 31);
}

// Of the network for `size` values: all, of which half, rounded down, are the high ones.
int bits_of(std::uint64_t size) { return std::max(kMinBits, size > 1 ? static_cast<int>(std::bit_width(size - 1)) : 0); }

HR_INLINE std::uint64_t round_key(std::uint64_t key, int round) { return finalise(key + kGolden * static_cast<std::uint64_t>(round + 1)); }

template <typename Bits>
HR_INLINE std::uint64_t round_hash(std::uint64_t half, std::uint64_t key, Bits bits) {
  std::uint64_t h = (half ^ key) * 0xD6E8FEB86659FD93ull;
  h = (h ^ (h >> 32)) * 0xD6E8FEB86659FD93ull;
  return h >> (64 - bits);
}

// out[i] = the network's output for begin + i. A free function over plain values: what the compiler needs to see to vectorise it.
HR_MULTIVERSION
void encrypt_all(std::uint64_t begin, std::uint64_t* out, std::size_t count, const std::uint64_t* keys, int low_bits, int high_bits) {
  const std::uint64_t low_mask = (1ull << low_bits) - 1;
  for (std::size_t i = 0; i < count; ++i) {
    std::uint64_t low = (begin + i) & low_mask;
    std::uint64_t high = (begin + i) >> low_bits;
    for (int round = 0; round < Permutation::kRounds; round += 2) {
      high ^= round_hash(low, keys[round], high_bits);
      low ^= round_hash(high, keys[round + 1], low_bits);
    }
    out[i] = high << low_bits | low;
  }
}

// The same for networks of their own.
HR_MULTIVERSION
void encrypt_each(const std::uint64_t* keys, const std::uint64_t* low_bits, const std::uint64_t* high_bits, std::uint64_t* values,
                  std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint64_t key = keys[i], low_size = low_bits[i], high_size = high_bits[i];
    std::uint64_t low = values[i] & ((1ull << low_size) - 1);
    std::uint64_t high = values[i] >> low_size;
    for (int round = 0; round < Permutation::kRounds; round += 2) {
      high ^= round_hash(low, round_key(key, round), high_size);
      low ^= round_hash(high, round_key(key, round + 1), low_size);
    }
    values[i] = high << low_size | low;
  }
}

// The same for the network's inverse.
HR_MULTIVERSION
void decrypt_all(std::uint64_t begin, std::uint64_t* out, std::size_t count, const std::uint64_t* keys, int low_bits, int high_bits) {
  const std::uint64_t low_mask = (1ull << low_bits) - 1;
  for (std::size_t i = 0; i < count; ++i) {
    std::uint64_t low = (begin + i) & low_mask;
    std::uint64_t high = (begin + i) >> low_bits;
    for (int round = Permutation::kRounds; round > 0; round -= 2) {
      low ^= round_hash(high, keys[round - 1], low_bits);
      high ^= round_hash(low, keys[round - 2], high_bits);
    }
    out[i] = high << low_bits | low;
  }
}

}  // namespace

std::uint64_t mix_key(std::uint64_t a, std::uint64_t b) {
  return finalise(finalise(a + kGolden) ^ (b + 2 * kGolden) * 0xD1342543DE82EF95ull);
}

Permutation::Permutation(std::uint64_t size, std::uint64_t key) : size_(size) {
  const int bits = bits_of(size);
  high_bits_ = bits / 2;
  low_bits_ = bits - high_bits_;
  for (int i = 0; i < kRounds; ++i) keys_[static_cast<std::size_t>(i)] = round_key(key, i);
  if (size > 1) swap_ = round_key(key, kRounds) >> 63;
}

inline std::uint64_t Permutation::encrypt(std::uint64_t value) const {
  std::uint64_t low = value & ((1ull << low_bits_) - 1);
  std::uint64_t high = value >> low_bits_;
  for (std::size_t i = 0; i < kRounds; i += 2) {
    high ^= round_hash(low, keys_[i], high_bits_);
    low ^= round_hash(high, keys_[i + 1], low_bits_);
  }
  return high << low_bits_ | low;
}

inline std::uint64_t Permutation::decrypt(std::uint64_t value) const {
  std::uint64_t low = value & ((1ull << low_bits_) - 1);
  std::uint64_t high = value >> low_bits_;
  for (std::size_t i = kRounds; i > 0; i -= 2) {
    low ^= round_hash(high, keys_[i - 1], low_bits_);
    high ^= round_hash(low, keys_[i - 2], high_bits_);
  }
  return high << low_bits_ | low;
}

std::uint64_t Permutation::forward(std::uint64_t index) const {
  do {
    index = encrypt(index);
  } while (index >= size_);
  return swapped(index);
}

std::uint64_t Permutation::inverse(std::uint64_t value) const {
  value = swapped(value);
  do {
    value = decrypt(value);
  } while (value >= size_);
  return value;
}

void Permutation::forward(std::uint64_t begin, std::span<std::uint64_t> out) const {
  // Two passes: the first has no branch, so that it runs on vectors; the second walks the few that fell outside.
  encrypt_all(begin, out.data(), out.size(), keys_.data(), low_bits_, high_bits_);
  for (std::uint64_t& value : out) {
    if (value >= 2 && value < size_) continue;
    while (value >= size_) value = encrypt(value);
    value = swapped(value);
  }
}

void Permutation::inverse(std::uint64_t begin, std::span<std::uint64_t> out) const {
  decrypt_all(begin, out.data(), out.size(), keys_.data(), low_bits_, high_bits_);
  for (std::uint64_t& position : out) {
    while (position >= size_) position = decrypt(position);
  }
  // Values 0 and 1 may have changed places; they are the first of a run or not in it.
  for (std::uint64_t value = begin; value < std::min<std::uint64_t>(2, begin + out.size()); ++value) out[value - begin] = inverse(value);
}

void forward_each(std::span<const std::uint64_t> sizes, std::span<const std::uint64_t> keys, std::span<std::uint64_t> values) {
  std::array<std::uint64_t, kAbreast> some_keys, low_bits, high_bits, walked;
  std::array<std::size_t, kAbreast> at;  // those that are still outside
  for (std::size_t first = 0; first < values.size(); first += kAbreast) {
    std::size_t left = std::min(kAbreast, values.size() - first);
    std::iota(at.begin(), at.begin() + static_cast<std::ptrdiff_t>(left), first);
    while (left > 0) {
      for (std::size_t i = 0; i < left; ++i) {
        const auto bits = static_cast<std::uint64_t>(bits_of(sizes[at[i]]));
        some_keys[i] = keys[at[i]], high_bits[i] = bits / 2, low_bits[i] = bits - bits / 2, walked[i] = values[at[i]];
      }
      encrypt_each(some_keys.data(), low_bits.data(), high_bits.data(), walked.data(), left);
      std::size_t outside = 0;
      for (std::size_t i = 0; i < left; ++i) {
        values[at[i]] = walked[i];
        if (walked[i] >= sizes[at[i]]) at[outside++] = at[i];
      }
      left = outside;
    }
  }
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (values[i] < 2 && sizes[i] > 1) values[i] ^= round_key(keys[i], Permutation::kRounds) >> 63;
  }
}

}  // namespace headrace::pipeline
