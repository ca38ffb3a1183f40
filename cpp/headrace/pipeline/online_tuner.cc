#include "headrace/pipeline/online_tuner.h"

#include <algorithm>

namespace headrace::pipeline {
namespace {

constexpr std::uint64_t kSliceNs = 25'000'000;
constexpr std::uint64_t kSliceBatches = 4;
// Batches are launched half of those ahead at a time, and those under way were launched under the setting before: slices see a whole burst,
// after all of these, but for slow ones.
constexpr std::uint64_t kLongSliceNs = 150'000'000, kLongSettleNs = 400'000'000;
constexpr std::uint64_t kFirstWatchNs = 50'000'000;
constexpr std::uint64_t kWatchNs = 250'000'000;
constexpr std::uint64_t kWatchBatches = 8;
constexpr std::uint64_t kFirstRestNs = 2'000'000'000;
constexpr std::uint64_t kLongestRestNs = 64'000'000'000;
constexpr double kNothingToGain = 0.02;  // share of the time spent waiting
constexpr double kStrange = 0.25;        // of the rate
constexpr int kStrangeWindows = 2;
constexpr double kBetter = 1.03;  // what noise alone is not often
constexpr double kAsGood = 0.99, kAsGoodUnwaited = 0.98;
constexpr double kFarWorse = 0.8, kFarBetter = 1.5;
constexpr int kAccept = 3, kReject = -2, kMostPairs = 7;
constexpr double kPauseFactor = 16;  // a consumer that takes so much longer than usual does something else: validation, a checkpoint
constexpr double kPauseNs = 20'000'000;
constexpr int kPassesInSlice = 3;
constexpr int kFewThreads = 2;  // none of so few is given up for being needless only
constexpr std::uint64_t kFirstProbeRestNs = 1'000'000'000;
constexpr std::uint64_t kProbeBatches = 4;  // for each that is ahead: a queue that is filled too slowly empties
constexpr std::uint64_t kLongestProbeSlice = 1'000'000'000;
constexpr std::uint64_t kLongestTurnNs = 1'000'000'000;  // of a search, while other loaders are there to search after it
constexpr double kEmptied = 0.5;                         // of the batches that were ready
constexpr double kMostChange = 2;                        // of another loader, as one slice shows it

int doubled(int threads) { return std::max(threads + 1, 2 * threads); }
int halved(int threads) { return threads > 2 ? (threads + 1) / 2 : threads - 1; }

// What those that deliver at both times delivered in between.
Neighbours::Progress since(const Neighbours::Progress& before, const Neighbours::Progress& now) {
  Neighbours::Progress out;
  for (std::size_t i = 0; i < before.count; ++i) {
    for (std::size_t j = 0; j < now.count; ++j) {
      if (before.loader[i] != now.loader[j] || now.batches[j] < before.batches[i]) continue;
      out.loader[out.count] = now.loader[j];
      out.batches[out.count++] = now.batches[j] - before.batches[i];
    }
  }
  return out;
}

}  // namespace

Setting SettingBounds::clamp(Setting setting) const {
  return {std::clamp(setting.threads, min_threads, std::max(min_threads, max_threads)),
          std::clamp(setting.ahead, min_ahead, std::max(min_ahead, max_ahead))};
}

bool OnlineTuner::Slice::waits() const { return static_cast<double>(waited_ns) > kNothingToGain * static_cast<double>(ns); }

OnlineTuner::OnlineTuner(Setting first, SettingBounds bounds, Neighbours* neighbours)
    : bounds_(bounds), neighbours_(neighbours), kept_(bounds.clamp(first)), current_(kept_) {
  rest_ns_ = kFirstRestNs;
  probe_rest_ns_ = kFirstProbeRestNs;
  begin_slice(kept_, true);
}

// What is under way was begun under the setting before: too much of it is delivered faster than it is made.
void OnlineTuner::begin_slice(Setting setting, bool is_begun_anew) {
  slice_ = {};
  passes_in_slice_ = 0;
  if (setting == current_ && !is_begun_anew) return;
  const std::uint64_t surplus = current_.ahead > setting.ahead ? current_.ahead - setting.ahead : 0;
  slice_.settle = surplus + std::min<std::uint64_t>(setting.ahead, kSliceBatches);
  slice_.settle_all = std::max<std::uint64_t>(slice_.settle, current_.ahead);
  current_ = setting;
}

void OnlineTuner::begin_pass(std::int64_t now_ns) {
  last_ns_ = now_ns;
  // A pass begins with nothing ready; where passes are shorter than slices, that belongs to what is measured.
  if (++passes_in_slice_ <= kPassesInSlice) {
    const int passes = passes_in_slice_;
    begin_slice(current_, true);
    passes_in_slice_ = passes;
  }
}

void OnlineTuner::set_bounds(SettingBounds bounds) {
  if (bounds == bounds_) return;
  bounds_ = bounds;
  begin_again(kept_);
}

void OnlineTuner::begin_again(Setting setting) {
  kept_ = bounds_.clamp(setting);
  if (is_comparing_ && neighbours_ != nullptr) neighbours_->release_search();
  is_comparing_ = is_probing_ = false;
  has_searched_ = false;
  rest_ns_ = kFirstRestNs;
  probe_rest_ns_ = kFirstProbeRestNs;
  reference_rate_ = 0;
  begin_slice(kept_, true);
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

// A slice sees a whole burst of launches. While nothing is waited for, what is ready hides what is made: then it lasts until that would
// show.
std::uint64_t OnlineTuner::slice_batches() const {
  if (is_probing_) return kProbeBatches * std::max(kept_.ahead, candidate_.ahead);
  return slice_.ns >= kLongSliceNs ? kSliceBatches : std::max<std::uint64_t>(current_.ahead / 2 + 1, kSliceBatches);
}

// Whether these batches still belong to the setting before.
bool OnlineTuner::settles(std::uint64_t ns, std::uint64_t batches) {
  if (slice_.settle == 0 && (slice_.settle_all == 0 || slice_.settle_ns >= kLongSettleNs)) return false;
  slice_.settle -= std::min(slice_.settle, batches);
  slice_.settle_all -= std::min(slice_.settle_all, batches);
  slice_.settle_ns += ns;
  return true;
}

Setting OnlineTuner::deliver(std::int64_t now_ns, const Seen& seen) {
  const auto gap = static_cast<std::uint64_t>(std::max<std::int64_t>(0, now_ns - last_ns_));
  last_ns_ = now_ns;
  const std::uint64_t waited = std::min(gap, seen.waited_ns);
  const std::uint64_t ns = consumer_ns(gap, seen.waited_ns, seen.batches) + waited;
  if (settles(ns, seen.batches)) return current_;
  if (is_comparing_ && slice_.batches == 0) {
    slice_.began_ns = now_ns;
    if (neighbours_ != nullptr) slice_.others = neighbours_->others(now_ns);
  }
  if (is_comparing_) searched_ns_ += ns;
  slice_.batches += seen.batches;
  slice_.samples += seen.samples;
  slice_.ns += ns;
  slice_.waited_ns += waited;
  if (is_comparing_) {
    const std::uint64_t enough = slice_batches();
    if (4 * slice_.batches > 3 * enough) {
      slice_.late_batches += seen.batches;
      slice_.late_ready += seen.batches * seen.ready;
    }
    const bool tells = slice_.ns >= kSliceNs && slice_.batches >= enough;
    if (tells || (is_probing_ && slice_.waited_ns >= kSliceNs)) end_compared_slice(now_ns);
  } else {
    const bool first = !has_searched_ && reference_rate_ == 0;
    if (slice_.ns >= (first ? kFirstWatchNs : kWatchNs) && slice_.batches >= (first ? kSliceBatches : kWatchBatches)) end_watch();
  }
  return current_;
}

void OnlineTuner::end_watch() {
  const double rate = slice_.rate();
  const bool could_gain = slice_.waits();
  rested_ns_ += slice_.ns;
  watched_ns_ += slice_.ns;
  const bool strange = reference_rate_ > 0 && (rate > reference_rate_ * (1 + kStrange) || rate < reference_rate_ / (1 + kStrange));
  strange_windows_ = strange ? strange_windows_ + 1 : 0;
  const bool changed = strange_windows_ >= kStrangeWindows;
  if (reference_rate_ == 0 || changed) reference_rate_ = rate;
  if (changed) rest_ns_ = kFirstRestNs;
  if (could_gain && (!has_searched_ || changed || rested_ns_ >= rest_ns_)) {
    begin_search();
  } else if (may_probe()) {
    is_probing_ = true;
    begin_search();
  } else if (neighbours_ != nullptr) {
    neighbours_->release_search();
  }
  if (is_comparing_) return;
  if (changed) strange_windows_ = 0;
  slice_ = {};
  passes_in_slice_ = 0;
}

bool OnlineTuner::may_probe() const {
  if (slice_.waits() || watched_ns_ < probe_rest_ns_) return false;
  if (slice_.ns / slice_.batches * kProbeBatches * kept_.ahead > kLongestProbeSlice) return false;
  return spares(Move::kFewerThreads, moved(Move::kFewerThreads)) || spares(Move::kShallower, moved(Move::kShallower));
}

void OnlineTuner::begin_search() {
  if (neighbours_ != nullptr && !neighbours_->claim_search(last_ns_)) {
    is_probing_ = false;
    return;
  }
  is_comparing_ = true;
  before_search_ = kept_;
  changes_before_search_ = changes_;
  searched_ns_ = 0;
  failed_moves_ = -1;
  move_ = is_probing_ ? Move::kShallower : begins_after_;  // try_next() goes on to the next.
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

// Beside other loaders less: they take turns on what cores there are.
int OnlineTuner::few_threads() const {
  const std::size_t others = neighbours_ == nullptr ? 0 : neighbours_->others(last_ns_).count;
  return std::min(bounds_.max_threads / static_cast<int>(others + 1), kFewThreads);
}

// Whether the candidate is the better one if it is as good: with less memory, as long as each thread has its batches; or with half as many
// threads, which leaves cores to others.
bool OnlineTuner::spares(Move move, Setting candidate) const {
  if (candidate == kept_) return false;
  if (move == Move::kShallower) return candidate.ahead >= 2 * static_cast<std::uint32_t>(candidate.threads) + 2;
  return move == Move::kFewerThreads && candidate.threads >= few_threads();
}

// Among few threads, some more or fewer is the move that was tried just before.
bool OnlineTuner::repeats() const {
  return (move_ == Move::kSomeMore && candidate_ == moved(Move::kMoreThreads)) ||
         (move_ == Move::kSomeFewer && candidate_ == moved(Move::kFewerThreads));
}

// The move was not better: the next one, until all have failed in a row.
void OnlineTuner::try_next() {
  while (++failed_moves_ < kMoves && !gives_turn()) {
    move_ = static_cast<Move>((static_cast<int>(move_) + 1) % kMoves);
    candidate_ = moved(move_);
    if (candidate_ != kept_ && !repeats() && (!is_probing_ || spares(move_, candidate_))) return begin_candidate();
  }
  if (!is_probing_) begins_after_ = failed_moves_ < kMoves ? move_ : Move::kShallower;
  if (kept_ == before_search_) return end_search();
  ask_back();
}

void OnlineTuner::ask_back() {
  move_ = Move::kBack;
  candidate_ = before_search_;
  begin_candidate();
}

bool OnlineTuner::gives_turn() const {
  return searched_ns_ > kLongestTurnNs && neighbours_ != nullptr && neighbours_->others(last_ns_).count > 0;
}

void OnlineTuner::begin_candidate() {
  pairs_ = score_ = 0;
  second_of_pair_ = false;
  begin_slice(kept_);
}

void OnlineTuner::end_search() {
  const bool stays = kept_ == before_search_;
  // What was given up in vain is not tried again soon.
  if (is_probing_ ? stays : kept_.threads > before_search_.threads) probe_rest_ns_ = std::min(2 * probe_rest_ns_, kLongestRestNs);
  watched_ns_ = 0;
  if (!is_probing_) {
    if (has_searched_) rest_ns_ = std::min(2 * rest_ns_, kLongestRestNs);
    has_searched_ = true;
    rested_ns_ = 0;
  }
  if (stays) changes_ = changes_before_search_;
  is_comparing_ = is_probing_ = false;
  if (neighbours_ != nullptr) neighbours_->release_search();
  strange_windows_ = 0;
  reference_rate_ = 0;
  begin_slice(kept_);
}

// Slices come as kept, candidate, candidate, kept, kept, candidate, ...: neither is always the later one.
void OnlineTuner::end_compared_slice(std::int64_t now_ns) {
  Outcome outcome{slice_.rate(), slice_.ready() / current_.ahead, slice_.waits(), {}, static_cast<double>(now_ns - slice_.began_ns)};
  if (neighbours_ != nullptr) outcome.others = since(slice_.others, neighbours_->others(now_ns));
  if (!second_of_pair_) {
    first_ = outcome;
    second_of_pair_ = true;
    return begin_slice(current_ == kept_ ? candidate_ : kept_);
  }
  second_of_pair_ = false;
  const bool kept_is_second = current_ == kept_;
  judge(kept_is_second ? score_of(outcome, first_) : score_of(first_, outcome));
}

// What the others deliver with the candidate, each as a share of what it delivers with what is kept; multiplied, so that the way back is
// the inverse.
double OnlineTuner::change_of_others(const Outcome& kept, const Outcome& candidate) {
  double change = 1;
  for (std::size_t i = 0; i < kept.others.count; ++i) {
    for (std::size_t j = 0; j < candidate.others.count; ++j) {
      if (kept.others.loader[i] != candidate.others.loader[j]) continue;
      const auto before = static_cast<double>(kept.others.batches[i]), after = static_cast<double>(candidate.others.batches[j]);
      if (std::min(before, after) < static_cast<double>(kSliceBatches)) continue;  // too few to tell
      change *= std::clamp(after / candidate.ns * kept.ns / before, 1 / kMostChange, kMostChange);
    }
  }
  return change;
}

int OnlineTuner::score_of(const Outcome& kept, const Outcome& candidate) const {
  if (is_probing_) {
    if (move_ == Move::kBack && (kept.waits || kept.ready < kEmptied * candidate.ready)) return kAccept;
    if (candidate.waits || candidate.ready < kEmptied * kept.ready) return kReject;
  }
  const double ratio = candidate.rate / kept.rate * change_of_others(kept, candidate);
  if (ratio > kFarBetter) return 2;
  const double as_good = is_probing_ ? kAsGoodUnwaited : kAsGood;
  if (ratio > (spares(move_, candidate_) ? as_good : kBetter)) return 1;
  return ratio < kFarWorse ? -2 : -1;
}

void OnlineTuner::judge(int score) {
  ++pairs_;
  score_ += score;
  if (score_ >= kAccept) return decide(true);
  if (score_ <= kReject || pairs_ == kMostPairs) return decide(false);
  begin_slice(current_);
}

void OnlineTuner::decide(bool accept) {
  if (!accept) return move_ == Move::kBack ? end_search() : try_next();
  kept_ = candidate_;
  ++changes_;
  if (move_ == Move::kBack) return end_search();
  if (is_probing_) return ask_back();  // One step at a time: a queue that is filled too slowly shows late.
  failed_moves_ = -1;                  // The same move once more, then all others.
  move_ = static_cast<Move>((static_cast<int>(move_) + kMoves - 1) % kMoves);
  try_next();
}

}  // namespace headrace::pipeline
