// Categories by number: a hash table from texts or keys to their places in the order that they were given in.
//
// Owns:     its texts. Threads: immutable, any thread.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "headrace/base/status.h"

namespace headrace::ops {

// A float as a key: 0.0 and -0.0 are one, and floats of both sizes that are equal have equal keys. REQUIRES: no NaN.
inline std::uint64_t float_key(double x) { return std::bit_cast<std::uint64_t>(x == 0 ? 0.0 : x); }

class CategoryTable {
 public:
  static constexpr std::size_t kMaxCategories = std::size_t{1} << 28;

  // Errors: kInvalidArgument: two are equal, or there are too many.
  static Result<CategoryTable> of_texts(std::vector<std::string> texts);
  static Result<CategoryTable> of_keys(std::vector<std::uint64_t> keys);

  // The place among those that were given, or -1.
  std::int64_t find(std::string_view text) const;
  std::int64_t find(std::uint64_t key) const;
  std::size_t size() const { return keys_.size(); }

 private:
  template <typename Same>
  std::int64_t find_where(std::uint64_t hash, const Same& is_same) const;
  template <typename SameAs>
  Status index_all(const SameAs& same_as);

  std::vector<std::uint64_t> keys_;  // of texts: their hashes
  std::vector<std::string> texts_;
  std::vector<std::uint32_t> slots_;  // 1 + the place; 0: free. Open addressing, at most half full
};

}  // namespace headrace::ops
