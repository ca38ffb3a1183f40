#include "headrace/io/uring.h"

#include <cerrno>
#include <chrono>
#include <memory>
#include <thread>
#include <vector>

#include "headrace/base/fork.h"
#include "headrace/io/ring.h"

namespace headrace::io {
namespace {

constexpr int kMaxRefusals = 64;  // EAGAIN of a submission while nothing is in flight, a millisecond apart

// Reads transfers with a ring of its own.
class RingRead {
 public:
  RingRead(Ring& ring, std::span<Transfer> transfers) : ring_(ring), transfers_(transfers) {
    // All that is ever in them: no allocation may fail while the kernel still writes into memory that its failure would free.
    again_.reserve(ring.depth());
    answers_.reserve(ring.depth());
  }

  // 0, or errno if the ring is of no more use; nothing is in flight then.
  int run() {
    std::size_t next = 0;
    int refusals = 0;
    while (next < transfers_.size() || ring_.outstanding() > 0 || !again_.empty()) {
      while (ring_.outstanding() < ring_.depth() && !again_.empty()) {
        push(again_.back());
        again_.pop_back();
      }
      for (; ring_.outstanding() < ring_.depth() && next < transfers_.size(); ++next) {
        if (!transfers_[next].settled) push(next);
      }
      if (ring_.outstanding() == 0) continue;
      const int error = ring_.enter();
      ring_.reap(answers_);
      book();
      if (error == 0 || error == EINTR) continue;
      const bool busy = error == EAGAIN || error == EBUSY;
      if (!busy || ++refusals > kMaxRefusals) {
        ring_.drain(answers_);
        book();
        return error;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return 0;
  }

 private:
  void push(std::uint64_t index) {
    const Transfer& t = transfers_[index];
    ring_.push_read(t.descriptor, t.offset + t.done, t.out + t.done, t.length - t.done, index);
  }

  void book() {
    for (const Ring::Answer& answer : answers_) {
      Transfer& transfer = transfers_[answer.tag];
      book_answer(transfer, answer.result);
      if (!transfer.settled) again_.push_back(answer.tag);
    }
    answers_.clear();
  }

  Ring& ring_;
  std::span<Transfer> transfers_;
  std::vector<std::uint64_t> again_;  // transfers to submit once more
  std::vector<Ring::Answer> answers_;
};

struct Slot {
  std::unique_ptr<Ring> ring;
  std::uint64_t generation = 0;
};

// This thread's ring; null, and `error` set, where the kernel refuses one.
std::unique_ptr<Ring>& ring_of_this_thread(int& error) {
  thread_local Slot slot;
  if (slot.generation != fork_generation()) {
    if (slot.ring != nullptr) slot.ring->forget_memory();
    slot.ring.reset();  // Closes the child's copy of the descriptor; the parent's ring lives on.
    slot.generation = fork_generation();
  }
  if (slot.ring == nullptr) slot.ring = Ring::make(kRingDepth, error);
  return slot.ring;
}

}  // namespace

int read_with_ring(std::span<Transfer> transfers) {
  int error = 0;
  std::unique_ptr<Ring>& ring = ring_of_this_thread(error);
  if (ring == nullptr) return error;
  error = RingRead(*ring, transfers).run();
  if (error != 0) ring.reset();  // It may hold reads that were never submitted, into memory that is going away.
  return error;
}

int ring_refusal() {
  int error = 0;
  (void)Ring::make(kRingDepth, error);
  return error;
}

}  // namespace headrace::io
