#include "headrace/ops/category_table.h"

#include "headrace/codec/xxh3.h"

namespace headrace::ops {
namespace {

std::uint64_t hash_of(std::string_view text) { return codec::xxh3_baseline(text.data(), text.size(), 0); }

// Stafford's variant 13 of MurmurHash3's finisher.
std::uint64_t hash_of(std::uint64_t key) {
  key = (key ^ (key >> 30)) * 0xBF58476D1CE4E5B9ull;
  key = (key ^ (key >> 27)) * 0x94D049BB133111EBull;
  return key ^ (key >> 31);
}

}  // namespace

template <typename Same>
std::int64_t CategoryTable::find_where(std::uint64_t hash, const Same& is_same) const {
  if (slots_.empty()) return -1;
  const std::size_t mask = slots_.size() - 1;
  for (std::size_t at = hash & mask; slots_[at] != 0; at = (at + 1) & mask) {
    if (is_same(slots_[at] - 1)) return slots_[at] - 1;
  }
  return -1;
}

// same_as(i): what finds a category equal to i.
template <typename SameAs>
Status CategoryTable::index_all(const SameAs& same_as) {
  if (keys_.size() > kMaxCategories) return {Code::kInvalidArgument, strf("%zu categories; at most %zu", keys_.size(), kMaxCategories)};
  slots_.assign(std::bit_ceil(keys_.size() * 2 + 2), 0);
  const std::size_t mask = slots_.size() - 1;
  for (std::size_t i = 0; i < keys_.size(); ++i) {
    const std::uint64_t hash = texts_.empty() ? hash_of(keys_[i]) : keys_[i];
    const std::int64_t other = find_where(hash, same_as(i));
    if (other >= 0) return {Code::kInvalidArgument, strf("categories %lld and %zu are equal", static_cast<long long>(other), i)};
    std::size_t at = hash & mask;
    while (slots_[at] != 0) at = (at + 1) & mask;
    slots_[at] = static_cast<std::uint32_t>(i + 1);
  }
  return Status::ok();
}

Result<CategoryTable> CategoryTable::of_texts(std::vector<std::string> texts) {
  CategoryTable out;
  out.texts_ = std::move(texts);
  for (const std::string& text : out.texts_) out.keys_.push_back(hash_of(text));
  HR_RETURN_IF_ERROR(out.index_all([&out](std::size_t i) { return [&out, i](std::size_t k) { return out.texts_[k] == out.texts_[i]; }; }));
  return out;
}

Result<CategoryTable> CategoryTable::of_keys(std::vector<std::uint64_t> keys) {
  CategoryTable out;
  out.keys_ = std::move(keys);
  HR_RETURN_IF_ERROR(out.index_all([&out](std::size_t i) { return [&out, i](std::size_t k) { return out.keys_[k] == out.keys_[i]; }; }));
  return out;
}

std::int64_t CategoryTable::find(std::string_view text) const {
  const std::uint64_t hash = hash_of(text);
  return find_where(hash, [&](std::size_t k) { return keys_[k] == hash && texts_[k] == text; });
}

std::int64_t CategoryTable::find(std::uint64_t key) const {
  return find_where(hash_of(key), [&](std::size_t k) { return keys_[k] == key; });
}

}  // namespace headrace::ops
