#include "headrace/pipeline/online_tuner.h"

#include <algorithm>

namespace headrace::pipeline {
namespace {

constexpr std::uint64_t kSliceNs = 25'000'000;
constexpr std::uint64_t kSliceBatches = 4;
constexpr std::uint64_t kMostSliceBatches =
    16;  // batches are launched half of those ahead at a time: a slice sees a whole burst, up to this
constexpr std::uint64_t kFirstWatchNs = 50'000'000;
constexpr std::uint64_t kWatchNs = 250'000'000;
constexpr std::uint64_t kWatchBatches = 8;
constexpr std::uint64_t kFirstRestNs = 2'000'000'000;
constexpr std::uint64_t kLongestRestNs = 64'000'000'000;
constexpr double kNothingToGain = 0.02;  // share of the time spent waiting
constexpr double kStrange = 0.25;        // of the rate
constexpr int kStrangeWindows = 2;
constexpr double kBetter = 1.03;  // what noise alone is not often
constexpr double kAsGood = 0.99;
constexpr double kFarWorse = 0.8, kFarBetter = 1.5;
constexpr int kAccept = 3, kReject = -2, kMostPairs = 7;
constexpr double kPauseFactor = 16;  // a consumer that takes so much longer than usual does something else: validation, a checkpoint
constexpr double kPauseNs = 20'000'000;
constexpr int kPassesInSlice = 3;
constexpr int kFewThreads = 2;  // none of so few is given up for being needless only

int doubled(int threads) { return std::max(threads + 1, 2 * threads); }
int halved(int threads) { return threads > 2 ? (threads + 1) / 2 : threads - 1; }

}  // namespace

Setting SettingBounds::clamp(Setting setting) const {
  return {std::clamp(setting.threads, min_threads, std::max(min_threads, max_threads)),
          std::clamp(setting.ahead, min_ahead, std::max(min_ahead, max_ahead))};
}

OnlineTuner::OnlineTuner(Setting first, SettingBounds bounds) : bounds_(bounds), kept_(bounds.clamp(first)), current_(kept_) {
  rest_ns_ = kFirstRestNs;
  begin_slice(kept_);
}

// What is under way was begun under the setting before: too much of it is delivered faster than it is made.
void OnlineTuner::begin_slice(Setting setting) {
  slice_ = {};
  const std::uint64_t surplus = current_.ahead > setting.ahead ? current_.ahead - setting.ahead : 0;
  slice_.settle = surplus + std::min<std::uint64_t>(setting.ahead, kSliceBatches);
  current_ = setting;
  passes_in_slice_ = 0;
}

void OnlineTuner::begin_pass(std::int64_t now_ns) {
  last_ns_ = now_ns;
  // A pass begins with nothing ready; where passes are shorter than slices, that belongs to what is measured.
  if (++passes_in_slice_ <= kPassesInSlice) {
    const int passes = passes_in_slice_;
    begin_slice(current_);
    passes_in_slice_ = passes;
  }
}

void OnlineTuner::set_bounds(SettingBounds bounds) {
  if (bounds == bounds_) return;
  bounds_ = bounds;
  kept_ = bounds_.clamp(kept_);
  is_comparing_ = false;
  has_searched_ = false;
  rest_ns_ = kFirstRestNs;
  reference_rate_ = 0;
  begin_slice(kept_);
}

// A pause counts as a step of the usual length; a consumer that stays slow is the usual after some batches.
std::uint64_t OnlineTuner::consumer_ns(std::uint64_t gap_ns, std::uint64_t waited_ns, std::uint64_t batches) {
  const double all = static_cast<double>(gap_ns > waited_ns ? gap_ns - waited_ns : 0), count = static_cast<double>(batches);
  const double ns = all / count;  // of a step
  const bool is_pause = usual_consumer_ns_ > 0 && all > kPauseFactor * usual_consumer_ns_ * count + kPauseNs;
  const double counted = is_pause ? usual_consumer_ns_ * count : all;
  const double seen = usual_consumer_ns_ > 0 ? std::min(ns, 4 * usual_consumer_ns_ + 1e6) : ns;
  usual_consumer_ns_ += (seen - usual_consumer_ns_) / (usual_consumer_ns_ > 0 ? 8 : 1);
  return static_cast<std::uint64_t>(counted);
}

Setting OnlineTuner::deliver(std::int64_t now_ns, std::uint64_t waited_ns, std::uint64_t samples, std::uint64_t batches) {
  const auto gap = static_cast<std::uint64_t>(std::max<std::int64_t>(0, now_ns - last_ns_));
  last_ns_ = now_ns;
  const std::uint64_t ns = consumer_ns(gap, waited_ns, batches) + std::min(gap, waited_ns);
  if (slice_.settle > 0) {
    slice_.settle -= std::min(slice_.settle, batches);
    return current_;
  }
  slice_.batches += batches;
  slice_.samples += samples;
  slice_.ns += ns;
  slice_.waited_ns += std::min(gap, waited_ns);
  if (is_comparing_) {
    const std::uint64_t burst = std::clamp<std::uint64_t>(current_.ahead / 2 + 1, kSliceBatches, kMostSliceBatches);
    if (slice_.ns >= kSliceNs && slice_.batches >= burst) end_compared_slice();
  } else {
    const bool first = !has_searched_ && reference_rate_ == 0;
    if (slice_.ns >= (first ? kFirstWatchNs : kWatchNs) && slice_.batches >= (first ? kSliceBatches : kWatchBatches)) end_watch();
  }
  return current_;
}

void OnlineTuner::end_watch() {
  const double rate = slice_.rate();
  const bool could_gain = static_cast<double>(slice_.waited_ns) > kNothingToGain * static_cast<double>(slice_.ns);
  rested_ns_ += slice_.ns;
  const bool strange = reference_rate_ > 0 && (rate > reference_rate_ * (1 + kStrange) || rate < reference_rate_ / (1 + kStrange));
  strange_windows_ = strange ? strange_windows_ + 1 : 0;
  const bool changed = strange_windows_ >= kStrangeWindows;
  if (reference_rate_ == 0 || changed) reference_rate_ = rate;
  if (changed) rest_ns_ = kFirstRestNs;
  if (could_gain && (!has_searched_ || changed || rested_ns_ >= rest_ns_)) return begin_search();
  if (changed) strange_windows_ = 0;
  slice_ = {};
  passes_in_slice_ = 0;
}

void OnlineTuner::begin_search() {
  is_comparing_ = true;
  before_search_ = kept_;
  changes_before_search_ = changes_;
  failed_moves_ = -1;
  move_ = Move::kShallower;  // try_next() goes on to the first.
  try_next();
}

Setting OnlineTuner::moved(Move move) const {
  Setting out = kept_;
  switch (move) {
    case Move::kDeeper: out.ahead = kept_.ahead < bounds_.max_ahead / 2 ? kept_.ahead * 2 : bounds_.max_ahead; break;
    case Move::kMoreThreads: out.threads = doubled(kept_.threads); break;
    case Move::kFewerThreads: out.threads = halved(kept_.threads); break;
    case Move::kSomeMore: out.threads = std::min(kept_.threads + std::max(1, kept_.threads / 8), doubled(kept_.threads)); break;
    case Move::kSomeFewer: out.threads = std::max(kept_.threads - std::max(1, kept_.threads / 8), halved(kept_.threads)); break;
    case Move::kShallower: out.ahead = (kept_.ahead + 1) / 2; break;
    case Move::kBack: out = before_search_; break;
  }
  out = bounds_.clamp(out);
  if (out.threads > kept_.threads && move != Move::kBack) {
    out.ahead = std::max(out.ahead, static_cast<std::uint32_t>(out.threads) + 1);  // Each has one to do, and one is taken.
  }
  return bounds_.clamp(out);
}

// Whether the candidate is the better one if it is as good: with less memory, as long as each thread has its batches; or with half as many
// threads, which leaves cores to others.
bool OnlineTuner::spares() const {
  if (move_ == Move::kShallower) return candidate_.ahead >= 2 * static_cast<std::uint32_t>(candidate_.threads) + 2;
  return move_ == Move::kFewerThreads && candidate_.threads >= kFewThreads;
}

// Among few threads, some more or fewer is the move that was tried just before.
bool OnlineTuner::repeats() const {
  return (move_ == Move::kSomeMore && candidate_ == moved(Move::kMoreThreads)) ||
         (move_ == Move::kSomeFewer && candidate_ == moved(Move::kFewerThreads));
}

// The move was not better: the next one, until all have failed in a row.
void OnlineTuner::try_next() {
  while (++failed_moves_ < kMoves) {
    move_ = static_cast<Move>((static_cast<int>(move_) + 1) % kMoves);
    candidate_ = moved(move_);
    if (candidate_ == kept_ || repeats()) continue;
    pairs_ = score_ = 0;
    second_of_pair_ = false;
    return begin_slice(kept_);
  }
  if (move_ != Move::kBack && kept_ != before_search_) {
    move_ = Move::kBack;
    candidate_ = before_search_;
    pairs_ = score_ = 0;
    second_of_pair_ = false;
    return begin_slice(kept_);
  }
  end_search();
}

void OnlineTuner::end_search() {
  is_comparing_ = false;
  has_searched_ = true;
  rest_ns_ = kept_ == before_search_ ? std::min(2 * rest_ns_, kLongestRestNs) : kFirstRestNs;
  if (kept_ == before_search_) changes_ = changes_before_search_;
  rested_ns_ = 0;
  strange_windows_ = 0;
  reference_rate_ = 0;
  begin_slice(kept_);
}

// Slices come as kept, candidate, candidate, kept, kept, candidate, ...: neither is always the later one.
void OnlineTuner::end_compared_slice() {
  const double rate = slice_.rate();
  if (!second_of_pair_) {
    first_rate_ = rate;
    second_of_pair_ = true;
    return begin_slice(current_ == kept_ ? candidate_ : kept_);
  }
  second_of_pair_ = false;
  const double ratio = current_ == kept_ ? first_rate_ / rate : rate / first_rate_;
  judge(ratio);
}

void OnlineTuner::judge(double ratio) {
  ++pairs_;
  score_ += ratio > kFarBetter ? 2 : ratio > (spares() ? kAsGood : kBetter) ? 1 : ratio < kFarWorse ? -2 : -1;
  if (score_ >= kAccept) return decide(true);
  if (score_ <= kReject || pairs_ == kMostPairs) return decide(false);
  begin_slice(current_);
}

void OnlineTuner::decide(bool accept) {
  if (!accept) return move_ == Move::kBack ? end_search() : try_next();
  kept_ = candidate_;
  ++changes_;
  if (move_ == Move::kBack) return end_search();
  failed_moves_ = -1;  // The same move once more, then all others.
  move_ = static_cast<Move>((static_cast<int>(move_) + kMoves - 1) % kMoves);
  try_next();
}

}  // namespace headrace::pipeline
