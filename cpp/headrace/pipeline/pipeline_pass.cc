// The part of Pipeline that runs a pass: begins it, launches its jobs, hands their batches over.
#include <algorithm>
#include <chrono>
#include <mutex>
#include <new>
#include <utility>

#include "headrace/base/clock.h"
#include "headrace/pipeline/pipeline.h"

namespace headrace::pipeline {
namespace {

// Batches that cost about as much as waking a thread.
constexpr std::uint64_t kSmallBatchBytes = 512u << 10;
constexpr std::uint64_t kHelpCheck = 64;  // steps

}  // namespace

Status Pipeline::begin_pass() {
  HR_RETURN_IF_ERROR(check_usable());
  end_pass();
  auto pass = std::make_shared<Pass>();
  pass->shared = shared_;
  pass->budget = batch_budget_ + (read_share_ > 1 ? ahead_budget_ : 0);  // read_ahead() takes its share, if it has use for it.
  if (options_.num_threads > 0) {
    pass->group = std::make_unique<TaskGroup>(ThreadPool::shared(), threads_.load());
    if (threads_ == 0) pass->group->set_max_concurrency(0);
    pass->has_small_batches = estimated_sample_bytes_ * options_.partition.batch_size <= kSmallBatchBytes;
  }
  pass_ = std::move(pass);
  let_help();
  if (tuner_.has_value()) begin_tuned_pass();
  pass_start_ns_ = now_ns();
  shared_->active_since.store(pass_start_ns_);
  if (reader_tuner_.has_value()) reader_tuner_->begin_pass(pass_start_ns_);
  shared_->first_batch_ns.store(0);
  first_delivered_ = false;
  quick_wait_ns_ = slow_wait_ns_ = 0;
  seen_ = {};
  timed_.begin_pass();
  feed_ended_ = false;
  next_step_ = 0;
  fed_.clear();
  return Status::ok();
}

Status Pipeline::start(std::uint64_t epoch, std::uint64_t position) {
  if (position > epoch_size()) {
    return {Code::kInvalidArgument, strf("position is %llu; an epoch has %llu samples", static_cast<unsigned long long>(position),
                                         static_cast<unsigned long long>(epoch_size()))};
  }
  std::shared_ptr<const Order> order = make_order(epoch);
  HR_RETURN_IF_ERROR(begin_pass());
  is_fed_ = false;
  pass_->revisits = options_.order != OrderKind::kGlobal;
  pass_->order = std::move(order);
  pass_->epoch = epoch;
  read_ahead();
  begin_comparing();
  foretell(make_order(epoch + 1), epoch, position, options_.partition);
  pass_samples_ = epoch_size();
  // Epochs follow each other, so what this rank leaves out now it reads soon. A part of the fields may be a small part of the bytes.
  const Dataset& dataset = *shared_->context.dataset;
  if (options_.fields.size() * 2 >= dataset.stored_schema().fields.size()) dataset.expect_whole();
  next_position_ = position;
  next_step_ = position / options_.partition.global_batch();
  pass_->oldest = next_step_;
  launch_ahead();
  return Status::ok();
}

// Whole chunks are read before the batches that need them where threads do it and this rank wants about all of them.
void Pipeline::read_ahead() {
  const Partition& p = options_.partition;
  if (pass_->group == nullptr || !shared_->context.dataset->parts().empty() ||
      (p.world_size > 1 && p.world_size * estimated_sample_bytes_ > kSharedBlockBytes))
    return;
  const std::uint64_t window = options_.order == OrderKind::kWindow ? options_.window : 1;
  pass_->ahead = ChunkAhead::make(shared_->context.dataset, options_.fields, pass_->order, window, &shared_->slabs,
                                  std::shared_ptr<io::Counters>(shared_, &shared_->counters.io), ahead_budget_);
  if (pass_->ahead != nullptr) pass_->budget = batch_budget_;
}

// Tells the cache what this pass reads when; `next` (may be null) follows it.
void Pipeline::foretell(const std::shared_ptr<const Order>& next, std::uint64_t epoch, std::uint64_t position, const Partition& partition) {
  pass_->clocks.resize(shared_->parts.size());
  for (std::size_t i = 0; i < shared_->parts.size(); ++i) {
    CacheSubscription* const subscription = shared_->parts[i].subscription.get();
    if (subscription != nullptr) pass_->clocks[i] = subscription->reader().begin({pass_->order, next, partition, epoch, position});
  }
}

Status Pipeline::check_samples(std::span<const std::uint64_t> samples) const {
  const std::uint64_t size = shared_->context.dataset->num_samples();
  for (const std::uint64_t sample : samples) {
    if (sample >= size)
      return {Code::kInvalidArgument, strf("index %lld is outside the dataset's %llu samples", static_cast<long long>(sample),
                                           static_cast<unsigned long long>(size))};
  }
  return Status::ok();
}

Status Pipeline::start_listed(std::vector<std::uint64_t> samples, std::uint64_t position, std::uint64_t epoch) {
  HR_RETURN_IF_ERROR(check_samples(samples));
  if (position > samples.size()) {
    return {Code::kInvalidArgument,
            strf("position is %llu; %zu samples are listed", static_cast<unsigned long long>(position), samples.size())};
  }
  const std::uint64_t count = samples.size();
  std::shared_ptr<const Order> order = std::make_shared<const Order>(std::move(samples));
  HR_RETURN_IF_ERROR(begin_pass());
  is_fed_ = false;
  pass_samples_ = count;
  pass_->epoch = epoch;
  pass_->order = std::move(order);
  foretell(nullptr, 0, position, {options_.partition.batch_size, 0, 1, options_.partition.drop_last});
  next_position_ = position;
  next_step_ = position / options_.partition.batch_size;
  pass_->oldest = next_step_;
  launch_ahead();
  return Status::ok();
}

Status Pipeline::start_fed(std::uint64_t epoch) {
  HR_RETURN_IF_ERROR(begin_pass());
  pass_->epoch = epoch;
  is_fed_ = true;
  for (const PartPlan& part : shared_->parts) {
    if (part.subscription != nullptr) part.subscription->reader().begin_unknown();
  }
  next_position_ = 0;
  return Status::ok();
}

Status Pipeline::feed(std::vector<std::uint64_t> samples) {
  HR_RETURN_IF_ERROR(check_usable());
  if (pass_ == nullptr || !is_fed_ || feed_ended_) return {Code::kInvalidArgument, "feed() needs start_fed() before it and no end_feed()"};
  HR_RETURN_IF_ERROR(check_samples(samples));
  fed_.push_back(std::move(samples));
  launch_ahead();
  return Status::ok();
}

Status Pipeline::end_feed() {
  feed_ended_ = true;
  return check_usable();
}

std::shared_ptr<Job> Pipeline::plan_next() {
  auto job = std::make_shared<Job>(shared_);
  job->step = next_step_++;
  job->weight = timed_.next_weight();
  job->position_before = next_position_;
  if (is_fed_) {
    job->samples = std::move(fed_.front());
    job->planned = true;
    job->share.count = job->share.valid = job->samples.size();
    next_position_ += job->samples.size();
  } else {
    job->share = options_.partition.share(pass_samples_, next_position_);
    next_position_ = std::min(pass_samples_, next_position_ + options_.partition.global_batch());
  }
  job->position_after = next_position_;
  return job;
}

bool Pipeline::launch_one() {
  const bool more = is_fed_ ? !fed_.empty() : options_.partition.num_batches(pass_samples_, next_position_) > 0;
  if (!more || jobs_.size() >= most_jobs()) return false;
  const std::uint64_t estimate = (pass_->ahead == nullptr ? read_share_ : 1) * estimated_sample_bytes_ *
                                 (is_fed_ ? fed_.front().size() : options_.partition.batch_size);
  if (!jobs_.empty() && shared_->bytes_in_flight.load() + estimate > pass_->budget) return false;
  const std::uint64_t position = next_position_, step = next_step_;
  jobs_.emplace_back();
  std::shared_ptr<Job>& job = jobs_.back();
  try {
    job = plan_next();
    job->count_bytes(estimate);
    job->enter(Stage::kQueued, 0);
    if (pass_->ahead != nullptr) pass_->ahead->expect(job->step, job->share.begin, job->share.count);
    pass_->submit(job->step, [pass = pass_, job] { run_job(pass, job); });
  } catch (...) {  // Out of memory: as if this call had not been, so that no batch is left out, or waited for in vain.
    if (is_fed_ && job != nullptr) fed_.front() = std::move(job->samples);
    next_position_ = position;
    next_step_ = step;
    jobs_.pop_back();
    throw;
  }
  if (is_fed_) fed_.pop_front();
  return true;
}

// Where there is no memory for more, next() meets that again.
void Pipeline::launch_ahead() {
  try {
    launch();
  } catch (const std::bad_alloc&) {
  }
}

// Several at a time: waking a sleeping thread costs more than a small batch.
void Pipeline::launch() {
  if (jobs_.size() > ahead() / 2) return;
  try {
    while (launch_one()) {
    }
  } catch (const std::bad_alloc&) {
    if (jobs_.empty()) throw;  // Else there is a batch to wait for, and the rest may find memory later.
  }
}

bool Pipeline::is_ready() const {
  if (!check_usable().is_ok() || pass_ == nullptr || pass_->group == nullptr || jobs_.empty()) return false;
  std::lock_guard lock(pass_->mutex);
  return jobs_.front()->done;
}

// What waits on the calling thread, or on others, for the batch that comes next. Returns whether it is there.
bool Pipeline::wait_for(Job& job, std::int64_t wait_ns, io::StageTime& wait) {
  if (pass_->group == nullptr) {
    std::int64_t begin = wait.since();
    while (!job.done && wait_ns > 0) {
      pass_->run_own();
      if (job.done) break;
      const std::int64_t now = now_ns();
      if (begin == 0) begin = now;
      io::StageTime::slow(now);  // Of a batch that is not one task, all but the first are timed.
      if (now - begin >= wait_ns) break;
    }
    return job.done;
  }
  const auto is_done = [&] {
    std::lock_guard lock(pass_->mutex);
    return job.done;
  };
  // All that a pass reads may come into memory while it runs.
  if (pass_->may_help && !pass_->consumer_helps && job.step % kHelpCheck == 0)
    pass_->consumer_helps = shared_->context.dataset->in_memory(options_.fields);
  const std::uint64_t last = pass_->has_small_batches ? ~std::uint64_t{0} : job.step;
  bool done = is_done();
  while (!done && pass_->consumer_helps && pass_->group->run_one(last)) done = is_done();
  if (done) return true;
  if (threads_ == 0) put_in_force({1, ahead()});  // It waits for what no thread of the pool would do.
  io::StageTime::slow(now_ns());
  std::unique_lock lock(pass_->mutex);
  return pass_->done.wait_for(lock, std::chrono::nanoseconds(wait_ns), [&] { return job.done; });
}

Result<Pipeline::Next> Pipeline::next(std::int64_t wait_ns, Batch* batch) {
  HR_RETURN_IF_ERROR(check_usable());
  if (pass_ == nullptr) return Next::kEnd;
  launch();
  if (jobs_.empty()) {
    if (is_fed_ && !feed_ended_) return Status(Code::kInvalidArgument, "next() before feed(): no batch was given");
    end_pass();
    return Next::kEnd;
  }
  const std::shared_ptr<Job> job = jobs_.front();
  std::int64_t end = 0;
  bool done = false;
  {
    // The first batch's is no usual wait, nor is one that goes on.
    const bool is_slow = !first_delivered_ || slow_wait_ns_ > 0;
    io::StageTime wait(shared_->counters.stall_ns, is_slow ? 1 : job->weight);
    if (is_slow) io::StageTime::slow(wait.since());
    done = wait_for(*job, wait_ns, wait);
    end = wait.stop();
    quick_wait_ns_ += wait.quick_ns();
    slow_wait_ns_ += wait.slow_ns();
  }
  if (!done) return Next::kNotYet;
  jobs_.pop_front();
  const std::uint64_t bytes = job->bytes.load();
  job->leave();
  Pass::delivered(pass_, job->step);
  count_wait(*job, end);
  if (!job->status.is_ok()) return job->status.with_context(strf("step %llu", static_cast<unsigned long long>(job->step)));
  *batch = std::move(job->batch);
  add_alone(shared_->counters.batches, 1);
  add_alone(shared_->counters.samples, batch->indices.size());
  add_alone(shared_->counters.bytes, bytes);
  if (!first_delivered_) shared_->first_batch_ns.store(static_cast<std::uint64_t>(end - pass_start_ns_));
  first_delivered_ = true;
  launch_ahead();
  return Next::kBatch;
}

// `now`: when the wait for it ended; 0 if nobody looked.
void Pipeline::count_wait(const Job& job, std::int64_t now) {
  const std::uint64_t quick = std::exchange(quick_wait_ns_, 0), slow = std::exchange(slow_wait_ns_, 0);
  ++seen_.batches;
  seen_.samples += job.batch.indices.size();
  seen_.waited_ns += slow;
  if (now == 0) return;
  shared_->counters.waits.add(quick + slow, slow > 0 ? 1 : job.weight);
  if (quick > 0) usual_wait_ns_ = quick;
  Seen seen = std::exchange(seen_, {});
  if (first_delivered_) seen.waited_ns += usual_wait_ns_ * seen.batches;  // Of the first batch of a pass nothing is quick.
  seen.ready = shared_->batches_ready.load(std::memory_order_relaxed);
  timed_.deliver(now, static_cast<std::int64_t>(seen.batches));
  is_sampled_.store(timed_.is_quick(), std::memory_order_relaxed);
  if (tuner_.has_value()) steer(now, seen);
  steer_reader(now, seen);
}

// Computed anew where a task may be filling them in.
std::string Pipeline::first_samples(const Job& job) const {
  constexpr std::uint64_t kNamed = 4;
  std::vector<std::uint64_t> first(std::min(kNamed, job.share.count));
  if (is_fed_) {
    std::copy_n(job.samples.begin(), first.size(), first.begin());
  } else {
    fill_share(*pass_->order, job.share, first);
  }
  std::string text = "samples";
  for (const std::uint64_t sample : first) text += strf(" %llu", static_cast<unsigned long long>(sample));
  if (job.share.count > first.size()) text += strf(" and %llu more", static_cast<unsigned long long>(job.share.count - first.size()));
  return text;
}

std::string Pipeline::describe_wait() const {
  if (jobs_.empty()) return "nothing is under way";
  const Job& job = *jobs_.front();
  const std::int64_t since = job.since_ns.load();  // Else it is as long as it is waited for.
  const std::uint64_t waited = quick_wait_ns_ + slow_wait_ns_;
  const double seconds = static_cast<double>(since == 0 ? waited : static_cast<std::uint64_t>(now_ns() - since)) * 1e-9;
  std::string text = strf("step %llu (%s) is %s for %.1f s", static_cast<unsigned long long>(job.step), first_samples(job).c_str(),
                          stage_name(job.stage.load()), seconds);
  if (const std::uint32_t reads = job.reads_left.load(); reads > 0)
    text += strf(", %s not come back", reads == 1 ? "a read has" : strf("%u reads have", reads).c_str());
  return text +
         strf("; %zu batches are under way on %d threads of %s", jobs_.size(), threads_.load(), shared_->context.dataset->path().c_str());
}

void Pipeline::end_pass() {
  if (pass_ == nullptr) return;
  pass_->cancelled.store(true);
  if (pass_->group != nullptr) pass_->group->cancel();
  pass_->own.clear();  // Its tasks share the pass: without this it would keep itself alive.
  jobs_.clear();
  fed_.clear();
  pass_.reset();
  shared_->active_ns.fetch_add(static_cast<std::uint64_t>(now_ns() - shared_->active_since.exchange(0)));
}

void Pipeline::stop() {
  if (check_usable().is_ok()) end_pass();
}

}  // namespace headrace::pipeline
