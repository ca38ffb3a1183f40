#include <linux/io_uring.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <ctime>

#include "headrace/io/ring.h"

namespace headrace::io {
namespace {

using Index = std::atomic_ref<unsigned>;

}  // namespace

Ring::Mapping::~Mapping() {
  if (begin_ != nullptr) ::munmap(begin_, bytes_);
}

bool Ring::Mapping::map(int ring, std::size_t bytes, std::uint64_t what) {
  void* begin = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring, static_cast<off_t>(what));
  if (begin == MAP_FAILED) return false;
  begin_ = begin;
  bytes_ = bytes;
  return ::madvise(begin, bytes, MADV_DONTFORK) == 0;
}

std::unique_ptr<Ring> Ring::make(unsigned depth, int& error) {
  std::unique_ptr<Ring> ring(new Ring());
  error = ring->set_up(depth);
  if (error != 0) return nullptr;
  return ring;
}

Ring::~Ring() {
  if (descriptor_ >= 0) ::close(descriptor_);
  if (event_ >= 0) ::close(event_);
}

void Ring::forget_memory() {
  queues_.forget();
  entries_.forget();
}

// 0 or errno.
int Ring::set_up(unsigned depth) {
  io_uring_params params = {};
  descriptor_ = static_cast<int>(::syscall(__NR_io_uring_setup, depth, &params));
  if (descriptor_ < 0) return errno;
  // RW_CUR_POS came with IORING_OP_READ, in Linux 5.6; completions are never dropped since 5.5, and one mapping serves both queues
  // since 5.4.
  constexpr unsigned kNeeded = IORING_FEAT_RW_CUR_POS | IORING_FEAT_NODROP | IORING_FEAT_SINGLE_MMAP;
  if ((params.features & kNeeded) != kNeeded || params.sq_entries < depth || params.cq_entries < depth) return ENOSYS;
  depth_ = depth;
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
  return 0;
}

unsigned Ring::unsubmitted() const { return *tail_ - Index(*head_).load(std::memory_order_acquire); }

void Ring::push_read(int descriptor, std::uint64_t offset, std::uint8_t* out, std::size_t length, std::uint64_t tag) {
  io_uring_sqe& entry = submissions_[*tail_ & mask_];
  std::memset(&entry, 0, sizeof entry);
  entry.opcode = IORING_OP_READ;
  entry.fd = descriptor;
  entry.off = offset;
  entry.addr = reinterpret_cast<std::uint64_t>(out);
  entry.len = static_cast<unsigned>(std::min<std::size_t>(length, 1u << 30));
  entry.user_data = tag;
  Index(*tail_).store(*tail_ + 1, std::memory_order_release);
  ++outstanding_;
}

void Ring::prepare_wake() {
  if (event_ < 0) event_ = ::eventfd(0, EFD_CLOEXEC);
}

bool Ring::push_wake(std::uint64_t tag) {
  if (event_ < 0) return false;
  push_read(event_, 0, reinterpret_cast<std::uint8_t*>(&events_), sizeof events_, tag);
  return true;
}

void Ring::wake() const {
  const std::uint64_t one = 1;
  (void)!::write(event_, &one, sizeof one);
}

int Ring::enter() {
  const long got = ::syscall(__NR_io_uring_enter, descriptor_, unsubmitted(), 1u, IORING_ENTER_GETEVENTS, nullptr, 0);
  return got < 0 ? errno : 0;
}

void Ring::reap(std::vector<Answer>& answers) {
  unsigned head = *done_head_;
  for (const unsigned tail = Index(*done_tail_).load(std::memory_order_acquire); head != tail; ++head) {
    const io_uring_cqe& completion = completions_[head & done_mask_];
    answers.push_back({completion.user_data, completion.res});
    --outstanding_;
  }
  Index(*done_head_).store(head, std::memory_order_release);
}

// The mapped queues keep the ring alive, whatever became of its descriptor.
void Ring::drain(std::vector<Answer>& answers) {
  for (reap(answers); outstanding_ > unsubmitted(); reap(answers)) {
    const timespec pause{0, 1'000'000};
    (void)::nanosleep(&pause, nullptr);
  }
}

}  // namespace headrace::io
