// A keyed bijection on [0, size): shuffling without a shuffle array.
//
// An alternating Feistel network on the smallest power of two that holds `size` (at least 2^10), walked until the value
// falls inside (cycle walking; fewer than two rounds of it on average). Exact for any size from 0 to 2^48.
// A Feistel network on a whole power of two only makes even permutations (each round is a product of an even number of swaps), and sizes
// beside it inherit that: one in two permutations would never be seen. So a bit of the key swaps the values 0 and 1 at the end, or not.
// Sources: Luby and Rackoff 1988 (Feistel networks as permutations); Black and Rogaway 2002 (cycle walking).
// The round function is a multiply-xorshift hash; kRounds was chosen by the tests in tests/sampling/test_order.py.
//
// Plain value; any thread. tests/sampling/order_twin.py is its twin in numpy.
#pragma once

#include <array>
#include <cstdint>
#include <span>

namespace headrace::pipeline {

// Mixes two words into a key: never by addition alone, so that (0, 1) and (1, 0) differ.
std::uint64_t mix_key(std::uint64_t a, std::uint64_t b);

class Permutation {
 public:
  static constexpr int kRounds = 8;

  Permutation() : Permutation(0, 0) {}
  Permutation(std::uint64_t size, std::uint64_t key);

  std::uint64_t size() const { return size_; }
  // REQUIRES: index < size().
  std::uint64_t forward(std::uint64_t index) const;
  std::uint64_t inverse(std::uint64_t value) const;
  // out[i] = forward(begin + i). REQUIRES: begin + out.size() <= size().
  void forward(std::uint64_t begin, std::span<std::uint64_t> out) const;
  // out[i] = inverse(begin + i). REQUIRES: begin + out.size() <= size().
  void inverse(std::uint64_t begin, std::span<std::uint64_t> out) const;

 private:
  std::uint64_t encrypt(std::uint64_t value) const;
  std::uint64_t decrypt(std::uint64_t value) const;
  std::uint64_t swapped(std::uint64_t value) const { return value ^ (value < 2 ? swap_ : 0); }
  std::uint64_t size_ = 0;
  int low_bits_ = 5;        // the half that odd rounds change
  int high_bits_ = 5;       // the half that even rounds change
  std::uint64_t swap_ = 0;  // 1: the values 0 and 1 change places
  std::array<std::uint64_t, kRounds> keys_{};
};

// values[i] = Permutation(sizes[i], keys[i]).forward(values[i]). Of many together, since one alone waits for its chain of products.
// REQUIRES: as many sizes and keys as values, values[i] < sizes[i].
void forward_each(std::span<const std::uint64_t> sizes, std::span<const std::uint64_t> keys, std::span<std::uint64_t> values);

}  // namespace headrace::pipeline
