#include "headrace/pipeline/chunk_ahead.h"

#include <algorithm>

#include "headrace/io/read_queue.h"

namespace headrace::pipeline {
namespace {

// Reads under way of chunks that no batch waits for yet: enough for any device; more would only make others' reads wait.
constexpr std::uint64_t kMaxPendingBytes = 64u << 20;

}  // namespace

ChunkImage::ChunkImage(std::shared_ptr<std::atomic<std::uint64_t>> live_bytes, std::size_t fields)
    : live_bytes_(std::move(live_bytes)), tables_checked_(std::make_unique<std::atomic<bool>[]>(fields)) {}

ChunkImage::~ChunkImage() { live_bytes_->fetch_sub(counted_bytes_, std::memory_order_relaxed); }

void ChunkImage::when_ready(const std::shared_ptr<Countdown>& countdown) {
  {
    std::lock_guard lock(mutex_);
    if (!ready_) {
      waiting_.push_back(countdown);
      return;
    }
  }
  countdown->done();
}

void ChunkImage::set_ready() {
  std::vector<std::shared_ptr<Countdown>> waiting;
  {
    std::lock_guard lock(mutex_);
    ready_ = true;
    waiting.swap(waiting_);
  }
  for (const auto& countdown : waiting) countdown->done();
}

ChunkAhead::ChunkAhead(std::shared_ptr<const Dataset> dataset, std::vector<std::uint32_t> fields, std::shared_ptr<const Order> order,
                       storage::SlabPool* slabs, std::shared_ptr<io::Counters> counters, std::uint64_t budget_bytes)
    : dataset_(std::move(dataset)),
      fields_(std::move(fields)),
      order_(std::move(order)),
      slabs_(slabs),
      counters_(std::move(counters)),
      budget_bytes_(budget_bytes) {}

std::shared_ptr<ChunkAhead> ChunkAhead::make(const std::shared_ptr<const Dataset>& dataset, const std::vector<std::uint32_t>& fields,
                                             const std::shared_ptr<const Order>& order, std::uint64_t window_chunks,
                                             storage::SlabPool* slabs, std::shared_ptr<io::Counters> counters, std::uint64_t budget_bytes) {
  if (dataset->table() != nullptr || dataset->view().length != 0 || dataset->view().rows != nullptr || !order->takes_chunks())
    return nullptr;
  const std::uint64_t bytes = window_bytes(*dataset, fields, window_chunks);
  if (bytes == 0 || bytes > budget_bytes / 2) return nullptr;
  // This window and the next, and what the device needs to be busy: more would only be more memory to touch.
  return std::make_shared<ChunkAhead>(dataset, fields, order, slabs, std::move(counters),
                                      std::min(budget_bytes, 2 * bytes + kMaxPendingBytes));
}

std::uint64_t ChunkAhead::window_bytes(const Dataset& dataset, const std::vector<std::uint32_t>& fields, std::uint64_t window_chunks) {
  const std::uint64_t all = dataset.layout()->num_chunks();
  if (all == 0) return 0;
  const auto first = dataset.source(0);
  if (!first.is_ok() || (*first)->shard().num_chunks() == 0) return 0;
  std::uint64_t bytes = 0;
  for (const std::uint32_t field : fields) bytes += (*first)->shard().page(0, field).stored_bytes;
  std::uint64_t out = 0;
  return checked_mul(bytes, std::min(window_chunks, all), &out) ? out : ~std::uint64_t{0};
}

void ChunkAhead::expect(std::uint64_t step, std::uint64_t begin, std::uint64_t count) {
  // The last batch of an epoch may be filled up with samples of its beginning: those are read by the batch itself.
  const std::uint64_t last = std::min(begin + std::max<std::uint64_t>(1, count), order_->size()) - 1;
  const std::uint64_t first_slot = order_->slots_of(std::min(begin, last)).first;
  const std::uint64_t end_slot = order_->slots_of(last).second;
  std::lock_guard lock(mutex_);
  if (expected_.empty() && started_.empty() && next_slot_ < first_slot) next_slot_ = first_slot;
  expected_.push_back({step, first_slot, end_slot});
}

ChunkAhead::Chunk ChunkAhead::chunk_at(std::uint64_t slot) const {
  const Location at = dataset_->locate(dataset_->layout()->first_sample(order_->chunk_at(slot)));
  const auto source = dataset_->source(at.shard);
  return {source.is_ok() ? *source : nullptr, at.chunk, key_of(at.shard, at.chunk)};
}

// Returns the bytes that the kernel was told of.
std::uint64_t ChunkAhead::advise(const Chunk& chunk) const {
  std::uint64_t bytes = 0;
  for (const std::uint32_t field : fields_) {
    if (chunk.source->all_touched(field)) continue;
    const format::PageRef page = chunk.source->shard().page(chunk.chunk, field);
    chunk.source->will_need(page.offset, page.stored_bytes);
    bytes += page.stored_bytes;
  }
  return bytes;
}

std::shared_ptr<ChunkImage> ChunkAhead::make_image(const Chunk& chunk) {
  auto image = std::make_shared<ChunkImage>(live_bytes_, fields_.size());
  for (const std::uint32_t field : fields_) {
    const format::PageRef page = chunk.source->shard().page(chunk.chunk, field);
    image->bytes_.want(*chunk.source, page.offset, page.stored_bytes);
    counters_->blocks_read.fetch_add(page.num_blocks, std::memory_order_relaxed);
  }
  image->bytes_.end_group();
  if (!image->bytes_.lease(*slabs_).is_ok()) return nullptr;
  image->counted_bytes_ = image->bytes_.bytes();
  live_bytes_->fetch_add(image->counted_bytes_, std::memory_order_relaxed);
  return image;
}

void ChunkAhead::read(const std::shared_ptr<ChunkImage>& image, const io::ShardSource& source) {
  pending_bytes_->fetch_add(image->counted_bytes_, std::memory_order_relaxed);
  try {
    if (std::vector<io::RangeRead> reads = image->bytes_.reads(0, *counters_); !reads.empty()) {
      // The dataset outlives its reads: the files' sources are its own.
      return source.queue().submit(
          std::move(reads), [image, pending = pending_bytes_, counters = counters_, dataset = dataset_](std::span<io::RangeRead> done) {
            image->bytes_.arrived(0, done, *counters);
            pending->fetch_sub(image->counted_bytes_, std::memory_order_relaxed);
            image->set_ready();
          });
    }
  } catch (const std::bad_alloc&) {  // Batches find nothing in it, and read for themselves.
  }
  pending_bytes_->fetch_sub(image->counted_bytes_, std::memory_order_relaxed);
  image->set_ready();
}

void ChunkAhead::start(std::uint64_t step) {
  Starting starting;
  std::unique_lock lock(mutex_);
  try {
    plan(step, starting);
  } catch (const std::bad_alloc&) {  // What is not read ahead, batches read for themselves.
  }
  lock.unlock();
  for (const auto& [image, source] : starting) read(image, *source);
}

void ChunkAhead::plan(std::uint64_t step, Starting& starting) {
  std::uint64_t advised = 0, pending = pending_bytes_->load(std::memory_order_relaxed);
  std::uint64_t first = ~std::uint64_t{0};
  for (const Expected& e : expected_) {
    if (e.step <= step) end_slot_ = std::max(end_slot_, e.end_slot);
    first = std::min(first, e.first_slot);
  }
  if (!expected_.empty()) next_slot_ = std::max(next_slot_, first);
  for (; next_slot_ < order_->num_slots(); ++next_slot_) {
    const bool wanted = next_slot_ < end_slot_;
    const std::uint64_t held = std::max(started_bytes_, live_bytes_->load(std::memory_order_relaxed));
    if (!wanted && (held >= budget_bytes_ || advised >= kMaxPendingBytes || pending >= kMaxPendingBytes)) break;
    const Chunk chunk = chunk_at(next_slot_);
    if (chunk.source == nullptr) continue;
    // What comes early would be gone again: batches ask for their own rows. Another reader begins with the windows that it finds under way.
    if (chunk.source->is_mapped() && !dataset_->stays_in_memory()) break;
    std::uint64_t bytes = 0;
    if (chunk.source->is_mapped()) {
      bytes = advise(chunk);
      advised += bytes;
    } else if (auto image = make_image(chunk)) {
      bytes = image->counted_bytes_;
      pending += bytes;
      starting.emplace_back(image, chunk.source);  // First: an image that is found must be read.
      images_[chunk.key] = std::move(image);
    }
    started_.push_back({next_slot_, chunk.key, bytes});
    started_bytes_ += bytes;
  }
}

std::shared_ptr<ChunkImage> ChunkAhead::find(std::uint32_t shard, std::uint64_t chunk) {
  std::lock_guard lock(mutex_);
  const auto found = images_.find(key_of(shard, chunk));
  return found == images_.end() ? nullptr : found->second;
}

void ChunkAhead::taken(std::uint64_t step) {
  std::vector<std::shared_ptr<ChunkImage>> dropped;  // Their memory is given back unlocked.
  std::lock_guard lock(mutex_);
  const auto done = std::find_if(expected_.begin(), expected_.end(), [&](const Expected& e) { return e.step == step; });
  if (done == expected_.end()) return;
  const std::uint64_t own = done->first_slot;
  expected_.erase(done);
  std::uint64_t first = expected_.empty() ? own : expected_.front().first_slot;
  for (const Expected& e : expected_) first = std::min(first, e.first_slot);
  first_slot_ = std::max(first_slot_, first);
  while (!started_.empty() && started_.front().slot < first_slot_) {
    const auto image = images_.find(started_.front().key);
    if (image != images_.end()) {
      dropped.push_back(std::move(image->second));
      images_.erase(image);
    }
    started_bytes_ -= started_.front().bytes;
    started_.pop_front();
  }
}

}  // namespace headrace::pipeline
