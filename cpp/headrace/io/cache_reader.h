// Who reads blocks of a dataset in an order that is known in advance, and what a use of a block says about the next one.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace headrace::io {

// A block in the process: `owner` is unique to a dataset, `block` in it.
struct BlockKey {
  std::uint64_t owner = 0;
  std::uint64_t block = 0;
  bool operator==(const BlockKey&) const = default;
};
// A number that no other owner of this process has.
std::uint64_t new_owner();

// Rows of the dataset that a block holds bytes of; none where that is not known.
struct Rows {
  std::uint64_t first = 0;
  std::uint64_t count = 0;
};

// Its clock counts positions of its order, epoch after epoch, and never goes back.
// Threads: any may ask; each answers without waiting for long.
class CacheReader {
 public:
  static constexpr std::uint64_t kNever = ~std::uint64_t{0};
  static constexpr std::uint64_t kUnknown = kNever - 1;
  CacheReader() = default;
  virtual ~CacheReader() = default;
  CacheReader(const CacheReader&) = delete;
  CacheReader& operator=(const CacheReader&) = delete;

  // When it wants one of these rows, at `from` or later; kNever if not as far as it sees, kUnknown if it does not know now.
  virtual std::uint64_t next_use(const Rows& rows, std::uint64_t from) const = 0;
  // Bytes of blocks that it reads in one step of its clock, about: what makes readers comparable.
  virtual double step_bytes() const = 0;
  // Steps by which its reads may be out of order.
  virtual std::uint64_t slack() const = 0;

  // The furthest that it has come, and when it last used a block, on the cache's clock.
  std::uint64_t now() const { return now_.load(std::memory_order_relaxed); }
  std::uint64_t used_at() const { return used_at_.load(std::memory_order_relaxed); }
  void used(std::uint64_t cache_clock) const { used_at_.store(cache_clock, std::memory_order_relaxed); }
  void come_to(std::uint64_t time) const {
    std::uint64_t seen = now();
    while (seen < time && !now_.compare_exchange_weak(seen, time, std::memory_order_relaxed)) {
    }
  }

 private:
  mutable std::atomic<std::uint64_t> now_{0}, used_at_{0};
};

// kIfRoom: only where nothing else has to go. Blocks that come back after everything else did (any order over more than fits) gain
// nothing from pushing each other out: what stays is as good as what comes.
enum class Keep : std::uint8_t { kIfRoom, kEvict };

struct BlockUse {
  const CacheReader* reader = nullptr;  // null: its next use is not known
  std::uint64_t after = 0;              // on its clock: from when on it wants the block again
  Keep keep = Keep::kEvict;             // where the next use is not known
  Rows rows;
};

}  // namespace headrace::io
