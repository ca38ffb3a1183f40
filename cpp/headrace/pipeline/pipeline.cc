#include "headrace/pipeline/pipeline.h"

#include <algorithm>
#include <chrono>
#include <mutex>
#include <new>
#include <utility>

#include "headrace/base/clock.h"
#include "headrace/base/cpu.h"
#include "headrace/base/fork.h"
#include "headrace/base/placement.h"

namespace headrace::pipeline {
namespace {

constexpr std::uint64_t kMaxPrefetchBytes = 2ull << 30;
constexpr std::size_t kKeptSlabBytes = 64u << 20;  // free slabs kept beyond what is under way
// Batches that cost about as much as waking a thread.
constexpr std::uint64_t kSmallBatchBytes = 512u << 10;
constexpr std::uint64_t kHelpCheck = 64;  // steps
constexpr std::uint64_t kMostReadBatches = 64;
constexpr std::uint64_t kReadsUnderWayBytes = 16u << 20;
constexpr std::uint64_t kSharedBlockBytes = 16u << 10;  // a block of raw values: read whole, whoever wants a part of it

// Twice the threads, and two; more by position, since what is planned is what the device has to do.
std::uint32_t batches_ahead(const Dataset& dataset, const PipelineOptions& options, std::uint64_t sample_bytes) {
  if (options.num_threads == 0) return 1;
  const std::uint64_t usual = 2 * static_cast<std::uint64_t>(options.num_threads) + 2;
  if (dataset.table() != nullptr || dataset.reader_name() == std::string("mmap")) return static_cast<std::uint32_t>(usual);
  const std::uint64_t batch_bytes = std::max<std::uint64_t>(1, sample_bytes * options.partition.batch_size);
  return static_cast<std::uint32_t>(std::max(usual, std::min(kMostReadBatches, kReadsUnderWayBytes / batch_bytes)));
}

}  // namespace

Result<std::unique_ptr<Pipeline>> Pipeline::create(std::shared_ptr<const Dataset> dataset, PipelineOptions options) {
  const Partition& p = options.partition;
  if (p.batch_size < 1 || p.batch_size > 0xFFFFFFFFull) {
    return Status(Code::kInvalidArgument,
                  strf("batch_size is %llu; expected 1 to 2^32 - 1", static_cast<unsigned long long>(p.batch_size)));
  }
  if (p.world_size < 1 || p.rank >= p.world_size) {
    return Status(Code::kInvalidArgument, strf("rank is %llu; expected it in [0, world_size = %llu)",
                                               static_cast<unsigned long long>(p.rank), static_cast<unsigned long long>(p.world_size)));
  }
  if (options.order == OrderKind::kWeighted) {
    const std::size_t weights = options.weights == nullptr ? 0 : options.weights->size();
    if (weights != dataset->num_samples()) {
      return Status(Code::kInvalidArgument, strf("%zu weights for %llu samples; expected one for each", weights,
                                                 static_cast<unsigned long long>(dataset->num_samples())));
    }
    if (options.epoch_samples > 1ull << 48) return Status(Code::kInvalidArgument, "epoch_samples is beyond 2^48");
  }
  HR_RETURN_IF_ERROR(check_mixture(*dataset, options));
  HR_RETURN_IF_ERROR(check_strata(*dataset, options));
  if (options.window < 1) return Status(Code::kInvalidArgument, "window is 0; expected at least 1 chunk");
  HR_RETURN_IF_ERROR(dataset->check_fields(options.fields));
  for (const auto& [field, plan] : options.images) HR_RETURN_IF_ERROR(check_image(*dataset, options.fields, field));
  if (options.mix.has_value()) HR_RETURN_IF_ERROR(check_mix(*dataset, options.fields, options.images, *options.mix));
  if (options.field_plan != nullptr) HR_RETURN_IF_ERROR(check_field_plan(dataset->schema(), options.fields, *options.field_plan));
  if (options.prefetch_bytes == 0) options.prefetch_bytes = std::min(kMaxPrefetchBytes, available_memory_bytes() / 10);
  options.num_threads = std::clamp(options.num_threads, 0, 1024);
  ThreadPool::shared().follow_machine();
  HR_ASSIGN_OR_RETURN(std::uint64_t sample_bytes, dataset->average_sample_bytes(options.fields));
  for (const auto& [field, plan] : options.images) sample_bytes += plan->bytes();
  if (options.mix.has_value()) sample_bytes += std::uint64_t{options.mix->mix->classes()} * 4;
  if (options.field_plan != nullptr) sample_bytes += options.field_plan->row_bytes();
  if (options.prefetch_batches == 0) options.prefetch_batches = batches_ahead(*dataset, options, sample_bytes);
  return std::unique_ptr<Pipeline>(new Pipeline(std::move(dataset), std::move(options), sample_bytes));
}

Pipeline::Pipeline(std::shared_ptr<const Dataset> dataset, PipelineOptions options, std::uint64_t sample_bytes)
    : generation_(fork_generation()), options_(std::move(options)), estimated_sample_bytes_(sample_bytes) {
  const bool positional = dataset->table() == nullptr && dataset->reader_name() != std::string("mmap");
  bool decodes = positional;
  for (const std::uint32_t f : options_.fields) {
    const format::Field& field = dataset->schema().fields[f];
    decodes = decodes || field.is_variable() || field.codec != codec::Codec::kNone;
  }
  // By position: a half for batches and what they read, a quarter each for chunks read ahead and for decoded blocks.
  ahead_budget_ = options_.prefetch_bytes / 4;
  read_share_ = positional ? 2 : 1;
  batch_budget_ = decodes ? options_.prefetch_bytes / 2 : options_.prefetch_bytes;
  shared_ = std::make_shared<PassShared>(std::min<std::size_t>(kKeptSlabBytes * read_share_, batch_budget_), batch_budget_);
  shared_->context.schema = std::shared_ptr<const format::Schema>(dataset, &dataset->schema());
  shared_->context.dataset = std::move(dataset);
  shared_->context.fields = options_.fields;
  shared_->context.ragged = options_.ragged;
  shared_->context.most_bytes = std::max(options_.prefetch_bytes, available_memory_bytes() / 2);
  shared_->context.slabs = &shared_->slabs;
  shared_->context.counters = &shared_->counters;
  set_plans(options_.fields, options_.images, shared_->context);
  set_mix(options_.mix, shared_->context);
  set_field_plan(options_.field_plan, shared_->context);
  shared_->context.seed = options_.seed;
  threads_ = options_.num_threads;
  ahead_ = options_.prefetch_batches;
  shared_->on_error = options_.on_error;
  shared_->seed = options_.seed;
  if (options_.order == OrderKind::kWeighted) shared_->weights = options_.weights;
  if (!decodes || shared_->context.dataset->table() != nullptr) return;
  Runtime& runtime = shared_->context.dataset->runtime();
  runtime.cache().reserve(runtime.cache_owner(), positional ? options_.prefetch_bytes / 4 : options_.prefetch_bytes / 2);
  shared_->subscription = std::make_unique<CacheSubscription>(
      std::make_shared<OrderReader>(shared_->context.dataset, sample_bytes, options_.prefetch_batches), runtime);
}

// Tells the cache what this pass reads when; `next` (may be null) follows it.
void Pipeline::foretell(std::shared_ptr<const Order> next, std::uint64_t epoch, std::uint64_t position, const Partition& partition) {
  if (shared_->subscription == nullptr) return;
  pass_->clock = shared_->subscription->reader().begin({pass_->order, std::move(next), partition, epoch, position});
}

Pipeline::~Pipeline() {
  if (generation_ == fork_generation()) {
    end_pass();
  } else {
    // In a forked child: locks of these may be held for ever by threads that are not here. Leaked on purpose.
    new std::shared_ptr<PassShared>(std::move(shared_));
    new std::shared_ptr<Pass>(std::move(pass_));
    new std::deque<std::shared_ptr<Job>>(std::move(jobs_));
  }
}

Status Pipeline::check_usable() const {
  if (generation_ == fork_generation()) return Status::ok();
  return {Code::kForked,
          "this loader's iterator was made before fork() and its threads are not in the child; start a new iterator (or open the dataset) "
          "in the child"};
}

std::uint64_t Pipeline::epoch_size() const {
  if (options_.order == OrderKind::kStrata) return options_.strata->size();
  const bool drawn = options_.order == OrderKind::kWeighted || options_.order == OrderKind::kMixed;
  return drawn && options_.epoch_samples > 0 ? options_.epoch_samples : shared_->context.dataset->num_samples();
}

Status Pipeline::check_strata(const Dataset& dataset, const PipelineOptions& options) {
  if ((options.order == OrderKind::kStrata) != (options.strata != nullptr))
    return {Code::kInvalidArgument, "classes of samples go with the order 'strata'"};
  if (options.strata == nullptr || options.strata->num_samples() == dataset.num_samples()) return Status::ok();
  return {Code::kInvalidArgument,
          strf("%llu labels for %llu samples; expected one for each", static_cast<unsigned long long>(options.strata->num_samples()),
               static_cast<unsigned long long>(dataset.num_samples()))};
}

Status Pipeline::check_mixture(const Dataset& dataset, const PipelineOptions& options) {
  if ((options.order == OrderKind::kMixed) != (options.mixture != nullptr))
    return {Code::kInvalidArgument, "a mixture goes with the order 'mixed'"};
  if (options.mixture == nullptr) return Status::ok();
  if (options.mixture->end() > dataset.num_samples()) {
    return {Code::kInvalidArgument,
            strf("a mixture of samples up to %llu needs more than the dataset's %llu",
                 static_cast<unsigned long long>(options.mixture->end()), static_cast<unsigned long long>(dataset.num_samples()))};
  }
  if (options.epoch_samples > 1ull << 48) return {Code::kInvalidArgument, "epoch_samples is beyond 2^48"};
  return Status::ok();
}

Status Pipeline::set_mixture(std::shared_ptr<const Mixture> mixture) {
  PipelineOptions changed;
  changed.order = options_.order;
  changed.mixture = std::move(mixture);
  HR_RETURN_IF_ERROR(check_mixture(*shared_->context.dataset, changed));
  options_.mixture = std::move(changed.mixture);
  return Status::ok();
}

std::shared_ptr<const Order> Pipeline::make_order(std::uint64_t epoch) const {
  if (options_.order == OrderKind::kMixed) return std::make_shared<const Order>(options_.mixture, epoch_size(), options_.seed, epoch);
  if (options_.order == OrderKind::kStrata) return std::make_shared<const Order>(options_.strata, options_.seed, epoch);
  return std::make_shared<const Order>(options_.order, epoch_size(), options_.seed, epoch, options_.window,
                                       shared_->context.dataset->layout(), options_.weights);
}

Status Pipeline::begin_pass() {
  HR_RETURN_IF_ERROR(check_usable());
  end_pass();
  auto pass = std::make_shared<Pass>();
  pass->shared = shared_;
  pass->budget = batch_budget_;
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
  shared_->first_batch_ns.store(0);
  first_delivered_ = false;
  waited_ns_ = 0;
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
  if (pass_->group == nullptr || (p.world_size > 1 && p.world_size * estimated_sample_bytes_ > kSharedBlockBytes)) return;
  const std::uint64_t window = options_.order == OrderKind::kWindow ? options_.window : 1;
  pass_->ahead = ChunkAhead::make(shared_->context.dataset, options_.fields, pass_->order, window, &shared_->slabs,
                                  std::shared_ptr<io::Counters>(shared_, &shared_->counters.io), ahead_budget_);
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
  if (shared_->subscription != nullptr) shared_->subscription->reader().begin_unknown();
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
  if (!more || jobs_.size() >= ahead()) return false;
  const std::uint64_t estimate = (pass_->ahead == nullptr ? read_share_ : 1) * estimated_sample_bytes_ *
                                 (is_fed_ ? fed_.front().size() : options_.partition.batch_size);
  if (!jobs_.empty() && shared_->bytes_in_flight.load() + estimate > batch_budget_) return false;
  const std::uint64_t position = next_position_, step = next_step_;
  jobs_.emplace_back();
  std::shared_ptr<Job>& job = jobs_.back();
  try {
    job = plan_next();
    job->count_bytes(estimate);
    job->enter(Stage::kQueued, now_ns());
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

Result<Pipeline::Next> Pipeline::next(std::int64_t wait_ns, Batch* batch) {
  HR_RETURN_IF_ERROR(check_usable());
  if (pass_ == nullptr) return Next::kEnd;
  const std::int64_t begin = now_ns();
  launch();
  if (jobs_.empty()) {
    if (is_fed_ && !feed_ended_) return Status(Code::kInvalidArgument, "next() before feed(): no batch was given");
    end_pass();
    return Next::kEnd;
  }
  const std::shared_ptr<Job> job = jobs_.front();
  if (pass_->group == nullptr) {
    for (std::int64_t now = begin; !job->done && now - begin < wait_ns; now = job->done ? now : now_ns()) pass_->run_own();
  } else {
    const auto waits = [&] {
      std::lock_guard lock(pass_->mutex);
      return !job->done;
    };
    // All that a pass reads may come into memory while it runs.
    if (pass_->may_help && !pass_->consumer_helps && job->step % kHelpCheck == 0)
      pass_->consumer_helps = shared_->context.dataset->in_memory(options_.fields);
    const std::uint64_t last = pass_->has_small_batches ? ~std::uint64_t{0} : job->step;
    while (pass_->consumer_helps && waits() && pass_->group->run_one(last)) {
    }
    if (threads_ == 0 && waits()) put_in_force({1, ahead()});  // It waits for what no thread of the pool would do.
    std::unique_lock lock(pass_->mutex);
    pass_->done.wait_for(lock, std::chrono::nanoseconds(wait_ns), [&] { return job->done; });
  }
  bool done = false;
  {
    std::lock_guard lock(pass_->mutex);
    done = job->done;
  }
  const std::int64_t end = now_ns();
  shared_->counters.stall_ns.fetch_add(static_cast<std::uint64_t>(end - begin));
  waited_ns_ += static_cast<std::uint64_t>(end - begin);
  if (!done) return Next::kNotYet;
  const std::uint64_t waited = std::exchange(waited_ns_, 0);
  shared_->counters.waits.add(waited);
  jobs_.pop_front();
  const std::uint64_t bytes = job->bytes.load();
  job->leave();
  Pass::delivered(pass_, job->step);
  if (tuner_.has_value()) steer(end, waited, job->batch.indices.size());
  if (!job->status.is_ok()) return job->status.with_context(strf("step %llu", static_cast<unsigned long long>(job->step)));
  *batch = std::move(job->batch);
  shared_->counters.batches.fetch_add(1);
  shared_->counters.samples.fetch_add(batch->indices.size());
  shared_->counters.bytes.fetch_add(bytes);
  if (!first_delivered_) shared_->first_batch_ns.store(static_cast<std::uint64_t>(end - pass_start_ns_));
  first_delivered_ = true;
  launch_ahead();
  return Next::kBatch;
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
  const double seconds = static_cast<double>(now_ns() - job.since_ns.load()) * 1e-9;
  std::string text = strf("step %llu (%s) is %s for %.1f s", static_cast<unsigned long long>(job.step), first_samples(job).c_str(),
                          stage_name(job.stage.load()), seconds);
  if (const std::uint32_t reads = job.reads_left.load(); reads > 0)
    text += strf(", %s not come back", reads == 1 ? "a read has" : strf("%u reads have", reads).c_str());
  return text +
         strf("; %zu batches are under way on %d threads of %s", jobs_.size(), threads_.load(), shared_->context.dataset->path().c_str());
}

Result<Batch> Pipeline::replay(std::uint64_t epoch, std::uint64_t step) {
  HR_RETURN_IF_ERROR(check_usable());
  const std::uint64_t batches = options_.partition.num_batches(epoch_size(), 0);
  if (step >= batches) {
    return Status(Code::kInvalidArgument, strf("step is %llu; an epoch has %llu steps", static_cast<unsigned long long>(step),
                                               static_cast<unsigned long long>(batches)));
  }
  return replay_at(epoch, step * options_.partition.global_batch());
}

Result<Batch> Pipeline::replay_at(std::uint64_t epoch, std::uint64_t position) {
  HR_RETURN_IF_ERROR(check_usable());
  if (options_.partition.num_batches(epoch_size(), position) == 0) {
    return Status(Code::kInvalidArgument, strf("no batch begins at position %llu of an epoch of %llu samples",
                                               static_cast<unsigned long long>(position), static_cast<unsigned long long>(epoch_size())));
  }
  auto pass = std::make_shared<Pass>();
  pass->shared = shared_;
  pass->order = make_order(epoch);
  pass->epoch = epoch;
  auto job = std::make_shared<Job>(shared_);
  job->step = position / options_.partition.global_batch();
  job->share = options_.partition.share(epoch_size(), position);
  job->position_after = std::min(epoch_size(), position + options_.partition.global_batch());
  pass->submit(0, [pass, job] { run_job(pass, job); });
  while (!pass->own.empty()) pass->run_own();
  if (!job->status.is_ok()) return job->status.with_context(strf("step %llu", static_cast<unsigned long long>(job->step)));
  return std::move(job->batch);
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

PipelineStats Pipeline::stats() const {
  const PassShared& s = *shared_;
  PipelineStats out;
  out.batches = s.counters.batches;
  out.samples = s.counters.samples;
  out.bytes = s.counters.bytes;
  out.errors = s.counters.errors;
  out.stall_ns = s.counters.stall_ns;
  out.active_ns = s.active_ns;
  if (const std::int64_t since = s.active_since.load(); since != 0) out.active_ns += static_cast<std::uint64_t>(now_ns() - since);
  out.first_batch_ns = s.first_batch_ns;
  out.plan_ns = s.counters.plan_ns;
  out.read_ns = s.counters.io.read_ns;
  out.verify_ns = s.counters.io.verify_ns;
  out.decode_ns = s.counters.io.decode_ns;
  out.assemble_ns = s.counters.assemble_ns;
  out.image_ns = s.counters.image_ns;
  out.field_plan_ns = s.counters.field_plan_ns;
  out.stored_bytes = s.counters.io.stored_bytes;
  out.decoded_bytes = s.counters.io.decoded_bytes;
  out.blocks_read = s.counters.io.blocks_read;
  out.cache_hits = s.counters.io.cache_hits;
  out.read_retries = s.counters.io.read_retries;
  out.cache_misses = s.counters.io.cache_misses;
  out.batches_in_flight = s.batches_in_flight;
  out.batches_ready = s.batches_ready;
  out.bytes_in_flight = s.bytes_in_flight;
  out.peak_bytes_in_flight = s.peak_bytes_in_flight;
  if (generation_ == fork_generation()) {  // These take locks.
    const storage::SlabPool::Counters slabs = s.slabs.counters();
    out.slab_bytes = slabs.bytes;
    out.slabs_made = slabs.made;
    out.slabs_reused = slabs.reused;
    const io::BlockCache& cache = io::BlockCache::shared();
    out.cache_bytes = cache.bytes();
    out.cache_capacity_bytes = cache.capacity_bytes();
    out.cache_evictions = cache.stats().evictions;
    out.reader = s.context.dataset->reader_name();
  }
  out.num_threads = threads_;
  out.prefetch_batches = ahead();
  out.is_tuned = is_tuned_;
  out.is_searching = is_searching_;
  out.setting_changes = setting_changes_;
  out.prefetch_bytes = options_.prefetch_bytes;
  return out;
}

}  // namespace headrace::pipeline
