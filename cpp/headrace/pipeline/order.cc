#include "headrace/pipeline/order.h"

#include <algorithm>
#include <array>
#include <mutex>
#include <numeric>

#include "headrace/base/bytes.h"

namespace headrace::pipeline {
namespace {

constexpr std::uint64_t kMostListed = 1u << 22;  // positions that are indexed; sorting them in takes about 50 ms, once

}  // namespace

Result<OrderKind> order_from_name(std::string_view name) {
  if (name == "sequential") return OrderKind::kSequential;
  if (name == "global") return OrderKind::kGlobal;
  if (name == "window") return OrderKind::kWindow;
  if (name == "weighted") return OrderKind::kWeighted;
  if (name == "mixed") return OrderKind::kMixed;
  if (name == "strata") return OrderKind::kStrata;
  return Status(Code::kInvalidArgument, strf("order is '%.*s'; expected 'global', 'window', 'weighted', 'mixed', 'strata' or 'sequential'",
                                             static_cast<int>(name.size()), name.data()));
}

ChunkLayout::ChunkLayout(const std::vector<ShardChunks>& shards) : first_sample_{0}, first_chunk_{0} {
  for (const ShardChunks& shard : shards) chunk_samples_ = std::max(chunk_samples_, shard.chunk_samples);
  for (const ShardChunks& shard : shards) {
    const std::uint64_t chunks = ceil_div(shard.num_samples, shard.chunk_samples);
    for (std::uint64_t i = 0; i < chunks; ++i) {
      const bool full = shard.chunk_samples == chunk_samples_ && (i + 1 < chunks || shard.num_samples % shard.chunk_samples == 0);
      if (full && i + 1 < chunks) i = chunks - 2;  // All but the last are alike.
      if (full) continue;
      const std::uint64_t held = i + 1 < chunks ? shard.chunk_samples : shard.num_samples - i * shard.chunk_samples;
      short_.push_back({first_chunk_.back() + i, static_cast<std::uint32_t>(chunk_samples_ - held)});
    }
    first_chunk_.push_back(first_chunk_.back() + chunks);
    first_sample_.push_back(first_sample_.back() + shard.num_samples);
    shard_chunk_samples_.push_back(shard.chunk_samples);
  }
}

std::vector<ChunkLayout::ShardChunks> ChunkLayout::shards() const {
  std::vector<ShardChunks> out;
  for (std::size_t i = 0; i < shard_chunk_samples_.size(); ++i)
    out.push_back({first_sample_[i + 1] - first_sample_[i], shard_chunk_samples_[i]});
  return out;
}

std::size_t ChunkLayout::shard_of(std::uint64_t chunk) const {
  return static_cast<std::size_t>(std::upper_bound(first_chunk_.begin(), first_chunk_.end(), chunk) - first_chunk_.begin()) - 1;
}

std::uint64_t ChunkLayout::first_sample(std::uint64_t chunk) const {
  const std::size_t shard = shard_of(chunk);
  return first_sample_[shard] + (chunk - first_chunk_[shard]) * shard_chunk_samples_[shard];
}

std::uint64_t ChunkLayout::chunk_of(std::uint64_t sample) const {
  const auto next = std::upper_bound(first_sample_.begin(), first_sample_.end(), sample);
  const auto shard = static_cast<std::size_t>(next - first_sample_.begin()) - 1;
  return first_chunk_[shard] + (sample - first_sample_[shard]) / shard_chunk_samples_[shard];
}

std::uint32_t ChunkLayout::samples_in(std::uint64_t chunk) const {
  const std::size_t shard = shard_of(chunk);
  const std::uint64_t before = (chunk - first_chunk_[shard]) * shard_chunk_samples_[shard];
  return static_cast<std::uint32_t>(
      std::min<std::uint64_t>(shard_chunk_samples_[shard], first_sample_[shard + 1] - first_sample_[shard] - before));
}

// Positions grouped by sample, ascending in each group: those of sample s are at[begin[s] .. begin[s + 1]).
struct Order::Places {
  std::once_flag made;
  std::vector<std::uint32_t> begin;
  std::vector<std::uint32_t> at;

  void make(const std::vector<std::uint64_t>& samples) {
    const std::uint64_t largest = samples.empty() ? 0 : *std::max_element(samples.begin(), samples.end());
    begin.assign(largest + 2, 0);
    for (const std::uint64_t sample : samples) ++begin[sample + 1];
    std::partial_sum(begin.begin(), begin.end(), begin.begin());
    at.resize(samples.size());
    std::vector<std::uint32_t> next(begin.begin(), begin.end() - 1);
    for (std::size_t i = 0; i < samples.size(); ++i) at[next[samples[i]]++] = static_cast<std::uint32_t>(i);
  }
};

struct Order::Window {
  std::uint64_t begin = 1, end = 0;         // positions
  Permutation permutation;                  // of the samples inside
  std::vector<std::uint64_t> chunk_begin;   // samples of the window before each of its chunks
  std::vector<std::uint64_t> first_sample;  // of each of its chunks
};

Order::Order(OrderKind kind, std::uint64_t num_samples, std::uint64_t seed, std::uint64_t epoch, std::uint32_t window,
             std::shared_ptr<const ChunkLayout> layout, std::shared_ptr<const AliasTable> weights)
    : kind_(kind),
      num_samples_(num_samples),
      key_(mix_key(seed, epoch)),
      window_chunks_(window),
      layout_(std::move(layout)),
      weights_(std::move(weights)) {
  if (kind_ == OrderKind::kGlobal) permutation_ = Permutation(num_samples, key_);
  if (kind_ != OrderKind::kWindow) return;
  permutation_ = Permutation(layout_->num_chunks(), key_);
  for (const ChunkLayout::Short& chunk : layout_->short_chunks()) deficits_.push_back({permutation_.inverse(chunk.chunk), chunk.missing});
  std::sort(deficits_.begin(), deficits_.end(), [](const Deficit& a, const Deficit& b) { return a.slot < b.slot; });
  for (std::size_t i = 1; i < deficits_.size(); ++i) deficits_[i].missing += deficits_[i - 1].missing;
}

Order::Order(std::vector<std::uint64_t> samples)
    : kind_(OrderKind::kListed), num_samples_(samples.size()), listed_(std::move(samples)), places_(std::make_shared<Places>()) {}

Order::Order(std::shared_ptr<const Mixture> mixture, std::uint64_t num_samples, std::uint64_t seed, std::uint64_t epoch)
    : kind_(OrderKind::kMixed), num_samples_(num_samples), key_(mix_key(seed, epoch)), mixture_(std::move(mixture)) {}

Order::Order(std::shared_ptr<const Strata> strata, std::uint64_t seed, std::uint64_t epoch)
    : kind_(OrderKind::kStrata), num_samples_(strata->size()), key_(mix_key(seed, epoch)), strata_(std::move(strata)) {}

// Samples of all slots before this one: all full, less what the short ones among them miss.
std::uint64_t Order::slot_begin(std::uint64_t slot) const {
  slot = std::min<std::uint64_t>(slot, layout_->num_chunks());
  const auto after =
      std::lower_bound(deficits_.begin(), deficits_.end(), slot, [](const Deficit& d, std::uint64_t s) { return d.slot < s; });
  return slot * layout_->chunk_samples() - (after == deficits_.begin() ? 0 : std::prev(after)->missing);
}

std::uint64_t Order::window_of(std::uint64_t position) const {
  // Short chunks only move windows towards lower positions, so the division gives a lower bound.
  std::uint64_t low = position / (static_cast<std::uint64_t>(window_chunks_) * layout_->chunk_samples());
  std::uint64_t high = ceil_div(layout_->num_chunks(), window_chunks_);
  while (high - low > 1) {
    const std::uint64_t middle = low + (high - low) / 2;
    (window_begin(middle) <= position ? low : high) = middle;
  }
  return low;
}

std::pair<std::uint64_t, std::uint64_t> Order::slots_of(std::uint64_t position) const {
  if (kind_ == OrderKind::kSequential) {
    const std::uint64_t chunk = layout_->chunk_of(position);
    return {chunk, chunk + 1};
  }
  const std::uint64_t first = window_of(position) * window_chunks_;
  return {first, std::min<std::uint64_t>(first + window_chunks_, layout_->num_chunks())};
}

void Order::enter_window(std::uint64_t position, Window& window) const {
  const std::uint64_t low = window_of(position);
  window.begin = window_begin(low);
  window.end = window_begin(low + 1);
  window.permutation = Permutation(window.end - window.begin, mix_key(key_, low));
  window.chunk_begin.clear();
  window.first_sample.clear();
  std::uint64_t samples = 0;
  const std::uint64_t last = std::min<std::uint64_t>((low + 1) * window_chunks_, layout_->num_chunks());
  for (std::uint64_t slot = low * window_chunks_; slot < last; ++slot) {
    const std::uint64_t chunk = permutation_.forward(slot);
    window.chunk_begin.push_back(samples);
    window.first_sample.push_back(layout_->first_sample(chunk));
    samples += layout_->samples_in(chunk);
  }
}

void Order::fill(std::uint64_t begin, std::span<std::uint64_t> out) const {
  if (kind_ == OrderKind::kSequential) {
    std::iota(out.begin(), out.end(), begin);
  } else if (kind_ == OrderKind::kListed) {
    std::copy_n(listed_.begin() + static_cast<std::ptrdiff_t>(begin), out.size(), out.begin());
  } else if (kind_ == OrderKind::kGlobal) {
    permutation_.forward(begin, out);
  } else if (kind_ == OrderKind::kWeighted) {
    weights_->draw(key_, begin, out);
  } else if (kind_ == OrderKind::kMixed) {
    mixture_->fill(key_, begin, out);
  } else if (kind_ == OrderKind::kStrata) {
    strata_->fill(key_, begin, out);
  } else {
    Window window;
    for (std::size_t i = 0; i < out.size(); ++i) {
      const std::uint64_t position = begin + i;
      if (position < window.begin || position >= window.end) enter_window(position, window);
      const std::uint64_t inside = window.permutation.forward(position - window.begin);
      const auto next = std::upper_bound(window.chunk_begin.begin(), window.chunk_begin.end(), inside);
      const auto which = static_cast<std::size_t>(next - window.chunk_begin.begin()) - 1;
      out[i] = window.first_sample[which] + (inside - window.chunk_begin[which]);
    }
  }
}

bool Order::knows_next_use() const {
  if (kind_ != OrderKind::kListed) return kind_ != OrderKind::kWeighted && kind_ != OrderKind::kMixed;
  return num_samples_ <= kMostListed && std::all_of(listed_.begin(), listed_.end(), [](std::uint64_t s) { return s < 2 * kMostListed; });
}

// The positions of samples [first, first + out.size()), which lie in one chunk or several.
void Order::positions_in_windows(std::uint64_t first, std::span<std::uint64_t> out) const {
  for (std::size_t done = 0; done < out.size();) {
    const std::uint64_t chunk = layout_->chunk_of(first + done);
    const std::uint64_t row = first + done - layout_->first_sample(chunk);
    const std::uint64_t held = std::min<std::uint64_t>(out.size() - done, layout_->samples_in(chunk) - row);
    const std::uint64_t slot = permutation_.inverse(chunk);
    const std::uint64_t window = slot / window_chunks_;
    const std::uint64_t begin = window_begin(window);
    const Permutation inside(window_begin(window + 1) - begin, mix_key(key_, window));
    const std::span<std::uint64_t> part = out.subspan(done, held);
    inside.inverse(slot_begin(slot) - begin + row, part);
    for (std::uint64_t& position : part) position += begin;
    done += held;
  }
}

std::uint64_t Order::next_listed(std::uint64_t first, std::uint64_t count, std::uint64_t from,
                                 const std::function<bool(std::uint64_t)>& mine) const {
  std::call_once(places_->made, [&] { places_->make(listed_); });
  const std::vector<std::uint32_t>& at = places_->at;
  std::uint64_t nearest = kNever;
  const std::uint64_t end = std::min<std::uint64_t>(first + count, places_->begin.size() - 1);
  for (std::uint64_t sample = first; sample < end; ++sample) {
    const auto last = at.begin() + places_->begin[sample + 1];
    auto place = std::lower_bound(at.begin() + places_->begin[sample], last, from);
    while (place != last && mine != nullptr && !mine(*place)) ++place;
    if (place != last) nearest = std::min<std::uint64_t>(nearest, *place);
  }
  return nearest;
}

std::uint64_t Order::next_use(std::uint64_t first, std::uint64_t count, std::uint64_t from,
                              const std::function<bool(std::uint64_t)>& mine) const {
  if (kind_ == OrderKind::kListed) return next_listed(first, std::min(count, kMostAsked), from, mine);
  if (kind_ == OrderKind::kStrata) {
    count = first < strata_->num_samples() ? std::min(count, strata_->num_samples() - first) : 0;
    return strata_->next_use(key_, first, std::min(count, kMostAsked), from, mine);
  }
  count = first < num_samples_ ? std::min(count, num_samples_ - first) : 0;
  if (kind_ == OrderKind::kSequential && from > first) {  // What comes before `from` is over.
    const std::uint64_t over = std::min(count, from - first);
    first += over;
    count -= over;
  }
  std::array<std::uint64_t, kMostAsked> positions;
  const std::span<std::uint64_t> asked(positions.data(), std::min(count, kMostAsked));
  if (kind_ == OrderKind::kSequential) {
    std::iota(asked.begin(), asked.end(), first);
  } else if (kind_ == OrderKind::kGlobal) {
    permutation_.inverse(first, asked);
  } else {
    positions_in_windows(first, asked);
  }
  std::uint64_t nearest = kNever;
  for (const std::uint64_t position : asked) {
    if (position >= from && position < nearest && (mine == nullptr || mine(position))) nearest = position;
  }
  return nearest;
}

}  // namespace headrace::pipeline
