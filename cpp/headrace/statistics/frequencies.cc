#include "headrace/statistics/frequencies.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <new>
#include <numeric>

#include "headrace/codec/checksum.h"

namespace headrace::statistics {
namespace {

constexpr std::size_t kAtOnce = 512;
constexpr std::size_t kFirstPlaces = 64;
constexpr std::uint32_t kState = 0x31465248;  // "HRF1"

Status out_of_memory() { return {Code::kOutOfMemory, "frequencies: out of memory"}; }

std::uint64_t text_key(std::string_view text) { return codec::hash({reinterpret_cast<const std::uint8_t*>(text.data()), text.size()}, 0); }

}  // namespace

Result<Frequencies> Frequencies::create(std::size_t limit) try {
  if (limit < 2 || limit > kMaxLimit) return Status(Code::kInvalidArgument, strf("limit is %zu; expected 2 to %zu", limit, kMaxLimit));
  Frequencies made(limit);
  made.index_.resize(kFirstPlaces);
  return made;
} catch (const std::bad_alloc&) {
  return out_of_memory();
}

Status Frequencies::be(KeyKind kind) {
  if (kind == KeyKind::kNone || (kind_ != KeyKind::kNone && kind_ != kind)) {
    return {Code::kInvalidArgument,
            "frequencies: these are another kind of values than before; expected integers, uint64, floats or texts, one kind for all"};
  }
  kind_ = kind;
  return {};
}

// Where the index names a value, or would.
std::uint32_t& Frequencies::place_of(std::uint64_t key, std::string_view text) {
  const std::size_t mask = index_.size() - 1;
  for (std::size_t at = spread(key) & mask;; at = (at + 1) & mask) {
    std::uint32_t& place = index_[at];
    if (place == 0) return place;
    if (entries_[place - 1].key == key && (kind_ != KeyKind::kText || texts_[place - 1] == text)) return place;
  }
}

void Frequencies::index_all(std::size_t places) {
  index_.assign(places, 0);
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    place_of(entries_[i].key, kind_ == KeyKind::kText ? texts_[i] : std::string_view{}) = static_cast<std::uint32_t>(i + 1);
  }
}

void Frequencies::add(std::uint64_t key, std::string_view text, std::int64_t count) {
  std::uint32_t& place = place_of(key, text);
  if (place != 0) {
    entries_[place - 1].count += count;
    return;
  }
  if (text.size() > kMaxTextBytes) {  // Not kept at all; the bound holds for it as for others that are not listed.
    error_ += count;
    return;
  }
  if (kind_ == KeyKind::kText) texts_.emplace_back(text);
  entries_.push_back({key, count});
  place = static_cast<std::uint32_t>(entries_.size());
  text_bytes_ += text.size();
  while (entries_.size() > limit_ || text_bytes_ > kMaxTextBytes) purge();
  if (entries_.size() * 2 > index_.size()) index_all(index_.size() * 2);
}

template <typename Stays>
void Frequencies::keep(const Stays& stays) {
  std::size_t kept = 0;
  text_bytes_ = 0;
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    if (!stays(entries_[i])) continue;
    entries_[kept] = entries_[i];
    if (kind_ == KeyKind::kText) {
      if (kept != i) texts_[kept] = std::move(texts_[i]);
      text_bytes_ += texts_[kept].size();
    }
    ++kept;
  }
  entries_.resize(kept);
  if (kind_ == KeyKind::kText) texts_.resize(kept);
  index_all(index_.size());
}

void Frequencies::purge() {
  std::vector<std::int64_t> counts;
  counts.reserve(entries_.size());
  for (const Entry& entry : entries_) counts.push_back(entry.count);
  const auto middle = counts.begin() + static_cast<std::ptrdiff_t>(counts.size() / 2);
  std::nth_element(counts.begin(), middle, counts.end());
  const std::int64_t taken = *middle;
  error_ += taken;
  keep([&](Entry& entry) { return (entry.count -= taken) > 0; });
}

Status Frequencies::keep_up_to(std::uint64_t key) {
  if (kind_ == KeyKind::kText) return {Code::kInvalidArgument, "frequencies: texts have no order of keys"};
  keep([&](const Entry& entry) {
    if (entry.key > key) count_ -= entry.count;
    return entry.key <= key;
  });
  return {};
}

bool Frequencies::is_before(std::uint32_t a, std::uint32_t b) const {
  if (entries_[a].count != entries_[b].count) return entries_[a].count > entries_[b].count;
  const std::uint64_t key_a = entries_[a].key, key_b = entries_[b].key;
  switch (kind_) {
    case KeyKind::kSigned: return static_cast<std::int64_t>(key_a) < static_cast<std::int64_t>(key_b);
    case KeyKind::kFloat: return std::bit_cast<double>(key_a) < std::bit_cast<double>(key_b);
    case KeyKind::kText: return texts_[a] < texts_[b];
    default: return key_a < key_b;
  }
}

Status Frequencies::update(const Rows& rows) try {
  HR_RETURN_IF_ERROR(be(key_kind(rows.dtype)));
  std::uint64_t keys[kAtOnce];
  std::uint8_t present[kAtOnce];
  for (std::size_t done = 0; done < rows.count; done += kAtOnce) {
    const std::size_t now = std::min(kAtOnce, rows.count - done);
    load_keys(rows, done, now, keys, present);
    for (std::size_t i = 0; i < now; ++i) {
      if (present[i] == 0) {
        ++nulls_;
        continue;
      }
      ++count_;
      add(keys[i], {}, 1);
    }
  }
  return {};
} catch (const std::bad_alloc&) {
  return out_of_memory();
}

Status Frequencies::update(const Texts& texts) try {
  HR_RETURN_IF_ERROR(be(KeyKind::kText));
  for (std::size_t i = 0; i < texts.count; ++i) {
    if (texts.is_null(i)) {
      ++nulls_;
      continue;
    }
    ++count_;
    const Bytes bytes = texts.at(i);
    const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    add(text_key(text), text, 1);
  }
  return {};
} catch (const std::bad_alloc&) {
  return out_of_memory();
}

// Theirs come in the order of items(), so that what a merge keeps does not depend on how either table grew.
Status Frequencies::merge(const Frequencies& other) try {
  if (other.limit_ != limit_) return {Code::kInvalidArgument, strf("merge: the other has limit %zu; expected %zu", other.limit_, limit_)};
  HR_ASSIGN_OR_RETURN(const std::vector<Item> theirs, other.items(other.size()));
  if (other.kind_ != KeyKind::kNone) HR_RETURN_IF_ERROR(be(other.kind_));
  const std::int64_t error = other.error_, count = other.count_, nulls = other.nulls_;
  for (const Item& item : theirs) add(item.key, item.text, item.count);
  error_ += error;
  count_ += count;
  nulls_ += nulls;
  return {};
} catch (const std::bad_alloc&) {
  return out_of_memory();
}

Result<std::vector<Frequencies::Item>> Frequencies::items(std::size_t most) const try {
  std::vector<std::uint32_t> order(entries_.size());
  std::iota(order.begin(), order.end(), 0u);
  most = std::min(most, order.size());
  std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(most), order.end(),
                    [&](std::uint32_t a, std::uint32_t b) { return is_before(a, b); });
  std::vector<Item> found;
  found.reserve(most);
  for (std::size_t i = 0; i < most; ++i) {
    const Entry& entry = entries_[order[i]];
    found.push_back({entry.key, entry.count, kind_ == KeyKind::kText ? texts_[order[i]] : std::string()});
  }
  return found;
} catch (const std::bad_alloc&) {
  return out_of_memory();
}

Result<std::vector<std::uint8_t>> Frequencies::save() const try {
  ByteWriter out;
  out.write(kState);
  out.write(static_cast<std::uint32_t>(kind_));
  out.write(static_cast<std::uint64_t>(limit_));
  for (const std::int64_t value : {error_, count_, nulls_}) out.write(value);
  out.write(static_cast<std::uint64_t>(entries_.size()));
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    out.write(entries_[i].key);
    out.write(entries_[i].count);
    if (kind_ != KeyKind::kText) continue;
    out.write(static_cast<std::uint64_t>(texts_[i].size()));
    out.write_string(texts_[i]);
  }
  return std::move(out.bytes());
} catch (const std::bad_alloc&) {
  return out_of_memory();
}

Result<Frequencies> Frequencies::load(Bytes state) try {
  const Status damaged(Code::kInvalidArgument, strf("not the state of Frequencies: %zu bytes", state.size()));
  ByteReader in(state);
  if (in.read<std::uint32_t>() != kState) return damaged;
  const auto kind = in.read<std::uint32_t>();
  HR_ASSIGN_OR_RETURN(Frequencies made, create(in.read<std::uint64_t>()));
  made.kind_ = static_cast<KeyKind>(kind);
  std::int64_t numbers[3];
  for (std::int64_t& number : numbers) number = in.read<std::int64_t>();
  const auto size = in.read<std::uint64_t>();
  const bool sane = std::all_of(numbers, numbers + 3, [](std::int64_t n) { return n >= 0 && n >> 62 == 0; });
  if (!in.ok() || kind > 4 || !sane || size > made.limit_ || size > in.remaining() / 16) return damaged;
  std::int64_t left = numbers[1];
  for (std::uint64_t i = 0; i < size; ++i) {
    const auto key = in.read<std::uint64_t>();
    const auto count = in.read<std::int64_t>();
    std::string_view text;
    if (made.kind_ == KeyKind::kText) text = in.read_string(in.read<std::uint64_t>());
    if (!in.ok() || count < 1 || count > left || (made.kind_ == KeyKind::kText && key != text_key(text))) return damaged;
    left -= count;
    made.add(key, text, count);
    if (made.entries_.size() != i + 1) return damaged;  // One twice, or too many.
  }
  if (in.remaining() != 0) return damaged;
  made.error_ = numbers[0], made.count_ = numbers[1], made.nulls_ = numbers[2];
  return made;
} catch (const std::bad_alloc&) {
  return out_of_memory();
}

}  // namespace headrace::statistics
