// A loader as the block cache sees it: when it reads which rows, in the pass under way and in the epoch that follows by itself.
//
// Its clock counts positions, pass after pass. A pass that is not the epoch foretold makes what was foretold void.
// Threads: begin() from the consumer's; next_use() from any. Locks: one mutex around the plan, held for a copy of its pointer.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>

#include "headrace/io/block_cache.h"
#include "headrace/pipeline/dataset.h"
#include "headrace/pipeline/order.h"
#include "headrace/pipeline/partition.h"

namespace headrace::pipeline {

class OrderReader final : public io::CacheReader {
 public:
  // sample_bytes: of an average sample. ahead: batches under way at most.
  OrderReader(std::shared_ptr<const Dataset> dataset, std::uint64_t sample_bytes, std::uint64_t ahead);
  ~OrderReader() override;

  // A pass begins at `position` of `order`; `next` is the order after it, null if not known.
  struct Plan {
    std::shared_ptr<const Order> order, next;
    Partition partition;
    std::uint64_t epoch = 0, position = 0;
    std::uint64_t begin = 0;  // on the clock, of position 0; set by begin()
  };
  // Returns the clock's time at position 0; none if the order does not know its next uses.
  std::optional<std::uint64_t> begin(Plan plan);
  // A pass begins whose samples come one by one.
  void begin_unknown();

  std::uint64_t next_use(const io::Rows& rows, std::uint64_t from) const override;
  double step_bytes() const override;
  std::uint64_t slack() const override;

 private:
  std::shared_ptr<const Plan> plan() const;
  static std::uint64_t find(const Order& order, const Partition& partition, const io::Rows& samples, std::uint64_t from,
                            std::uint64_t batches_from);

  const std::shared_ptr<const Dataset> dataset_;
  const double sample_bytes_;
  const std::uint64_t ahead_;
  std::atomic<double> step_bytes_;
  std::atomic<std::uint64_t> slack_{0};
  std::uint64_t clock_end_ = 0;       // of the latest pass; the consumer's alone
  mutable std::mutex mutex_;          // guards plan_
  std::shared_ptr<const Plan> plan_;  // null: not known
};

// Makes a reader known to the cache while it lives. In a child of fork() it does nothing at its end.
class CacheSubscription {
 public:
  explicit CacheSubscription(std::shared_ptr<OrderReader> reader, Runtime& runtime);
  ~CacheSubscription();
  CacheSubscription(const CacheSubscription&) = delete;
  CacheSubscription& operator=(const CacheSubscription&) = delete;
  OrderReader& reader() const { return *reader_; }

 private:
  const std::uint64_t generation_;
  io::BlockCache& cache_;
  const std::uint64_t owner_;
  std::shared_ptr<OrderReader> reader_;
};

}  // namespace headrace::pipeline
