// The engine behind a loader: plan -> read -> verify -> decode -> assemble -> deliver in order.
//
// A pass cuts positions into batches, keeps some of them under way on ThreadPool::shared(), and hands them over in order.
// What is delivered is a function of (dataset, options, epoch, position) alone: not of threads, prefetch or reader.
//
// Owns:     slabs (free ones), the pass under way. A dropped pass lets its running tasks end by themselves; nothing is joined.
// Memory:   batches under way stay within `prefetch_bytes` (one batch is always allowed), half of it where blocks are decoded:
//           the other half is what the dataset brings to the process's cache of decoded blocks. Of slabs that are free again, as many
//           stay as were in use at most, within the same bound, or 64 MiB.
// Threads:  one consumer at a time calls start/feed/next/replay/stop; stats() from any. Tasks touch their own batch, and the
//           pass's mutex when a batch is done.
// Forking:  every call in a child answers kForked; the destructor there leaks.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "headrace/base/status.h"
#include "headrace/pipeline/batch.h"
#include "headrace/pipeline/dataset.h"
#include "headrace/pipeline/neighbours.h"
#include "headrace/pipeline/online_tuner.h"
#include "headrace/pipeline/order.h"
#include "headrace/pipeline/partition.h"
#include "headrace/pipeline/pass.h"
#include "headrace/pipeline/reader_tuner.h"
#include "headrace/pipeline/timed_batches.h"

namespace headrace::pipeline {

struct PipelineOptions {
  std::vector<std::uint32_t> fields;
  Partition partition;  // batch size, rank, world size, remainder rule
  OrderKind order = OrderKind::kSequential;
  std::shared_ptr<const AliasTable> weights;  // for kWeighted: one a sample
  std::shared_ptr<const Mixture> mixture;     // for kMixed
  std::shared_ptr<const Strata> strata;       // for kStrata: of one class a sample
  std::uint64_t epoch_samples = 0;            // positions of a weighted or mixed epoch; 0: as many as samples
  std::uint32_t window = 32;                  // chunks
  std::uint64_t seed = 0;
  int num_threads = 0;                 // 0: everything runs inside next()
  std::uint32_t prefetch_batches = 0;  // 0: twice the threads, and two
  std::uint64_t prefetch_bytes = 0;    // 0: a tenth of the memory, at most 2 GiB
  Ragged ragged = Ragged::kPadded;
  OnError on_error = OnError::kRaise;
  std::vector<std::pair<std::uint32_t, std::shared_ptr<const ops::ImagePlan>>> images;  // fields that are delivered as these make them
  std::optional<BatchMix> mix;
  std::shared_ptr<const ops::FieldPlan> field_plan;  // what is delivered in place of `fields`; null: these
  std::vector<std::uint32_t> counted;                // outputs of the field plan of which what their rows amount to is delivered
};

struct PipelineStats {
  std::uint64_t batches = 0, samples = 0, bytes = 0, errors = 0;  // delivered since the pipeline was made
  std::uint64_t stall_ns = 0;                                     // inside next(), all passes
  std::uint64_t active_ns = 0;                                    // from start() to the end of each pass (or now)
  std::uint64_t first_batch_ns = 0;                               // from start() to the first batch of the latest pass; 0 before
  std::uint64_t plan_ns = 0, read_ns = 0, verify_ns = 0, decode_ns = 0, assemble_ns = 0, image_ns = 0,
                field_plan_ns = 0;  // summed over threads
  std::uint64_t stored_bytes = 0, decoded_bytes = 0, blocks_read = 0, cache_hits = 0, cache_misses = 0, read_retries = 0;
  std::uint64_t cache_bytes = 0, cache_capacity_bytes = 0, cache_evictions = 0;  // of the process: all loaders share them
  std::uint64_t batches_in_flight = 0, batches_ready = 0, bytes_in_flight = 0, peak_bytes_in_flight = 0;
  std::uint64_t slab_bytes = 0, slabs_made = 0, slabs_reused = 0;
  std::string reader;
  int num_threads = 0;
  std::uint32_t prefetch_batches = 0;
  std::uint64_t prefetch_bytes = 0;
  bool is_tuned = false, is_searching = false;  // tune() was called; it compares settings right now
  std::uint64_t setting_changes = 0;            // by tuning
  std::uint32_t timed_one_in = 1;               // of how many batches one is timed now
};

class Pipeline {
 public:
  // Errors: kInvalidArgument (fields, partition), kLimitExceeded.
  static Result<std::unique_ptr<Pipeline>> create(std::shared_ptr<const Dataset> dataset, PipelineOptions options);
  ~Pipeline();
  Pipeline(const Pipeline&) = delete;
  Pipeline& operator=(const Pipeline&) = delete;

  // Begins a pass at a global position. Errors: kInvalidArgument (position beyond the dataset), kForked.
  Status start(std::uint64_t epoch, std::uint64_t position);
  // Other shares of the same sources, from the next start() or replay() on. Errors: kInvalidArgument (the order is not kMixed, or samples
  // beyond the dataset).
  Status set_mixture(std::shared_ptr<const Mixture> mixture);
  // Begins a pass whose batches are given one by one. `epoch`, here and below, is for what image plans draw.
  Status start_fed(std::uint64_t epoch = 0);
  // Begins a pass over these samples, cut by the partition's batch size (its rank and world size are not for this), at a position in them.
  // Errors: kInvalidArgument (a sample or position beyond the end), kForked.
  Status start_listed(std::vector<std::uint64_t> samples, std::uint64_t position, std::uint64_t epoch = 0);
  // From the next batch on, threads and batches ahead are chosen by OnlineTuner within the bounds, beginning with what the options say;
  // threads also within those of the pool, which then follows the consumer thread's affinity and quota while a pass runs. A minimum of 0
  // threads counts only while all that is read is in memory. Errors: kInvalidArgument (bounds), kForked.
  Status tune(SettingBounds bounds);
  Status feed(std::vector<std::uint64_t> samples);
  Status end_feed();

  enum class Next : std::uint8_t { kBatch, kEnd, kNotYet };
  // Waits at most `wait_ns` for the next batch. An error belongs to that batch: the pass goes on after it.
  Result<Next> next(std::int64_t wait_ns, Batch* batch);
  // Whether next() has a batch, or the error of one, at once; false without threads, which begin it inside next().
  bool is_ready() const;
  // What the next batch is doing, for a message: stage, step, first samples.
  std::string describe_wait() const;

  Result<Batch> replay(std::uint64_t epoch, std::uint64_t step);
  // The batch that begins at a position, where batches before it may have had other sizes.
  Result<Batch> replay_at(std::uint64_t epoch, std::uint64_t position);
  void stop();
  PipelineStats stats() const;
  const WaitCounts& waits() const { return shared_->counters.waits; }
  const PipelineOptions& options() const { return options_; }
  // Batches that are kept under way now.
  std::uint32_t ahead() const { return ahead_.load(std::memory_order_relaxed); }

 private:
  Pipeline(std::shared_ptr<const Dataset> dataset, PipelineOptions options, std::uint64_t sample_bytes);
  void foretell(const std::shared_ptr<const Order>& next, std::uint64_t epoch, std::uint64_t position, const Partition& partition);
  Status begin_pass();
  static Status check_strata(const Dataset& dataset, const PipelineOptions& options);
  static Status check_mixture(const Dataset& dataset, const PipelineOptions& options);
  Status check_samples(std::span<const std::uint64_t> samples) const;
  Status check_usable() const;
  std::uint64_t epoch_size() const;  // positions
  std::shared_ptr<const Order> make_order(std::uint64_t epoch) const;
  void read_ahead();
  bool launch_one();
  void launch();
  void launch_ahead();
  std::shared_ptr<Job> plan_next();
  std::string first_samples(const Job& job) const;
  void end_pass();
  SettingBounds usable_bounds() const;
  void put_in_force(Setting setting);
  void let_help();
  void begin_with_share(std::int64_t now);
  void begin_tuned_pass();
  bool wait_for(Job& job, std::int64_t wait_ns, io::StageTime& wait);
  void count_wait(const Job& job, std::int64_t now);
  void begin_comparing();
  bool suits_mapping() const;
  std::uint64_t most_jobs() const;
  void steer_reader(std::int64_t now, const Seen& seen);
  void leave_reader();
  void steer(std::int64_t now, const Seen& seen);

  std::uint64_t generation_;
  PipelineOptions options_;
  std::uint64_t batch_budget_ = 0, ahead_budget_ = 0, read_share_ = 1;
  std::uint64_t estimated_sample_bytes_ = 0;
  std::shared_ptr<PassShared> shared_;  // with tasks, which may outlive the pipeline
  std::shared_ptr<Pass> pass_;
  // Of the pass under way; the consumer's alone.
  std::deque<std::shared_ptr<Job>> jobs_;
  std::deque<std::vector<std::uint64_t>> fed_;
  bool is_fed_ = false, feed_ended_ = false;
  std::uint64_t next_step_ = 0, next_position_ = 0, pass_samples_ = 0;
  std::int64_t pass_start_ns_ = 0;
  bool first_delivered_ = false;
  std::uint64_t quick_wait_ns_ = 0, slow_wait_ns_ = 0;  // for the next batch, so far
  TimedBatches timed_;
  std::atomic<bool> is_sampled_{false};  // as stats() says
  Seen seen_;                            // since the clock was read
  std::uint64_t usual_wait_ns_ = 0;      // for a batch, but for what is slow: the latest that was timed
  // What is in force: as the options say, unless tuned. Written by the consumer, read by stats() from any thread.
  std::atomic<int> threads_{0};
  std::atomic<std::uint32_t> ahead_{1};
  std::atomic<bool> is_tuned_{false}, is_searching_{false};
  std::atomic<std::uint64_t> setting_changes_{0};
  // The consumer's alone.
  std::optional<LoaderSeat> seat_;  // of a tuned one; outlives its tuner
  std::optional<OnlineTuner> tuner_;
  int most_loaders_ = 0, times_crowded_ = 0;  // automatic ones at once, so far; looks in a row that found more
  SettingBounds asked_bounds_;
  std::int64_t looked_ns_ = 0;               // at the machine
  std::optional<ReaderTuner> reader_tuner_;  // while the files do not fit into memory and this loader is who compares
  std::int64_t looked_at_memory_ns_ = 0;
};

}  // namespace headrace::pipeline
