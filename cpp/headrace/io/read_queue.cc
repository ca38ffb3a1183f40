#include "headrace/io/read_queue.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <new>
#include <system_error>
#include <thread>

#include "headrace/base/blocked_signals.h"
#include "headrace/base/cpu.h"
#include "headrace/base/fork.h"
#include "headrace/io/kernel.h"
#include "headrace/io/request.h"
#include "headrace/io/ring.h"
#include "headrace/io/transfer.h"

namespace headrace::io {
namespace {

constexpr auto kIdle = std::chrono::seconds(30);
constexpr int kMaxRefusals = 64;  // EAGAIN of a submission, a millisecond apart

// Ranges submitted together, as transfers.
struct Group {
  std::vector<RangeRead> ranges;
  std::vector<Transfer> transfers;      // of the ranges, in turn
  std::vector<std::uint32_t> first_of;  // [range] its first transfer; one more than ranges
  std::atomic<std::size_t> left{0};     // transfers that are not settled
  ReadQueue::Done done;

  void cut() {
    for (const RangeRead& range : ranges) {
      first_of.push_back(static_cast<std::uint32_t>(transfers.size()));
      const std::size_t align = range.direct ? kDirectAlign : 1;
      for (std::size_t from = 0; from < range.out.size(); from += kPieceBytes) {
        const std::size_t length = std::min(range.out.size() - from, kPieceBytes);
        transfers.push_back({range.file->descriptor(), range.offset + from, range.out.data() + from, length, align});
      }
    }
    first_of.push_back(static_cast<std::uint32_t>(transfers.size()));
    left.store(transfers.size(), std::memory_order_relaxed);
  }

  // One transfer of the group is settled; the last calls back.
  void settle() {
    if (left.fetch_sub(1, std::memory_order_acq_rel) == 1) finish();
  }

  void finish() {
    for (std::size_t i = 0; i < ranges.size(); ++i) {
      RangeRead& range = ranges[i];
      for (std::size_t k = first_of[i]; k < first_of[i + 1]; ++k) {
        const Transfer& t = transfers[k];
        range.retried = range.retried || t.retried;
        const std::uint64_t from = t.offset - range.offset;
        if (t.done == t.length || from + t.done >= range.needed || !range.status.is_ok()) continue;
        try {
          range.status = read_failure({range.file.get(), range.offset, range.out.first(range.needed), {}}, from + t.done, t.error);
        } catch (const std::bad_alloc&) {  // No memory for its words.
          range.status = Status(Code::kOutOfMemory, {});
        }
      }
    }
    done(ranges);
  }
};

struct Item {
  std::shared_ptr<Group> group;
  std::uint32_t transfer = 0;
  Transfer& get() const { return group->transfers[transfer]; }
};

}  // namespace

struct ReadQueue::State {
  State(ReaderKind wanted, unsigned ring_depth, int max_threads)
      : wants_ring(wanted != ReaderKind::kPread),
        buffered(wanted != ReaderKind::kDirect),
        depth(ring_depth),
        threads_allowed(max_threads) {}

  const std::uint64_t generation = fork_generation();
  const bool wants_ring;
  const bool buffered;  // whether asking for readahead makes sense
  const unsigned depth;
  const int threads_allowed;
  std::atomic<int> refusal{0};

  std::mutex mutex;
  std::condition_variable work;      // something waits, or the end
  std::condition_variable finished;  // a thread ended
  std::deque<Item> waiting;          // guarded by mutex, as all below
  std::size_t advised = 0;           // of `waiting`, those that the kernel was told of
  int threads = 0;
  int idle = 0;
  Ring* sleeper = nullptr;  // its thread waits for the kernel, with room for more
  bool stopping = false;

  bool uses_ring() const { return wants_ring && refusal.load(std::memory_order_relaxed) == 0; }
  static void run(const std::shared_ptr<State>& state);
  void run_ring(Ring& ring, std::unique_lock<std::mutex>& lock);
  void run_thread(std::unique_lock<std::mutex>& lock);
  void advise(std::unique_lock<std::mutex>& lock);
  bool grow(const std::shared_ptr<State>& self);
};

// What one ring's thread has in flight.
class RingLoop {
 public:
  // Takes all memory that it will need: later, the kernel may write into that of reads in flight.
  explicit RingLoop(Ring& ring) : ring_(ring), slots_(ring.depth()) {
    free_.reserve(slots_.size());
    answers_.reserve(slots_.size() + 1);
    free_.reserve(slots_.size());
    answers_.reserve(slots_.size());                                           // No allocation may fail while reads are in flight.
    for (std::uint32_t i = 0; i + 1 < slots_.size(); ++i) free_.push_back(i);  // One entry is the wake-up's.
    ring_.prepare_wake();
  }
  std::size_t room() const { return free_.size(); }
  bool busy() const { return free_.size() + 1 != slots_.size(); }

  void push(Item item) {
    const std::uint32_t slot = free_.back();
    free_.pop_back();
    slots_[slot] = std::move(item);
    push_slot(slot);
  }

  // Submits, waits for one answer, and books what is there. 0, or errno if the ring is of no more use: nothing is in flight then, and
  // what was not read was read by blocking.
  int turn() {
    if (!waking_ && !ring_.push_wake(kWakeTag)) {
      abandon();
      return EMFILE;
    }
    waking_ = true;
    const int error = ring_.enter();
    ring_.reap(answers_);
    book(true);
    if (error == 0 || error == EINTR) {
      refusals_ = 0;
      return 0;
    }
    if ((error == EAGAIN || error == EBUSY) && ++refusals_ <= kMaxRefusals) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      return 0;
    }
    abandon();
    return error;
  }

  // REQUIRES: !busy(). Takes back the read of the wake-up, so that the ring can go.
  void end() {
    if (!waking_) return;
    ring_.wake();
    while (waking_ && ring_.outstanding() > ring_.unsubmitted()) {
      if (const int error = ring_.enter(); error != 0 && error != EINTR) break;
      ring_.reap(answers_);
      book(false);
    }
  }

 private:
  static constexpr std::uint64_t kWakeTag = ~std::uint64_t{0};

  void push_slot(std::uint32_t slot) {
    const Transfer& t = slots_[slot].get();
    ring_.push_read(t.descriptor, t.offset + t.done, t.out + t.done, t.length - t.done, slot);
  }

  void book(bool again) {
    for (const Ring::Answer& answer : answers_) {
      if (answer.tag == kWakeTag) {
        waking_ = false;
        continue;
      }
      const auto slot = static_cast<std::uint32_t>(answer.tag);
      Transfer& transfer = slots_[slot].get();
      book_answer(transfer, answer.result);
      if (!transfer.settled && again) {
        push_slot(slot);
        continue;
      }
      if (transfer.settled) settle(slot);
    }
    answers_.clear();
  }

  void settle(std::uint32_t slot) {
    const Item item = std::move(slots_[slot]);
    slots_[slot] = {};
    free_.push_back(slot);
    item.group->settle();
  }

  void abandon() {
    ring_.wake();  // Its read may be in flight, and would be for ever.
    ring_.drain(answers_);
    book(false);
    for (std::uint32_t slot = 0; slot < slots_.size(); ++slot) {
      if (slots_[slot].group == nullptr) continue;
      read_blocking({&slots_[slot].get(), 1});
      settle(slot);
    }
  }

  Ring& ring_;
  std::vector<Item> slots_;  // by tag
  std::vector<std::uint32_t> free_;
  std::vector<Ring::Answer> answers_;
  bool waking_ = false;
  int refusals_ = 0;
};

void ReadQueue::State::run_ring(Ring& ring, std::unique_lock<std::mutex>& lock) {
  RingLoop loop(ring);
  std::vector<Item> taken;
  taken.reserve(ring.depth());
  while (true) {
    if (waiting.empty() && !loop.busy()) {
      ++idle;
      const bool woken = work.wait_for(lock, kIdle, [&] { return stopping || !waiting.empty(); });
      --idle;
      if (waiting.empty() && (stopping || !woken)) break;
    }
    while (!waiting.empty() && taken.size() < loop.room()) {
      taken.push_back(std::move(waiting.front()));
      waiting.pop_front();
    }
    sleeper = loop.room() > taken.size() ? &ring : nullptr;
    lock.unlock();
    for (Item& item : taken) loop.push(std::move(item));
    taken.clear();
    const int error = loop.turn();
    lock.lock();
    sleeper = nullptr;
    if (error != 0) {
      refusal.store(error, std::memory_order_relaxed);
      return;
    }
  }
  loop.end();
}

// Tells the kernel of the reads that wait, so that the device sees them side by side.
void ReadQueue::State::advise(std::unique_lock<std::mutex>& lock) {
  std::vector<Item> ahead;
  try {
    ahead.reserve(std::min<std::size_t>(waiting.size(), depth));
  } catch (const std::bad_alloc&) {
    return;  // It is only advice.
  }
  for (const std::size_t end = std::min<std::size_t>(waiting.size(), depth); advised < end; ++advised) ahead.push_back(waiting[advised]);
  if (ahead.size() < 2) return;
  lock.unlock();
  for (const Item& item : ahead) will_need(item.get().descriptor, item.get().offset, item.get().length);
  ahead.clear();
  lock.lock();
}

void ReadQueue::State::run_thread(std::unique_lock<std::mutex>& lock) {
  while (true) {
    ++idle;
    const bool woken = work.wait_for(lock, kIdle, [&] { return stopping || !waiting.empty(); });
    --idle;
    if (waiting.empty()) {
      if (stopping || !woken) return;
      continue;
    }
    if (buffered) advise(lock);
    if (waiting.empty()) continue;
    {
      const Item item = std::move(waiting.front());
      waiting.pop_front();
      if (advised > 0) --advised;
      lock.unlock();
      read_blocking({&item.get(), 1});
      item.group->settle();
    }
    lock.lock();
  }
}

void ReadQueue::State::run(const std::shared_ptr<State>& state) {
  prepare_engine_thread("headrace-read");
  std::unique_lock lock(state->mutex);
  if (state->uses_ring()) {
    lock.unlock();
    int error = 0;
    {
      std::unique_ptr<Ring> ring;
      try {
        ring = Ring::make(std::min(4096u, state->depth + 1), error);
      } catch (const std::bad_alloc&) {
        error = ENOMEM;
      }
      lock.lock();
      try {
        if (ring != nullptr) state->run_ring(*ring, lock);
      } catch (const std::bad_alloc&) {  // At its beginning: nothing is in flight, and the lock is held.
        error = ENOMEM;
      }
    }
    if (error != 0) state->refusal.store(error, std::memory_order_relaxed);
    if (!state->uses_ring()) {
      while (state->grow(state)) {
      }
    }
  }
  if (!state->uses_ring()) state->run_thread(lock);
  --state->threads;
  // What came after the last look at the queue needs a thread.
  if (!state->waiting.empty()) (void)state->grow(state);
  state->finished.notify_all();
}

// Starts a thread if one is wanted; false if not, or if the system refuses. REQUIRES: mutex held.
bool ReadQueue::State::grow(const std::shared_ptr<State>& self) {
  const int limit = uses_ring() ? 1 : threads_allowed;
  if (threads >= limit || (threads > 0 && static_cast<std::size_t>(idle) >= waiting.size())) return false;
  try {
    const BlockedSignals blocked;
    std::thread([self] { run(self); }).detach();
  } catch (const std::exception&) {  // No thread, or no memory for one.
    return false;
  }
  ++threads;
  return true;
}

ReadQueue::ReadQueue(ReaderKind kind, unsigned depth, int threads) : state_(std::make_shared<State>(kind, depth, threads)) {}

ReadQueue::~ReadQueue() {
  if (state_->generation != fork_generation()) {
    new std::shared_ptr<State>(std::move(state_));  // Leaked on purpose: its threads and its lock did not survive the fork.
    return;
  }
  std::unique_lock lock(state_->mutex);
  state_->stopping = true;
  state_->work.notify_all();
  state_->finished.wait(lock, [&] { return state_->threads == 0; });
}

ReadQueue& ReadQueue::shared(ReaderKind kind, std::uint64_t device) {
  struct Shared {
    ReadQueue queue;
    std::uint64_t generation;
    std::uint64_t device;
  };
  // One atomic each, not a mutex: a mutex could be held by a thread that fork() did not copy.
  static std::array<std::array<std::atomic<Shared*>, kDevices>, 4> all{};
  const std::uint64_t generation = fork_generation();
  for (std::size_t tries = 0;; ++tries) {
    std::atomic<Shared*>& current = all[static_cast<std::size_t>(kind)][(device + tries) % kDevices];
    Shared* seen = current.load(std::memory_order_acquire);
    while (seen == nullptr || seen->generation != generation) {
      auto* fresh = new Shared{{kind, kDepth, kThreads}, generation, device};
      if (current.compare_exchange_strong(seen, fresh, std::memory_order_acq_rel)) return fresh->queue;
      delete fresh;  // Another thread was first; ours has no threads yet.
    }
    if (seen->device == device || tries + 1 >= kDevices) return seen->queue;
  }
}

void ReadQueue::submit(std::vector<RangeRead> ranges, Done done) {
  const auto group = std::make_shared<Group>();
  group->ranges = std::move(ranges);
  group->done = std::move(done);
  group->cut();
  const auto count = static_cast<std::uint32_t>(group->transfers.size());
  if (count == 0) return group->finish();
  State& s = *state_;
  std::unique_lock lock(s.mutex);
  const std::size_t before = s.waiting.size();
  try {
    for (std::uint32_t i = 0; i < count; ++i) s.waiting.push_back({group, i});
  } catch (...) {  // Out of memory: as if this call had not been.
    s.waiting.resize(before);
    throw;
  }
  for (std::uint32_t i = 0; i < count && s.grow(state_); ++i) {
  }
  if (s.threads == 0) {  // The system gives us no thread at all.
    s.waiting.erase(s.waiting.end() - count, s.waiting.end());
    lock.unlock();
    read_blocking(group->transfers);
    return group->finish();
  }
  if (s.sleeper != nullptr) s.sleeper->wake();
  s.sleeper = nullptr;  // One wake-up is enough.
  lock.unlock();
  if (count == 1) {
    s.work.notify_one();
  } else {
    s.work.notify_all();
  }
}

int ReadQueue::refusal() const { return state_->refusal.load(std::memory_order_relaxed); }

}  // namespace headrace::io
