#include "headrace/statistics/frequencies.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <new>

#include "headrace/codec/checksum.h"

namespace headrace::statistics {
namespace {

constexpr std::size_t kAtOnce = 512;
constexpr std::size_t kFirstPlaces = 64;
constexpr std::uint32_t kState = 0x31465248;  // "HRF1"

Status out_of_memory() { return {Code::kOutOfMemory, "frequencies: out of memory"}; }

std::uint64_t text_key(std::string_view text) { return codec::hash({reinterpret_cast<const std::uint8_t*>(text.data()), text.size()}, 0); }

bool is_before(KeyKind kind, const Frequencies::Entry& a, const Frequencies::Entry& b) {
  switch (kind) {
    case KeyKind::kSigned: return static_cast<std::int64_t>(a.key) < static_cast<std::int64_t>(b.key);
    case KeyKind::kFloat: return std::bit_cast<double>(a.key) < std::bit_cast<double>(b.key);
    case KeyKind::kText: return a.text < b.text;
    default: return a.key < b.key;
  }
}

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
    const Entry& entry = entries_[place - 1];
    if (entry.key == key && (kind_ != KeyKind::kText || entry.text == text)) return place;
  }
}

void Frequencies::index_all(std::size_t places) {
  index_.assign(places, 0);
  for (std::size_t i = 0; i < entries_.size(); ++i) place_of(entries_[i].key, entries_[i].text) = static_cast<std::uint32_t>(i + 1);
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
  entries_.push_back({key, count, std::string(text)});
  place = static_cast<std::uint32_t>(entries_.size());
  text_bytes_ += text.size();
  while (entries_.size() > limit_ || text_bytes_ > kMaxTextBytes) purge();
  if (entries_.size() * 2 > index_.size()) index_all(index_.size() * 2);
}

void Frequencies::purge() {
  std::vector<std::int64_t> counts;
  counts.reserve(entries_.size());
  for (const Entry& entry : entries_) counts.push_back(entry.count);
  const auto middle = counts.begin() + static_cast<std::ptrdiff_t>(counts.size() / 2);
  std::nth_element(counts.begin(), middle, counts.end());
  const std::int64_t taken = *middle;
  error_ += taken;
  std::erase_if(entries_, [&](Entry& entry) { return (entry.count -= taken) <= 0; });
  text_bytes_ = 0;
  for (const Entry& entry : entries_) text_bytes_ += entry.text.size();
  index_all(index_.size());
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
  HR_ASSIGN_OR_RETURN(const std::vector<Entry> theirs, other.items(other.size()));
  if (other.kind_ != KeyKind::kNone) HR_RETURN_IF_ERROR(be(other.kind_));
  const std::int64_t error = other.error_, count = other.count_, nulls = other.nulls_;
  for (const Entry& entry : theirs) add(entry.key, entry.text, entry.count);
  error_ += error;
  count_ += count;
  nulls_ += nulls;
  return {};
} catch (const std::bad_alloc&) {
  return out_of_memory();
}

Result<std::vector<Frequencies::Entry>> Frequencies::items(std::size_t most) const try {
  std::vector<const Entry*> order;
  order.reserve(entries_.size());
  for (const Entry& entry : entries_) order.push_back(&entry);
  most = std::min(most, order.size());
  std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(most), order.end(),
                    [&](const Entry* a, const Entry* b) { return a->count != b->count ? a->count > b->count : is_before(kind_, *a, *b); });
  std::vector<Entry> found;
  found.reserve(most);
  for (std::size_t i = 0; i < most; ++i) found.push_back(*order[i]);
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
  for (const Entry& entry : entries_) {
    out.write(entry.key);
    out.write(entry.count);
    if (kind_ != KeyKind::kText) continue;
    out.write(static_cast<std::uint64_t>(entry.text.size()));
    out.write_string(entry.text);
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
