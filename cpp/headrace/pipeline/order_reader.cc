#include "headrace/pipeline/order_reader.h"

#include <algorithm>
#include <utility>

#include "headrace/base/bytes.h"
#include "headrace/base/fork.h"

namespace headrace::pipeline {
namespace {

// The samples that a run of stored rows is part of.
io::Rows samples_of(const io::Rows& rows, const View& view, std::uint64_t num_samples) {
  if (view.length == 0) return rows;
  const std::uint64_t first = rows.first < view.length ? 0 : ceil_div(rows.first - view.length + 1, view.stride);
  const std::uint64_t end = std::min(num_samples, (rows.first + rows.count - 1) / view.stride + 1);
  return {first, end > first ? end - first : 0};
}

}  // namespace

OrderReader::OrderReader(std::shared_ptr<const Dataset> dataset, std::uint64_t sample_bytes, std::uint64_t ahead)
    : dataset_(std::move(dataset)),
      sample_bytes_(static_cast<double>(std::max<std::uint64_t>(1, sample_bytes))),
      ahead_(ahead),
      step_bytes_(sample_bytes_) {}

OrderReader::~OrderReader() = default;

double OrderReader::step_bytes() const { return step_bytes_.load(std::memory_order_relaxed); }

std::uint64_t OrderReader::slack() const { return slack_.load(std::memory_order_relaxed); }

std::shared_ptr<const OrderReader::Plan> OrderReader::plan() const {
  std::lock_guard lock(mutex_);
  return plan_;
}

std::optional<std::uint64_t> OrderReader::begin(Plan next) {
  if (!next.order->knows_next_use() || dataset_->view().rows != nullptr) {
    begin_unknown();
    return std::nullopt;
  }
  const std::shared_ptr<const Plan> last = plan();
  next.begin = clock_end_;
  clock_end_ += next.order->size();
  step_bytes_.store(sample_bytes_ / static_cast<double>(next.partition.world_size), std::memory_order_relaxed);
  slack_.store((ahead_ + 1) * next.partition.global_batch(), std::memory_order_relaxed);
  const std::uint64_t begin = next.begin;
  const bool complete = now() + next.partition.global_batch() > begin;
  const bool foretold = complete && last != nullptr && last->next != nullptr && next.epoch == last->epoch + 1 && next.position == 0;
  come_to(begin + next.position);
  {
    auto plan = std::make_shared<const Plan>(std::move(next));
    std::lock_guard lock(mutex_);
    plan_ = std::move(plan);
  }
  if (!foretold) dataset_->runtime().cache().forget(this);
  return begin;
}

void OrderReader::begin_unknown() {
  {
    std::lock_guard lock(mutex_);
    plan_ = nullptr;
  }
  dataset_->runtime().cache().forget(this);
}

// The first position of this rank at or after `from` that reads one of the samples; batches are counted from a position.
std::uint64_t OrderReader::find(const Order& order, const Partition& partition, const io::Rows& samples, std::uint64_t from,
                                std::uint64_t batches_from) {
  from = std::max(from, batches_from);
  if (from >= order.size()) return kNever;
  if (partition.world_size == 1 && !partition.drop_last) return order.next_use(samples.first, samples.count, from);
  return order.next_use(samples.first, samples.count, from, [&](std::uint64_t position) {
    const std::uint64_t batch = position - (position - batches_from) % partition.global_batch();
    if (partition.drop_last && order.size() - batch < partition.global_batch()) return false;
    const Partition::Share share = partition.share(order.size(), batch);
    return position >= share.begin && position - share.begin < share.count;
  });
}

std::uint64_t OrderReader::next_use(const io::Rows& rows, std::uint64_t from) const {
  const std::shared_ptr<const Plan> plan = this->plan();
  if (plan == nullptr) return kUnknown;
  const io::Rows samples = samples_of(rows, dataset_->view(), dataset_->num_samples());
  const std::uint64_t end = plan->begin + plan->order->size();
  from = std::max(from, plan->begin);
  if (from < end) {
    const std::uint64_t position = find(*plan->order, plan->partition, samples, from - plan->begin, plan->position);
    if (position != kNever) return plan->begin + position;
  }
  if (plan->next == nullptr) return kNever;
  const std::uint64_t position = find(*plan->next, plan->partition, samples, from < end ? 0 : from - end, 0);
  return position == kNever ? kNever : end + position;
}

CacheSubscription::CacheSubscription(std::shared_ptr<OrderReader> reader, Runtime& runtime)
    : generation_(fork_generation()), cache_(runtime.cache()), owner_(runtime.cache_owner()), reader_(std::move(reader)) {
  cache_.add_reader(owner_, reader_);
}

CacheSubscription::~CacheSubscription() {
  if (generation_ == fork_generation()) cache_.remove_reader(owner_, reader_.get());
}

}  // namespace headrace::pipeline
