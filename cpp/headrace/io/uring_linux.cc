#include <linux/io_uring.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <memory>
#include <vector>

#include "headrace/base/fork.h"
#include "headrace/io/uring.h"

namespace headrace::io {
namespace {

// Then one blocking pread does it: a kernel that is short of memory may answer EAGAIN for ever.
constexpr std::uint8_t kMaxTries = 8;
constexpr int kMaxRefusals = 64;  // EAGAIN of a submission while nothing is in flight, a millisecond apart

void sleep_a_millisecond() {
  const timespec pause{0, 1'000'000};
  (void)::nanosleep(&pause, nullptr);
}

class Mapping {
 public:
  Mapping() = default;
  ~Mapping() {
    if (begin_ != nullptr) ::munmap(begin_, bytes_);
  }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  // The kernel's memory of a ring. A forked child does not inherit it: it would write into the parent's ring.
  bool map(int ring, std::size_t bytes, std::uint64_t what) {
    void* begin = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring, static_cast<off_t>(what));
    if (begin == MAP_FAILED) return false;
    begin_ = begin;
    bytes_ = bytes;
    return ::madvise(begin, bytes, MADV_DONTFORK) == 0;
  }
  template <typename T>
  T* at(std::size_t offset) const {
    return reinterpret_cast<T*>(static_cast<std::uint8_t*>(begin_) + offset);
  }
  void forget() { begin_ = nullptr; }

 private:
  void* begin_ = nullptr;
  std::size_t bytes_ = 0;
};

using Index = std::atomic_ref<unsigned>;

class Ring {
 public:
  // Null, and `error` set, where the kernel refuses.
  static std::unique_ptr<Ring> make(int& error);
  ~Ring() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;

  // In a forked child: the memory is not there, and its addresses may hold something else by now.
  void forget_memory() {
    queues_.forget();
    entries_.forget();
  }
  // 0, or errno if the ring is of no more use; nothing is in flight then.
  int read(std::span<Transfer> transfers);

 private:
  Ring() = default;
  int set_up();
  void push(const Transfer& transfer, std::uint64_t index);
  unsigned unsubmitted() const { return *tail_ - Index(*head_).load(std::memory_order_acquire); }
  int enter();
  void reap(std::span<Transfer> transfers);
  void drain(std::span<Transfer> transfers);

  int descriptor_ = -1;
  Mapping queues_, entries_;
  unsigned *head_ = nullptr, *tail_ = nullptr, *done_head_ = nullptr, *done_tail_ = nullptr;
  unsigned mask_ = 0, done_mask_ = 0;
  io_uring_sqe* submissions_ = nullptr;
  io_uring_cqe* completions_ = nullptr;
  unsigned outstanding_ = 0;          // pushed and not reaped
  std::vector<std::uint64_t> again_;  // transfers to submit once more
};

std::unique_ptr<Ring> Ring::make(int& error) {
  std::unique_ptr<Ring> ring(new Ring());
  error = ring->set_up();
  if (error != 0) return nullptr;
  return ring;
}

// 0 or errno.
int Ring::set_up() {
  io_uring_params params = {};
  descriptor_ = static_cast<int>(::syscall(__NR_io_uring_setup, kRingDepth, &params));
  if (descriptor_ < 0) return errno;
  // RW_CUR_POS came with IORING_OP_READ, in Linux 5.6; completions are never dropped since 5.5, and one mapping serves both queues
  // since 5.4.
  constexpr unsigned kNeeded = IORING_FEAT_RW_CUR_POS | IORING_FEAT_NODROP | IORING_FEAT_SINGLE_MMAP;
  if ((params.features & kNeeded) != kNeeded || params.sq_entries < kRingDepth || params.cq_entries < kRingDepth) return ENOSYS;
  const std::size_t queue_bytes = std::max<std::size_t>(params.sq_off.array + params.sq_entries * sizeof(unsigned),
                                                        params.cq_off.cqes + params.cq_entries * sizeof(io_uring_cqe));
  if (!queues_.map(descriptor_, queue_bytes, IORING_OFF_SQ_RING)) return errno;
  if (!entries_.map(descriptor_, params.sq_entries * sizeof(io_uring_sqe), IORING_OFF_SQES)) return errno;
  head_ = queues_.at<unsigned>(params.sq_off.head);
  tail_ = queues_.at<unsigned>(params.sq_off.tail);
  mask_ = *queues_.at<unsigned>(params.sq_off.ring_mask);
  done_head_ = queues_.at<unsigned>(params.cq_off.head);
  done_tail_ = queues_.at<unsigned>(params.cq_off.tail);
  done_mask_ = *queues_.at<unsigned>(params.cq_off.ring_mask);
  submissions_ = entries_.at<io_uring_sqe>(0);
  completions_ = queues_.at<io_uring_cqe>(params.cq_off.cqes);
  auto* places = queues_.at<unsigned>(params.sq_off.array);
  for (unsigned i = 0; i < params.sq_entries; ++i) places[i] = i;
  again_.reserve(kRingDepth);
  return 0;
}

void Ring::push(const Transfer& transfer, std::uint64_t index) {
  io_uring_sqe& entry = submissions_[*tail_ & mask_];
  std::memset(&entry, 0, sizeof entry);
  entry.opcode = IORING_OP_READ;
  entry.fd = transfer.descriptor;
  entry.off = transfer.offset + transfer.done;
  entry.addr = reinterpret_cast<std::uint64_t>(transfer.out + transfer.done);
  entry.len = static_cast<unsigned>(std::min<std::size_t>(transfer.length - transfer.done, 1u << 30));
  entry.user_data = index;
  Index(*tail_).store(*tail_ + 1, std::memory_order_release);
  ++outstanding_;
}

// Submits what is pushed and waits for one completion at least. 0 or errno.
int Ring::enter() {
  const long got = ::syscall(__NR_io_uring_enter, descriptor_, unsubmitted(), 1u, IORING_ENTER_GETEVENTS, nullptr, 0);
  return got < 0 ? errno : 0;
}

void Ring::reap(std::span<Transfer> transfers) {
  unsigned head = *done_head_;
  for (const unsigned tail = Index(*done_tail_).load(std::memory_order_acquire); head != tail; ++head) {
    const io_uring_cqe& completion = completions_[head & done_mask_];
    Transfer& transfer = transfers[completion.user_data];
    const bool transient = completion.res == -EAGAIN || completion.res == -EINTR;
    if (!transient) {
      transfer.book(completion.res);
    } else if (++transfer.tries >= kMaxTries) {
      read_blocking({&transfer, 1});
    }
    if (!transfer.settled) again_.push_back(completion.user_data);
    --outstanding_;
  }
  Index(*done_head_).store(head, std::memory_order_release);
}

// The kernel writes into the caller's memory until the last read in flight is done, so there is no return before that. The mapped queues
// keep the ring alive, whatever became of its descriptor.
void Ring::drain(std::span<Transfer> transfers) {
  for (reap(transfers); outstanding_ > unsubmitted(); reap(transfers)) sleep_a_millisecond();
}

int Ring::read(std::span<Transfer> transfers) {
  std::size_t next = 0;
  int refusals = 0;
  again_.clear();
  while (next < transfers.size() || outstanding_ > 0 || !again_.empty()) {
    while (outstanding_ < kRingDepth && !again_.empty()) {
      push(transfers[again_.back()], again_.back());
      again_.pop_back();
    }
    for (; outstanding_ < kRingDepth && next < transfers.size(); ++next) {
      if (!transfers[next].settled) push(transfers[next], next);
    }
    if (outstanding_ == 0) continue;
    const int error = enter();
    reap(transfers);
    if (error == 0 || error == EINTR) continue;
    const bool busy = error == EAGAIN || error == EBUSY;
    if (!busy || ++refusals > kMaxRefusals) {
      drain(transfers);
      return error;
    }
    sleep_a_millisecond();
  }
  return 0;
}

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
  if (slot.ring == nullptr) slot.ring = Ring::make(error);
  return slot.ring;
}

}  // namespace

int read_with_ring(std::span<Transfer> transfers) {
  int error = 0;
  std::unique_ptr<Ring>& ring = ring_of_this_thread(error);
  if (ring == nullptr) return error;
  error = ring->read(transfers);
  if (error != 0) ring.reset();  // It may hold reads that were never submitted, into memory that is going away.
  return error;
}

int ring_refusal() {
  int error = 0;
  Ring::make(error);
  return error;
}

}  // namespace headrace::io
