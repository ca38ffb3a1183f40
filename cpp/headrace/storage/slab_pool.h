// Page-aligned memory for batches, reused: fresh pages cost more than the copies into them.
//
// Owns:     the slabs, leased out and free. A Lease is the right to use one; the slab returns to the pool when the last
//           copy of its lease dies, on whatever thread. The pool's state outlives the pool while leases live.
// Memory:   free slabs are kept up to `keep_bytes` (`keep_locked_bytes` if some are page-locked), or as long as they and the leased ones
//           are within keep_total(); the rest is given back to the system. 2 MiB slabs and larger ask for huge pages. The bytes of a
//           new slab are zero, those of a reused one are not.
// Threads:  any thread may call anything. Locks: one mutex around the free list; never held while mapping memory. keep_total() takes none.
// Forking:  the child leaks what the parent leased; pools made before a fork must not be used after it.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>

#include "headrace/base/status.h"
#include "headrace/storage/host_register.h"

namespace headrace::storage {

class Slab {
 public:
  ~Slab();
  Slab(const Slab&) = delete;
  Slab& operator=(const Slab&) = delete;
  // Errors: kOutOfMemory.
  static Result<std::unique_ptr<Slab>> allocate(std::size_t bytes);

  std::uint8_t* data() const { return data_; }
  std::size_t capacity() const { return capacity_; }
  bool page_locked() const { return page_locked_.load(); }
  // Page-locks the slab once, until its end, for the device that is current on this thread. False if there is no runtime, or it refuses.
  bool lock_pages();

 private:
  Slab() = default;
  std::uint8_t* data_ = nullptr;
  std::size_t capacity_ = 0;
  std::uint64_t generation_ = 0;  // fork generation of the maker
  std::mutex lock_mutex_;         // guards lock_
  PageLock lock_;
  std::atomic<bool> page_locked_ = false;
};

using Lease = std::shared_ptr<Slab>;

class SlabPool {
 public:
  // keep_locked_bytes: of free slabs once some are page-locked, if that is more: to lock memory costs more than to fill it.
  explicit SlabPool(std::size_t keep_bytes, std::size_t keep_locked_bytes = 0);
  ~SlabPool();
  SlabPool(const SlabPool&) = delete;
  SlabPool& operator=(const SlabPool&) = delete;

  // A slab of at least `bytes`. Capacity is rounded up by at most a quarter (or a page), so that sizes that vary a little
  // reuse each other's slabs; where too many are free, the longest unused go first.
  // Errors: kOutOfMemory, kForked.
  Result<Lease> acquire(std::size_t bytes);

  // So much is in use at times, and is better kept: of all slabs, leased and free. Never less than said before.
  void keep_total(std::size_t bytes);

  // Bytes of all slabs, leased and free; how many were made anew and how many reused.
  struct Counters {
    std::uint64_t bytes = 0;
    std::uint64_t leased_bytes = 0;
    std::uint64_t made = 0;
    std::uint64_t reused = 0;
  };
  Counters counters() const;

 private:
  struct State;
  struct Return;
  std::shared_ptr<State> state_;
};

}  // namespace headrace::storage
