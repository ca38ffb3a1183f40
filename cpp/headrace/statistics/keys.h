// Values as 64-bit keys, and hashes of them: what counts of distinct and frequent values work on.
//
// Equal numbers have equal keys within a kind: integers and booleans by value, floats as float64 (0.0 and -0.0 are one). Texts are bytes.
// Borrows its arrays. Plain functions; any thread.
#pragma once

#include <cstddef>
#include <cstdint>

#include "headrace/base/bytes.h"
#include "headrace/statistics/rows.h"

namespace headrace::statistics {

enum class KeyKind : std::uint8_t { kNone = 0, kSigned = 1, kUnsigned = 2, kFloat = 3, kText = 4 };

// kUnsigned for uint64 alone: all other integers fit int64.
KeyKind key_kind(format::DType dtype);

// Texts one after the other: text i is bytes[offsets[i] .. offsets[i + 1]).
struct Texts {
  const std::uint8_t* bytes = nullptr;
  const std::int64_t* offsets = nullptr;  // count + 1, not falling
  std::size_t count = 0;
  const std::uint8_t* valid = nullptr;  // one a text; nullptr: none is null

  Bytes at(std::size_t i) const { return {bytes + offsets[i], static_cast<std::size_t>(offsets[i + 1] - offsets[i])}; }
  bool is_null(std::size_t i) const { return valid != nullptr && valid[i] == 0; }
};

// Errors: kInvalidArgument, where offsets fall or leave the `size` bytes.
Status check_offsets(const std::int64_t* offsets, std::size_t count, std::size_t size);

// Keys of rows [first, first + count) of rows of width 1; present[i] is 0 for nulls and NaN.
void load_keys(const Rows& rows, std::size_t first, std::size_t count, std::uint64_t* keys, std::uint8_t* present);

// A bijection that spreads keys over all bits (Stafford's variant 13 of MurmurHash3's finisher).
inline std::uint64_t spread(std::uint64_t key) {
  key = (key ^ (key >> 30)) * 0xBF58476D1CE4E5B9ull;
  key = (key ^ (key >> 27)) * 0x94D049BB133111EBull;
  return key ^ (key >> 31);
}

// hashes[i] becomes a hash of itself and of row i: all its values and which are null. For hashes over several fields, one after the other.
void mix_rows(const Rows& rows, std::uint64_t* hashes);
void mix_texts(const Texts& texts, std::uint64_t* hashes);

}  // namespace headrace::statistics
