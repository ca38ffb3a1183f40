// Chooses how many threads a pass uses and how many batches it keeps ahead, from what its consumer sees: samples a second, and the share of
// that time spent waiting. Which batches come does not depend on it: order is arithmetic.
//
// Threads come in twos: on many cores the difference that one makes drowns in noise, while batches of microseconds, or a consumer that
// shares a lock with others, may want two of sixteen. An eighth more or fewer is tried after that.
//
// It watches. Where waiting leaves something to gain, it compares: another setting in turn with the present one, in short slices, so that a
// machine whose speed drifts slows down both; the better stays. Then it rests, longer each time, and looks again at once
// when the rate is another. What other loaders of the process deliver in the same slices counts as much as what this one does: else each
// would take cores from the others for its own gain, and all would lose.
//
// Where nothing is waited for, fewer threads and batches are tried now and then, and stay if as much is delivered and as much is ready:
// what is made beside a consumer takes cores and caches from it.
//
// A function of what it is told: no clock, no lock, no allocation. Threads: the consumer's alone.
#pragma once

#include <cstdint>

#include "headrace/pipeline/neighbours.h"

namespace headrace::pipeline {

// What may be changed between two batches.
struct Setting {
  int threads = 1;
  std::uint32_t ahead = 1;  // batches under way
  bool operator==(const Setting&) const = default;
};

// Hard bounds, both ends included; equal ends leave that number alone.
struct SettingBounds {
  int min_threads = 1, max_threads = 1;
  std::uint32_t min_ahead = 1, max_ahead = 1;
  bool operator==(const SettingBounds&) const = default;
  Setting clamp(Setting setting) const;
};

// What a consumer saw of some batches in a row.
struct Seen {
  std::uint64_t batches = 0, samples = 0, waited_ns = 0;  // waited inside next() for them
  std::uint64_t ready = 0;                                // batches that wait for it, now
};

class OnlineTuner {
 public:
  // Begins with `first`, brought within the bounds. `neighbours` outlives it; null: there are none.
  OnlineTuner(Setting first, SettingBounds bounds, Neighbours* neighbours = nullptr);

  // A pass begins: what lies between two passes is no part of any rate.
  void begin_pass(std::int64_t now_ns);
  // What was delivered since the call before. Returns the setting for what follows.
  Setting deliver(std::int64_t now_ns, const Seen& seen);
  // Other bounds hold from now on (the machine changed): the search begins again within them.
  void set_bounds(SettingBounds bounds);
  // So does it from a setting that is given.
  void begin_again(Setting setting);

  Setting setting() const { return current_; }
  const SettingBounds& bounds() const { return bounds_; }
  bool is_searching() const { return is_comparing_; }
  std::uint64_t changes() const { return changes_; }  // settings that won a comparison

 private:
  enum class Move : std::uint8_t { kDeeper, kMoreThreads, kFewerThreads, kSomeMore, kSomeFewer, kShallower, kBack };
  static constexpr int kMoves = 6;  // those that a search tries; kBack asks, at its end, whether it was worth it

  struct Slice {
    std::uint64_t settle = 0, settle_all = 0;  // batches that still belong to the setting before: at least, and where they come soon
    std::uint64_t settle_ns = 0;               // so far
    std::uint64_t batches = 0, samples = 0, ns = 0, waited_ns = 0;
    std::uint64_t late_batches = 0, late_ready = 0;  // of the last quarter: batches, and those ready, summed
    std::int64_t began_ns = 0;
    Neighbours::Progress others;  // when it began
    double rate() const { return static_cast<double>(samples) / static_cast<double>(ns); }
    double ready() const { return late_batches == 0 ? 0 : static_cast<double>(late_ready) / static_cast<double>(late_batches); }
    bool waits() const;
  };
  // What a slice came to.
  struct Outcome {
    double rate = 0;
    double ready = 0;  // at its end, of the batches ahead
    bool waits = false;
    Neighbours::Progress others;  // what they delivered in it
    double ns = 0;                // by the clock
  };

  void begin_slice(Setting setting, bool is_begun_anew = false);
  void end_watch();
  void begin_search();
  bool may_probe() const;
  void try_next();
  void end_search();
  bool gives_turn() const;
  void ask_back();
  void begin_candidate();
  std::uint64_t slice_batches() const;
  bool settles(std::uint64_t ns, std::uint64_t batches);
  void end_compared_slice(std::int64_t now_ns);
  static double change_of_others(const Outcome& kept, const Outcome& candidate);
  int score_of(const Outcome& kept, const Outcome& candidate) const;
  void judge(int score);
  void decide(bool accept);
  Setting moved(Move move) const;
  int few_threads() const;
  bool spares(Move move, Setting candidate) const;
  bool repeats() const;
  std::uint64_t consumer_ns(std::uint64_t gap_ns, std::uint64_t waited_ns, std::uint64_t batches);

  SettingBounds bounds_;
  Neighbours* neighbours_;
  Setting kept_;     // the best known
  Setting current_;  // in force: kept_, or the candidate
  Slice slice_;
  std::int64_t last_ns_ = 0;
  double usual_consumer_ns_ = 0;
  int passes_in_slice_ = 0;

  // Watching.
  std::uint64_t rested_ns_ = 0, rest_ns_ = 0;  // since the latest search; until the next
  bool has_searched_ = false;
  double reference_rate_ = 0;  // 0: none yet
  int strange_windows_ = 0;    // in a row: another rate than that

  // Comparing.
  bool is_comparing_ = false, is_probing_ = false;    // probing: with fewer of either only, where nothing is waited for
  std::uint64_t watched_ns_ = 0, probe_rest_ns_ = 0;  // since the latest probe; until the next
  Setting candidate_, before_search_;
  std::uint64_t searched_ns_ = 0;  // in the search under way
  Move move_ = Move::kDeeper;
  Move begins_after_ = Move::kShallower;  // the next search: the one under way gave its turn away there
  int failed_moves_ = 0;                  // in a row
  int pairs_ = 0, score_ = 0;
  bool second_of_pair_ = false;
  Outcome first_;
  std::uint64_t changes_ = 0, changes_before_search_ = 0;
};

}  // namespace headrace::pipeline
