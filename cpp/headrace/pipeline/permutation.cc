#include "headrace/pipeline/permutation.h"

#include <algorithm>
#include <bit>

#include "headrace/base/multiversion.h"

namespace headrace::pipeline {
namespace {

constexpr int kMinBits = 10;  // Tiny domains permute badly; walking a larger one costs at most 2^10 steps in all.
constexpr std::uint64_t kGolden = 0x9E3779B97F4A7C15ull;

// Finaliser of SplitMix64 (Steele, Lea, Flood 2014).
std::uint64_t finalise(std::uint64_t z) {
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
  return z ^ (z >> 31);
}

inline std::uint64_t round_hash(std::uint64_t half, std::uint64_t key, int bits) {
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
  const int bits = std::max(kMinBits, size > 1 ? static_cast<int>(std::bit_width(size - 1)) : 0);
  high_bits_ = bits / 2;
  low_bits_ = bits - high_bits_;
  for (int i = 0; i < kRounds; ++i) keys_[static_cast<std::size_t>(i)] = finalise(key + kGolden * static_cast<std::uint64_t>(i + 1));
  if (size > 1) swap_ = finalise(key + kGolden * static_cast<std::uint64_t>(kRounds + 1)) >> 63;
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

}  // namespace headrace::pipeline
