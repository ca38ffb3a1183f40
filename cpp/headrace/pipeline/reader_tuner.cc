#include "headrace/pipeline/reader_tuner.h"

#include <algorithm>

namespace headrace::pipeline {
namespace {

constexpr std::uint64_t kSliceNs = 100'000'000;
constexpr std::uint64_t kLongestSliceNs = 1'000'000'000;
constexpr std::uint64_t kSliceBatches = 8;  // however slow: of fewer, one slow read decides
constexpr std::uint64_t kSoonNs = 500'000'000;
constexpr unsigned kOthers = 3;
constexpr std::uint64_t kFirstRestNs = 4'000'000'000, kLongestRestNs = 64'000'000'000;
constexpr double kBetter = 1.05, kClearlyBetter = 1.5, kClearlyWorse = 0.9, kMuchWorse = 0.5;
constexpr int kWinsWanted = 4, kClearWins = 2, kLossesAllowed = 1, kClearLosses = 2;
constexpr std::uint64_t kGivenUpTimes = 2, kGivenUpBatches = 2;
constexpr std::uint64_t kWaitingDivisor = 50;  // a fiftieth of the time

}  // namespace

void ReaderTuner::begin_pass(std::int64_t now_ns) { last_ns_ = now_ns; }

void ReaderTuner::set_present(io::ReaderKind present) {
  present_ = present;
  is_comparing_ = false;
  rested_ns_ = 0;
  rest_ns_ = next_rest_ns_ = kFirstRestNs;
}

// In turn, those that are not the present one.
io::ReaderKind ReaderTuner::next_candidate() {
  constexpr std::array kReaders{io::ReaderKind::kMmap, io::ReaderKind::kPread, io::ReaderKind::kDirect, io::ReaderKind::kUring};
  io::ReaderKind found = kReaders[tried_++ % kReaders.size()];
  if (found == present_) found = kReaders[tried_++ % kReaders.size()];
  return found;
}

void ReaderTuner::begin_slice(std::uint64_t under_way) {
  slice_now_ = {};
  skip_ = under_way;
}

io::ReaderKind ReaderTuner::deliver(std::int64_t now_ns, std::uint64_t waited_ns, std::uint64_t samples, std::uint64_t under_way,
                                    std::uint64_t batches) {
  const auto gap = static_cast<std::uint64_t>(std::max<std::int64_t>(0, now_ns - last_ns_));
  last_ns_ = now_ns;
  if (skip_ > 0) {
    skip_ -= std::min(skip_, batches);
    return is_comparing_ && is_other_slice() ? other_ : present_;
  }
  slice_now_.ns += gap;
  slice_now_.waited_ns += waited_ns;
  slice_now_.samples += samples;
  slice_now_.batches += batches;
  if (!is_comparing_) {
    rested_ns_ += gap;
    if (rested_ns_ < rest_ns_) return present_;
    const bool waits = slice_now_.waited_ns >= slice_now_.ns / kWaitingDivisor;
    rested_ns_ = 0;
    slice_now_ = {};
    if (!waits) return present_;
    other_ = next_candidate();
    is_comparing_ = true;
    slice_ = won_ = won_clearly_ = lost_ = lost_clearly_ = 0;
    begin_slice(0);
  } else if (slice_is_over()) {
    end_slice(under_way);
  }
  return is_comparing_ && is_other_slice() ? other_ : present_;
}

bool ReaderTuner::slice_is_over() const {
  if (slice_now_.ns < kSliceNs) return false;
  if (is_other_slice() && slice_now_.batches >= kGivenUpBatches && slice_now_.ns >= kGivenUpTimes * ns_before_) return true;
  return slice_now_.batches >= kSliceBatches && (slice_now_.samples >= period_ || slice_now_.ns >= kLongestSliceNs);
}

void ReaderTuner::end_slice(std::uint64_t under_way) {
  const double rate = static_cast<double>(slice_now_.samples) / static_cast<double>(slice_now_.ns);
  if (is_other_slice()) {
    const double ratio = rate / rate_before_;
    ++(ratio >= kBetter ? won_ : lost_);
    won_clearly_ = ratio >= kClearlyBetter ? won_clearly_ + 1 : 0;
    if (ratio < kClearlyWorse) lost_clearly_ += ratio < kMuchWorse ? kClearLosses : 1;
  } else {
    rate_before_ = rate;
    ns_before_ = slice_now_.ns;
  }
  ++slice_;
  begin_slice(under_way);
  if (won_ >= kWinsWanted || won_clearly_ >= kClearWins) return settle(true);
  if (lost_ > kLossesAllowed || lost_clearly_ >= kClearLosses || slice_ >= 2 * kPairs) settle(false);
}

void ReaderTuner::settle(bool better) {
  is_comparing_ = false;
  rested_ns_ = 0;
  if (better) {
    present_ = other_;
    refused_ = 0;
    rest_ns_ = kSoonNs;
    next_rest_ns_ = kFirstRestNs;
    return;
  }
  // All others are asked before it rests, and again before it rests longer.
  ++refused_;
  rest_ns_ = refused_ < kOthers ? kSoonNs : next_rest_ns_;
  if (refused_ >= kOthers && refused_ % kOthers == 0) next_rest_ns_ = std::min(kLongestRestNs, 2 * next_rest_ns_);
}

}  // namespace headrace::pipeline
