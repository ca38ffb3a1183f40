// One pass under way: its jobs (a batch each) and the tasks that build them.
//
// What a job reads by position is queued (io/read_queue.h), and no thread is held meanwhile: its next task is submitted when the bytes are
// there. So a job is planned (what it lacks before it can be laid out), laid out, and assembled piece by piece, each as soon as it can be.
//
// Tasks and queued reads own shares of Pass and Job, which own a share of PassShared: so a pipeline may go while its tasks still run.
// Threads:  a Job belongs to one task or read at a time (its pieces: to many), and to the consumer once `done` was seen under Pass::mutex;
//           its atomics may be read at any time.
// Locks:    Pass::mutex guards Job::done, and which jobs are parked.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "headrace/base/status.h"
#include "headrace/base/thread_pool.h"
#include "headrace/pipeline/batch_parts.h"
#include "headrace/pipeline/chunk_ahead.h"
#include "headrace/pipeline/counters.h"
#include "headrace/pipeline/order.h"
#include "headrace/pipeline/order_reader.h"
#include "headrace/pipeline/partition.h"
#include "headrace/storage/slab_pool.h"

namespace headrace::pipeline {

constexpr std::uint64_t kSharedBlockBytes = 16u << 10;  // a block of raw values: read whole, whoever wants a part of it

// What all passes of a pipeline share.
struct PassShared {
  PassShared(std::size_t keep_bytes, std::size_t batch_budget) : slabs(keep_bytes, batch_budget), budget(batch_budget) {}
  storage::SlabPool slabs;
  const std::size_t budget;  // of batches under way, and of slabs that are kept
  Counters counters;
  BuildContext context;
  std::vector<PartPlan> parts;  // of the context; constant once the pipeline is made
  OnError on_error = OnError::kRaise;
  std::uint64_t seed = 0;
  std::shared_ptr<const AliasTable> weights;  // null: all samples alike
  std::atomic<std::uint64_t> bytes_in_flight{0}, peak_bytes_in_flight{0}, batches_in_flight{0}, batches_ready{0};
  std::atomic<std::uint64_t> active_ns{0}, first_batch_ns{0};
  std::atomic<std::int64_t> active_since{0};  // 0: no pass
};

enum class Stage : std::uint8_t { kQueued, kPlanning, kReading, kParked, kAssembling, kDone };
const char* stage_name(Stage stage);

// out[i] = sample at the share's position begin + i; positions past the end wrap around.
// REQUIRES: out.size() <= share.count, order.size() > 0.
void fill_share(const Order& order, const Partition::Share& share, std::span<std::uint64_t> out);

struct Job {
  explicit Job(std::shared_ptr<PassShared> owner);
  ~Job();
  Job(const Job&) = delete;
  Job& operator=(const Job&) = delete;

  // `now`: a reading of the clock, which the caller may share with a counter of its own; 0 if nobody looked.
  void enter(Stage next, std::int64_t now);
  // Replaces what this job counts for in bytes_in_flight.
  void count_bytes(std::uint64_t now);
  // No longer under way: delivered, or given up. A task may hold the job for a moment longer. The second call does nothing.
  void leave();

  std::shared_ptr<PassShared> shared;
  std::uint64_t step = 0, position_before = 0, position_after = 0;
  std::uint32_t weight = 1;            // how many batches its times count for; 0: only what is slow is timed
  Partition::Share share;              // of positions, unless `planned`; `valid` counts what is left where samples are left out
  std::vector<std::uint64_t> samples;  // given (fed) and constant, or filled by the task
  bool planned = false;
  std::unique_ptr<BatchParts> builder;
  std::atomic<std::size_t> pieces_left{0};
  std::atomic<std::uint32_t> reads_left{0};     // submissions that have not come back
  std::atomic<std::int64_t> reads_since_ns{0};  // of the first of them
  std::atomic<bool> out_of_memory{false};
  std::atomic<Stage> stage{Stage::kQueued};
  std::atomic<std::int64_t> since_ns{0};  // 0: not known
  std::atomic<std::uint64_t> bytes{0};    // counted in bytes_in_flight
  std::uint64_t slab_bytes = 0;
  Status status;
  Batch batch;
  bool done = false;
  bool left = false;  // the consumer's alone, and the destructor's
};

struct Pass {
  std::shared_ptr<PassShared> shared;
  std::shared_ptr<const Order> order;
  std::vector<std::optional<std::uint64_t>> clocks;  // [part] of its cache's reader at position 0; none: it does not know this order
  std::atomic<bool> cancelled{false};
  std::mutex mutex;
  std::condition_variable done;
  bool revisits = true;                   // BuildContext::revisits, of this pass
  std::uint64_t epoch = 0;                // what image plans draw depends on it
  std::shared_ptr<ChunkAhead> ahead;      // null: each batch reads for itself
  std::unique_ptr<TaskGroup> group;       // null: tasks wait in `own` for the consumer
  std::deque<std::function<void()>> own;  // the consumer's alone
  // Whether next() runs tasks rather than sleep: only where they cannot be held up by a device, so that it still answers
  // Ctrl-C and a timeout.
  bool consumer_helps = false;
  bool may_help = false;           // once that is so
  bool has_small_batches = false;  // so small that the consumer builds any that is queued rather than sleep until its own is done

  // What batches under way may take together, with what is read for them. That is an estimate until they are measured, and padded ones, or
  // small samples of which each takes a whole block to be read, may be far larger: those then wait, without a thread and without memory for
  // the batch, until others are done or delivered. The next to be delivered never waits.
  std::uint64_t budget = ~std::uint64_t{0};
  std::uint64_t oldest = 0;                              // step that is delivered next; guarded by mutex
  std::map<std::uint64_t, std::shared_ptr<Job>> parked;  // by step; guarded by mutex

  // Whether the job, measured, may take its memory now (it is counted then); else it is parked.
  bool admit(const std::shared_ptr<Job>& job);
  // The consumer has taken `step`.
  static void delivered(const std::shared_ptr<Pass>& pass, std::uint64_t step);
  // Those parked go on, in turn, as far as the budget goes.
  static void resume(const std::shared_ptr<Pass>& pass);

  void submit(std::uint64_t priority, std::function<void()> task);
  // REQUIRES: group == nullptr and own is not empty.
  void run_own();
};

// The first task of a job: plans it and sees to the rest; the last piece to end finishes it.
void run_job(const std::shared_ptr<Pass>& pass, const std::shared_ptr<Job>& job);

}  // namespace headrace::pipeline
