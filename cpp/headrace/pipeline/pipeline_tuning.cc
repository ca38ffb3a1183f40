// The part of Pipeline that puts settings in force while a pass runs.
#include <algorithm>
#include <new>
#include <system_error>

#include "headrace/base/clock.h"
#include "headrace/base/cpu.h"
#include "headrace/base/placement.h"
#include "headrace/base/thread_pool.h"
#include "headrace/pipeline/pipeline.h"

namespace headrace::pipeline {
namespace {

constexpr std::int64_t kLookNs = 1'000'000'000;
constexpr int kTimesCrowded = 2;  // looks in a row
constexpr std::uint32_t kMostAhead = 1u << 16;
constexpr std::uint64_t kPlanBytes = 256u << 10;  // of a thousand samples, amply

}  // namespace

Status Pipeline::tune(SettingBounds bounds) {
  HR_RETURN_IF_ERROR(check_usable());
  if (bounds.min_threads < 0 || bounds.max_threads < bounds.min_threads || bounds.min_ahead < 1 || bounds.max_ahead < bounds.min_ahead ||
      bounds.max_ahead > kMostAhead || options_.num_threads == 0) {
    return {Code::kInvalidArgument,
            strf("tune: threads %d to %d, batches ahead %u to %u, num_threads %d; expected 0 <= least <= most threads, "
                 "1 <= least <= most <= %u batches, and threads to begin with",
                 bounds.min_threads, bounds.max_threads, bounds.min_ahead, bounds.max_ahead, options_.num_threads, kMostAhead)};
  }
  asked_bounds_ = bounds;
  if (!seat_.has_value()) seat_.emplace();
  tuner_.emplace(Setting{options_.num_threads, options_.prefetch_batches}, usable_bounds(), &*seat_);
  tuner_->begin_pass(now_ns());
  is_tuned_ = true;
  put_in_force(tuner_->setting());
  return Status::ok();
}

// As asked for, within what the machine has now.
SettingBounds Pipeline::usable_bounds() const {
  SettingBounds out = asked_bounds_;
  const int least = shared_->context.dataset->in_memory(options_.fields) ? 0 : 1;
  out.max_threads = std::max(least, std::min(ThreadPool::shared().max_threads(), asked_bounds_.max_threads));
  out.min_threads = std::clamp(asked_bounds_.min_threads, least, out.max_threads);
  return out;
}

void Pipeline::put_in_force(Setting setting) {
  ahead_.store(setting.ahead, std::memory_order_relaxed);
  if (setting.threads == threads_.load()) return;
  threads_.store(setting.threads);
  if (pass_ == nullptr || pass_->group == nullptr) return;
  try {
    pass_->group->set_max_concurrency(setting.threads);
  } catch (const std::bad_alloc&) {  // Those that run go on, and the next batch that is launched asks for more again.
  } catch (const std::system_error&) {
  }
  let_help();
}

// With as many threads as cores, a helping consumer would only take a core from one of them, but for small batches.
void Pipeline::let_help() {
  if (pass_->group == nullptr) return;
  pass_->may_help = threads_ < current_placement().num_cores || pass_->has_small_batches;
  pass_->consumer_helps = pass_->may_help && (pass_->consumer_helps || shared_->context.dataset->in_memory(options_.fields));
}

// Consumers are threads, too: beside others, a loader begins with its share of the cores that these leave. Where its consumer waits, it
// finds out itself whether more is better. Loaders that take turns, as training and validation do, are seen once.
void Pipeline::begin_with_share(std::int64_t now) {
  const Neighbours::Progress others = seat_->others(now);
  const auto loaders = static_cast<int>(others.count + 1);
  times_crowded_ = loaders > most_loaders_ ? times_crowded_ + 1 : 0;
  if (times_crowded_ < (most_loaders_ == 0 ? 1 : kTimesCrowded)) return;
  times_crowded_ = 0;
  most_loaders_ = loaders;
  const int cores = std::max(0, ThreadPool::shared().max_threads() - static_cast<int>(others.consumers));
  const int share = std::max(tuner_->bounds().min_threads, (cores + loaders - 1) / loaders);
  if (loaders == 1 || share >= tuner_->setting().threads) return;
  tuner_->begin_again({share, std::min(tuner_->setting().ahead, 2 * static_cast<std::uint32_t>(share) + 2)});
}

void Pipeline::begin_tuned_pass() {
  const std::int64_t now = now_ns();
  seat_->deliver(now, 0);
  tuner_->set_bounds(usable_bounds());
  if (now - looked_ns_ >= kLookNs) {  // Passes may be short.
    looked_ns_ = now;
    begin_with_share(now);
  }
  tuner_->begin_pass(now);
  put_in_force(tuner_->setting());
}

void Pipeline::steer(std::int64_t now, const Seen& seen) {
  seat_->deliver(now, seen.batches);
  if (now - looked_ns_ >= kLookNs) {
    looked_ns_ = now;
    ThreadPool::shared().follow_machine();
    tuner_->set_bounds(usable_bounds());
    begin_with_share(now);
  }
  const Setting setting = tuner_->deliver(now, seen);
  is_searching_.store(tuner_->is_searching(), std::memory_order_relaxed);
  setting_changes_.store(tuner_->changes(), std::memory_order_relaxed);
  put_in_force(setting);
}

// Whether the page cache can do what this pass has no memory of its own for: keep a window of chunks while each of its blocks is read
// several times.
bool Pipeline::suits_mapping() const {
  if (options_.order != OrderKind::kWindow || pass_ == nullptr || pass_->ahead != nullptr || estimated_sample_bytes_ > kSharedBlockBytes)
    return false;
  return ChunkAhead::window_bytes(*shared_->context.dataset, options_.fields, options_.window) <= free_memory_bytes() / 2;
}

// Of a dataset whose files do not fit, unless another loader compares readers.
void Pipeline::begin_comparing() {
  const Dataset& dataset = *shared_->context.dataset;
  if (reader_tuner_.has_value() || !dataset.chooses_reader() || dataset.stays_in_memory() || !dataset.claim_reader(this)) return;
  if (suits_mapping() && dataset.reader() != io::ReaderKind::kMmap)
    dataset.set_reader(io::ReaderKind::kMmap, "windows of chunks are more than prefetch_bytes holds, and the page cache can keep them");
  const std::uint64_t chunks = std::max<std::uint64_t>(1, dataset.layout()->num_chunks());
  const std::uint64_t window = options_.order == OrderKind::kWindow ? options_.window * (dataset.num_rows() / chunks) : 0;
  reader_tuner_.emplace(dataset.reader(), window / options_.partition.world_size);
  reader_tuner_->begin_pass(now_ns());
}

// A mapping that is only tried gets as many batches ahead as mapped files have anyway: those of a bad one are soon over. By position each
// batch under way has its plan, which prefetch_bytes does not count: where that is little, not many are planned that could not read.
std::uint64_t Pipeline::most_jobs() const {
  const std::uint64_t usual = 2 * static_cast<std::uint64_t>(std::max(1, threads_.load(std::memory_order_relaxed))) + 2;
  if (reader_tuner_.has_value() && reader_tuner_->is_trying_map()) return std::min<std::uint64_t>(ahead(), usual);
  return read_share_ > 1 ? std::min<std::uint64_t>(ahead(), std::max(usual, pass_->budget / kPlanBytes)) : ahead();
}

// reader="auto": mapped while the files fit into memory, else what delivers most.
void Pipeline::steer_reader(std::int64_t now, const Seen& seen) {
  const Dataset& dataset = *shared_->context.dataset;
  if (now - looked_at_memory_ns_ >= kLookNs) {
    looked_at_memory_ns_ = now;
    dataset.follow_memory();
  }
  if (!dataset.chooses_reader()) return;
  if (dataset.stays_in_memory()) return leave_reader();
  if (!reader_tuner_.has_value()) return begin_comparing();
  const io::ReaderKind reader = dataset.reader();
  const io::ReaderKind before = reader_tuner_->present();
  const io::ReaderKind next = reader_tuner_->deliver(now, seen.waited_ns, seen.samples, jobs_.size(), seen.batches);
  const io::ReaderKind present = reader_tuner_->present();
  if (next == reader && present == before) return;
  dataset.set_reader(next, present == before ? "" : strf("it delivered more than '%s' in turns with it", io::reader_name(before)));
}

void Pipeline::leave_reader() {
  if (!reader_tuner_.has_value()) return;
  const Dataset& dataset = *shared_->context.dataset;
  if (!dataset.stays_in_memory()) dataset.set_reader(reader_tuner_->present(), "");
  dataset.release_reader(this);
  reader_tuner_.reset();
}

}  // namespace headrace::pipeline
