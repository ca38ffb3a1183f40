// How often each value occurs: exactly up to `limit` different ones, afterwards the frequent ones within a bound.
//
// Source: Misra, Gries 1982; the purge by the median of Anderson et al. 2017, "A high-performance algorithm for identifying frequent items
// in data streams". When there are more than `limit` values, the median of their counts is taken from all and what reaches 0 goes. So a
// count is at most error() below the truth, never above, and a value that is not listed occurred at most error() times; error() <= 2 count
// / limit. The order of values decides what is kept: the same rows in the same order give the same table, however they were cut into
// batches. Memory:  about 40 bytes a value; texts together at most kMaxTextBytes: beyond that too, the rare ones go. Threads: one at a
// time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "headrace/base/bytes.h"
#include "headrace/base/status.h"
#include "headrace/statistics/keys.h"

namespace headrace::statistics {

class Frequencies {
 public:
  static constexpr std::size_t kMaxLimit = std::size_t{1} << 26;
  static constexpr std::size_t kMaxTextBytes = std::size_t{1} << 26;

  struct Item {
    std::uint64_t key = 0;  // of a text: its hash
    std::int64_t count = 0;
    std::string text;
  };

  // Errors: kInvalidArgument (limit below 2 or beyond kMaxLimit), kOutOfMemory.
  static Result<Frequencies> create(std::size_t limit);
  static Result<Frequencies> load(Bytes state);

  // Nulls and NaN are counted apart. Errors: kInvalidArgument (another kind of values than before), kOutOfMemory. REQUIRES: rows.width
  // == 1.
  Status update(const Rows& rows);
  Status update(const Texts& texts);
  Status merge(const Frequencies& other);

  // The most frequent first, equal counts by value; `most` of them.
  Result<std::vector<Item>> items(std::size_t most) const;
  // Forgets all values whose keys are above `key`, as if they had never been added. For numbers.
  Status keep_up_to(std::uint64_t key);
  KeyKind kind() const { return kind_; }
  std::size_t limit() const { return limit_; }
  std::size_t size() const { return entries_.size(); }
  bool is_exact() const { return error_ == 0; }
  std::int64_t error() const { return error_; }
  std::int64_t count() const { return count_; }  // values that are there
  std::int64_t nulls() const { return nulls_; }
  Result<std::vector<std::uint8_t>> save() const;

 private:
  struct Entry {
    std::uint64_t key;
    std::int64_t count;
  };
  explicit Frequencies(std::size_t limit) : limit_(limit) {}
  Status be(KeyKind kind);
  void add(std::uint64_t key, std::string_view text, std::int64_t count);
  std::uint32_t& place_of(std::uint64_t key, std::string_view text);
  void purge();
  void index_all(std::size_t places);
  template <typename Stays>
  void keep(const Stays& stays);
  bool is_before(std::uint32_t a, std::uint32_t b) const;

  std::size_t limit_;
  KeyKind kind_ = KeyKind::kNone;
  std::vector<Entry> entries_;
  std::vector<std::string> texts_;    // of each entry, where they are texts
  std::vector<std::uint32_t> index_;  // 1 + the entry's number; 0: free. Open addressing, at most half full
  std::size_t text_bytes_ = 0;
  std::int64_t error_ = 0, count_ = 0, nulls_ = 0;
};

}  // namespace headrace::statistics
