// Chooses how many threads a pass uses and how many batches it keeps ahead, from what its consumer sees: samples a second, and the share of
// that time spent waiting. Which batches come does not depend on it: order is arithmetic.
//
// Threads come in twos: on many cores the difference that one makes drowns in noise, while batches of microseconds, or a consumer that
// shares a lock with others, may want two of sixteen. An eighth more or fewer is tried after that.
//
// It watches. Where waiting leaves something to gain, it compares: another setting in turn with the present one, in short slices, so that a
// machine whose speed drifts slows down both; the better stays. Then it rests, longer each time that nothing was better, and looks again
// once the rate is another.
//
// A function of what it is told: no clock, no lock, no allocation. Threads: the consumer's alone.
#pragma once

#include <cstdint>

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

class OnlineTuner {
 public:
  // Begins with `first`, brought within the bounds.
  OnlineTuner(Setting first, SettingBounds bounds);

  // A pass begins: what lies between two passes is no part of any rate.
  void begin_pass(std::int64_t now_ns);
  // Batches were delivered since the call before, `waited_ns` spent inside next() for them. Returns the setting for what follows.
  Setting deliver(std::int64_t now_ns, std::uint64_t waited_ns, std::uint64_t samples, std::uint64_t batches = 1);
  // Other bounds hold from now on (the machine changed): the search begins again within them.
  void set_bounds(SettingBounds bounds);

  Setting setting() const { return current_; }
  const SettingBounds& bounds() const { return bounds_; }
  bool is_searching() const { return is_comparing_; }
  std::uint64_t changes() const { return changes_; }  // settings that won a comparison

 private:
  enum class Move : std::uint8_t { kDeeper, kMoreThreads, kFewerThreads, kSomeMore, kSomeFewer, kShallower, kBack };
  static constexpr int kMoves = 6;  // those that a search tries; kBack asks, at its end, whether it was worth it

  struct Slice {
    std::uint64_t settle = 0;  // batches that still belong to the setting before
    std::uint64_t batches = 0, samples = 0, ns = 0, waited_ns = 0;
    double rate() const { return static_cast<double>(samples) / static_cast<double>(ns); }
  };

  void begin_slice(Setting setting);
  void end_watch();
  void begin_search();
  void try_next();
  void end_search();
  void end_compared_slice();
  void judge(double ratio);
  void decide(bool accept);
  Setting moved(Move move) const;
  bool spares() const;
  bool repeats() const;
  std::uint64_t consumer_ns(std::uint64_t gap_ns, std::uint64_t waited_ns, std::uint64_t batches);

  SettingBounds bounds_;
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
  bool is_comparing_ = false;
  Setting candidate_, before_search_;
  Move move_ = Move::kDeeper;
  int failed_moves_ = 0;  // in a row
  int pairs_ = 0, score_ = 0;
  bool second_of_pair_ = false;
  double first_rate_ = 0;
  std::uint64_t changes_ = 0, changes_before_search_ = 0;
};

}  // namespace headrace::pipeline
