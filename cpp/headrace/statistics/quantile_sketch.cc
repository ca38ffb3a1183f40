#include "headrace/statistics/quantile_sketch.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "headrace/base/philox.h"
#include "headrace/statistics/sort_values.h"

namespace headrace::statistics {
namespace {

constexpr std::size_t kLeast = 64;    // capacity of the low levels: larger ones cost less time a value, and no accuracy
constexpr std::size_t kMostBase = 3;  // spans of eight times the capacity: two of them fit into the second level of cache
constexpr std::size_t kMostLevels = 62;
constexpr std::uint64_t kCoins = 256;  // of a Philox block

double between(double a, double b, double share) {
  const double step = b - a;
  if (!std::isfinite(step)) return a * (1 - share) + b * share;
  return share >= 0.5 ? b - step * (1 - share) : a + step * share;  // As numpy: exact at both ends.
}

}  // namespace

std::size_t QuantileSketch::capacity_for(double rank_error) {
  return static_cast<std::size_t>(std::ceil(std::pow(2.296 / rank_error, 1 / 0.9723)));
}

QuantileSketch::QuantileSketch(std::size_t capacity, std::size_t exact_values, std::uint64_t seed, std::uint64_t stream)
    : capacity_(capacity),
      exact_values_(std::max(capacity, exact_values)),
      base_(std::clamp<std::size_t>(std::bit_width(exact_values_ / capacity) - 1, 1, kMostBase)),
      span_values_(std::max<std::size_t>(2, std::min(exact_values_, capacity << base_) >> base_ << base_)),
      key_{seed, stream},
      min_(std::numeric_limits<double>::infinity()),
      max_(-min_),
      levels_(1) {}

std::size_t QuantileSketch::level_capacity(std::size_t level) const {
  const double share = std::pow(2.0 / 3.0, static_cast<double>(levels_.size() - 1 - level));
  return std::max(kLeast, static_cast<std::size_t>(std::ceil(static_cast<double>(capacity_) * share)));
}

std::size_t QuantileSketch::all_capacity() const {
  std::size_t all = 0;
  for (std::size_t level = base_; level < levels_.size(); ++level) all += level_capacity(level);
  return all;
}

bool QuantileSketch::coin() {
  const std::uint64_t number = compactions_++;
  if (number % kCoins == 0) bits_ = Philox{key_}.block(number / kCoins);
  return (bits_[number % kCoins / 64] >> (number % 64) & 1) != 0;
}

// Half of a level's values go to the next one up; of an odd number, the last stays.
void QuantileSketch::compact(std::size_t level) {
  if (level + 1 == levels_.size()) levels_.emplace_back();
  std::vector<double>& from = levels_[level];
  std::vector<double>& to = levels_[level + 1];
  const std::size_t pairs = from.size() / 2, before = to.size();
  const bool is_odd = from.size() % 2 != 0;
  const double last = is_odd ? from.back() : 0;
  const std::size_t offset = coin() ? 1 : 0;
  to.resize(before + pairs);
  for (std::size_t i = 0; i < pairs; ++i) to[before + i] = from[2 * i + offset];
  std::inplace_merge(to.begin(), to.begin() + static_cast<std::ptrdiff_t>(before), to.end());
  from.clear();
  if (is_odd) from.push_back(last);
  held_ -= pairs;
}

// Compacts the lowest levels that are full, until there is room.
void QuantileSketch::compress() {
  room_ = all_capacity();
  while (held_ >= room_) {
    std::size_t level = base_;
    while (level + 1 < levels_.size() && levels_[level].size() < level_capacity(level)) ++level;
    compact(level);
    room_ = all_capacity();
  }
}

// One of each 2^base_ sorted values goes up, which one is a matter of coins. REQUIRES: a multiple of them.
void QuantileSketch::lift(const double* sorted, std::size_t count) {
  if (levels_.size() <= base_) levels_.resize(base_ + 1);
  std::size_t offset = 0;
  for (std::size_t b = 0; b < base_; ++b) offset |= (coin() ? std::size_t{1} : 0) << b;
  std::vector<double>& to = levels_[base_];
  const auto before = static_cast<std::ptrdiff_t>(to.size());
  for (std::size_t i = offset; i < count; i += std::size_t{1} << base_) to.push_back(sorted[i]);
  std::inplace_merge(to.begin(), to.begin() + before, to.end());
  held_ += count >> base_;
  compress();
}

void QuantileSketch::append(const double* values, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    min_ = std::min(min_, values[i]);
    max_ = std::max(max_, values[i]);
  }
  count_ += count;
  levels_[0].insert(levels_[0].end(), values, values + count);
}

std::size_t QuantileSketch::full_spans() const {
  const std::size_t waiting = levels_[0].size();
  return waiting <= (is_exact() ? exact_values_ : span_values_) ? 0 : (waiting - 1) / span_values_;
}

void QuantileSketch::sort_span(std::size_t span) {
  thread_local std::vector<double> scratch;
  if (scratch.size() < span_values_) scratch.resize(span_values_);
  sort_values(levels_[0].data() + span * span_values_, span_values_, scratch.data());
}

void QuantileSketch::take_spans() {
  const std::size_t spans = full_spans();
  if (spans == 0) return;
  const std::vector<double> taken = std::move(levels_[0]);
  levels_[0].assign(taken.begin() + static_cast<std::ptrdiff_t>(spans * span_values_), taken.end());
  for (std::size_t i = 0; i < spans; ++i) lift(taken.data() + i * span_values_, span_values_);
}

void QuantileSketch::add(const double* values, std::size_t count) {
  append(values, count);
  for (std::size_t i = 0; i < full_spans(); ++i) sort_span(i);
  take_spans();
}

void QuantileSketch::merge(const QuantileSketch& other) {
  if (other.count_ == 0) return;
  const std::vector<std::vector<double>> theirs = other.levels_;  // The other may be this one.
  count_ += other.count_ - theirs[0].size();
  min_ = std::min(min_, other.min_);
  max_ = std::max(max_, other.max_);
  if (levels_.size() < theirs.size()) levels_.resize(theirs.size());
  for (std::size_t level = 1; level < theirs.size(); ++level) {
    std::vector<double>& to = levels_[level];
    const auto before = static_cast<std::ptrdiff_t>(to.size());
    to.insert(to.end(), theirs[level].begin(), theirs[level].end());
    std::inplace_merge(to.begin(), to.begin() + before, to.end());
    held_ += theirs[level].size();
  }
  if (levels_.size() > 1) compress();
  add(theirs[0].data(), theirs[0].size());
}

std::vector<QuantileSketch::Point> QuantileSketch::points() const {
  std::vector<Point> all;
  all.reserve(levels_[0].size() + held_);
  for (std::size_t level = 0; level < levels_.size(); ++level) {
    for (const double value : levels_[level]) all.push_back({value, std::uint64_t{1} << level});
  }
  std::sort(all.begin(), all.end(), [](const Point& a, const Point& b) { return a.value < b.value; });
  std::uint64_t sum = 0;
  for (Point& one : all) one.at_most = sum += one.at_most;
  return all;
}

void QuantileSketch::quantiles(const double* q, std::size_t count, double* out) const {
  const std::vector<Point> all = points();
  const auto value_at = [&](std::uint64_t rank) {
    if (rank == 0) return min_;
    if (rank + 1 >= count_) return max_;
    return std::upper_bound(all.begin(), all.end(), rank, [](std::uint64_t r, const Point& one) { return r < one.at_most; })->value;
  };
  for (std::size_t i = 0; i < count; ++i) {
    const double place = q[i] * static_cast<double>(count_ - 1);
    const auto below = static_cast<std::uint64_t>(place);
    out[i] = between(value_at(below), value_at(below + 1), place - static_cast<double>(below));
  }
}

std::pair<std::uint64_t, std::uint64_t> QuantileSketch::rank(double x) const {
  std::uint64_t below = 0, equal = 0;
  for (std::size_t level = 0; level < levels_.size(); ++level) {
    for (const double value : levels_[level]) {
      below += value < x ? std::uint64_t{1} << level : 0;
      equal += value == x ? std::uint64_t{1} << level : 0;
    }
  }
  return {below, equal};
}

void QuantileSketch::save(ByteWriter& out) const {
  out.write(count_);
  out.write(compactions_);
  out.write(min_);
  out.write(max_);
  out.write(static_cast<std::uint64_t>(levels_.size()));
  for (const auto& level : levels_) {
    out.write(static_cast<std::uint64_t>(level.size()));
    out.write_bytes({reinterpret_cast<const std::uint8_t*>(level.data()), level.size() * sizeof(double)});
  }
}

bool QuantileSketch::load(ByteReader& in) {
  count_ = in.read<std::uint64_t>();
  compactions_ = in.read<std::uint64_t>();
  min_ = in.read<double>();
  max_ = in.read<double>();
  const auto levels = in.read<std::uint64_t>();
  if (!in.ok() || levels < 1 || levels > kMostLevels || count_ >> 62 != 0) return false;
  levels_.assign(levels, {});
  held_ = 0;
  std::uint64_t weight = 0;
  for (std::size_t level = 0; level < levels; ++level) {
    const auto size = in.read<std::uint64_t>();
    if (!in.ok() || size > in.remaining() / sizeof(double) || size > (count_ >> level)) return false;
    const Bytes bytes = in.read_bytes(size * sizeof(double));
    std::vector<double>& values = levels_[level];
    values.resize(size);
    if (size > 0) std::memcpy(values.data(), bytes.data(), bytes.size());
    const bool sane = std::all_of(values.begin(), values.end(), [&](double v) { return v >= min_ && v <= max_ && std::isfinite(v); });
    if (!sane || (level > 0 && !std::is_sorted(values.begin(), values.end()))) return false;
    if (level == 0 ? size > (levels == 1 ? exact_values_ : span_values_) : level < base_ && size > 0) return false;
    held_ += level == 0 ? 0 : size;
    weight += size << level;
  }
  if (weight != count_) return false;
  room_ = all_capacity();
  if (held_ > room_ || (levels > 1 && levels <= base_)) return false;
  bits_ = Philox{key_}.block(compactions_ / kCoins);
  return true;
}

}  // namespace headrace::statistics
