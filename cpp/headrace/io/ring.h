// One io_uring by raw system calls: pushes reads, reaps their answers. Linux: ring_linux.cc; elsewhere making one answers ENOSYS.
//
// Owns:     the descriptor, an eventfd, and the kernel's shared memory. Memory that reads fill is borrowed until they are reaped.
// Threads:  one at a time; wake() from any.
// Forking:  a child does not inherit the memory; it may only call forget_memory() and destroy the ring.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

struct io_uring_sqe;
struct io_uring_cqe;

namespace headrace::io {

class Ring {
 public:
  struct Answer {
    std::uint64_t tag;
    std::int32_t result;  // bytes, or -errno
  };

  // Null, and `error` set to an errno, where the kernel refuses.
  static std::unique_ptr<Ring> make(unsigned depth, int& error);
  ~Ring();
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;

  // In a forked child: the memory is not there, and its addresses may hold something else by now.
  void forget_memory();
  unsigned depth() const { return depth_; }
  unsigned outstanding() const { return outstanding_; }  // pushed and not reaped
  unsigned unsubmitted() const;
  // Queues a read; enter() submits it. REQUIRES: outstanding() < depth().
  void push_read(int descriptor, std::uint64_t offset, std::uint8_t* out, std::size_t length, std::uint64_t tag);
  // Submits what is pushed and waits for one answer at least. 0 or errno.
  int enter();
  // Takes the descriptor that wake() needs, before any other thread may call that. Where the system refuses it, push_wake() says so.
  void prepare_wake();
  // Has wake() end an enter(): one answer with `tag`. REQUIRES: as push_read(). False if there is no descriptor for it.
  bool push_wake(std::uint64_t tag);
  void wake() const;
  // Appends the answers that are there.
  void reap(std::vector<Answer>& answers);
  // Waits until nothing that was submitted is in flight: the kernel writes into the callers' memory until then.
  void drain(std::vector<Answer>& answers);

 private:
  class Mapping {
   public:
    Mapping() = default;
    ~Mapping();
    Mapping(const Mapping&) = delete;
    Mapping& operator=(const Mapping&) = delete;
    // The kernel's memory of a ring. A forked child does not inherit it: it would write into the parent's ring.
    bool map(int ring, std::size_t bytes, std::uint64_t what);
    template <typename T>
    T* at(std::size_t offset) const {
      return reinterpret_cast<T*>(static_cast<std::uint8_t*>(begin_) + offset);
    }
    void forget() { begin_ = nullptr; }

   private:
    void* begin_ = nullptr;
    std::size_t bytes_ = 0;
  };
  Ring() = default;
  int set_up(unsigned depth);

  int descriptor_ = -1;
  int event_ = -1;
  std::uint64_t events_ = 0;  // where the kernel puts what it read from event_
  Mapping queues_, entries_;
  unsigned *head_ = nullptr, *tail_ = nullptr, *done_head_ = nullptr, *done_tail_ = nullptr;
  unsigned mask_ = 0, done_mask_ = 0, depth_ = 0, outstanding_ = 0;
  io_uring_sqe* submissions_ = nullptr;
  io_uring_cqe* completions_ = nullptr;
};

}  // namespace headrace::io
