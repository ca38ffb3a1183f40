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
constexpr std::uint64_t kMostReadBatches = 64;
constexpr std::uint64_t kReadsUnderWayBytes = 16u << 20;

bool is_positional(const Dataset& dataset) {
  if (!dataset.parts().empty()) return std::ranges::any_of(dataset.parts(), [](const auto& part) { return is_positional(*part); });
  return dataset.table() == nullptr && dataset.reader_name() != std::string("mmap");
}

// Twice the threads, and two; more by position, since what is planned is what the device has to do.
std::uint32_t batches_ahead(const Dataset& dataset, const PipelineOptions& options, std::uint64_t sample_bytes) {
  if (options.num_threads == 0) return 1;
  const std::uint64_t usual = 2 * static_cast<std::uint64_t>(options.num_threads) + 2;
  if (!is_positional(dataset)) return static_cast<std::uint32_t>(usual);
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
  if (!dataset->parts().empty() && (!options.images.empty() || options.mix.has_value() || options.field_plan != nullptr))
    return Status(Code::kInvalidArgument, "fields of datasets side by side are delivered as stored; prepare those of one dataset");
  for (const auto& [field, plan] : options.images) HR_RETURN_IF_ERROR(check_image(*dataset, options.fields, field));
  if (options.mix.has_value()) HR_RETURN_IF_ERROR(check_mix(*dataset, options.fields, options.images, *options.mix));
  if (options.field_plan != nullptr) HR_RETURN_IF_ERROR(check_field_plan(dataset->schema(), options.fields, *options.field_plan));
  HR_RETURN_IF_ERROR(check_counted(options.counted, options.field_plan.get(), p.batch_size));
  if (!options.counted.empty() && options.on_error != OnError::kRaise)
    return Status(Code::kInvalidArgument, "rows are counted where none is left out or replaced; use on_error='raise'");
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
  const bool positional = is_positional(*dataset);
  bool decodes = positional;
  for (const std::uint32_t f : options_.fields) {
    const format::Field& field = dataset->schema().fields[f];
    decodes = decodes || field.is_variable() || field.codec != codec::Codec::kNone;
  }
  // By position: a half for batches and what they read, a quarter each for chunks read ahead and for decoded blocks.
  ahead_budget_ = options_.prefetch_bytes / 4;
  read_share_ = positional ? 2 : 1;
  batch_budget_ = decodes ? options_.prefetch_bytes / 2 : options_.prefetch_bytes;
  shared_ = std::make_shared<PassShared>(std::min<std::size_t>(kKeptSlabBytes * read_share_, batch_budget_ / 2),
                                         batch_budget_ + (positional ? ahead_budget_ : 0));
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
  set_counted(options_.counted, shared_->context);
  shared_->context.seed = options_.seed;
  threads_ = options_.num_threads;
  ahead_ = options_.prefetch_batches;
  shared_->on_error = options_.on_error;
  shared_->seed = options_.seed;
  if (options_.order == OrderKind::kWeighted) shared_->weights = options_.weights;
  shared_->parts = plan_parts(shared_->context);
  if (!decodes) return;
  const std::uint64_t cache_bytes = (positional ? options_.prefetch_bytes / 4 : options_.prefetch_bytes / 2) / shared_->parts.size();
  for (PartPlan& part : shared_->parts) {
    if (part.context.dataset->table() != nullptr) continue;
    Runtime& runtime = part.context.dataset->runtime();
    runtime.cache().reserve(runtime.cache_owner(), cache_bytes);
    part.subscription = std::make_unique<CacheSubscription>(
        std::make_shared<OrderReader>(part.context.dataset, sample_bytes / shared_->parts.size(), options_.prefetch_batches), runtime);
  }
}

Pipeline::~Pipeline() {
  if (generation_ == fork_generation()) {
    leave_reader();
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
  out.timed_one_in = is_sampled_ ? TimedBatches::kRow : 1;
  out.prefetch_bytes = options_.prefetch_bytes;
  return out;
}

}  // namespace headrace::pipeline
