#include "headrace/format/chunk_queue.h"

#include <unistd.h>

#include <algorithm>
#include <new>
#include <utility>

namespace headrace::format {
namespace {

int encoding_threads(int threads) { return threads > 0 ? threads : ThreadPool::shared().max_threads(); }

}  // namespace

ChunkQueue::ChunkQueue(std::string directory, int threads, std::uint64_t shard_bytes, const Limits& limits)
    : directory_(std::move(directory)),
      shard_bytes_(shard_bytes),
      limits_(limits),
      max_chunks_(encoding_threads(threads) + 2),
      group_(ThreadPool::shared(), encoding_threads(threads)) {}

ChunkQueue::~ChunkQueue() {
  group_.cancel();
  group_.wait_idle();
}

void ChunkQueue::start(Schema schema, Dictionaries dictionaries, std::uint32_t chunk_samples) {
  dictionaries_ = std::move(dictionaries);
  schema_ = std::move(schema);
  chunk_samples_ = chunk_samples;
}

Status ChunkQueue::push(std::vector<ColumnChunk> columns, std::uint32_t num_samples) {
  {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return chunks_ < max_chunks_ || !error_.is_ok(); });
    if (!error_.is_ok()) return error_;
    ++chunks_;
  }
  auto job = std::make_shared<Job>();
  if (next_chunk_ == 0) {
    Result<codec::Uuid> uuid = random_uuid();
    if (!uuid) {
      fail(uuid.status());
      return uuid.status();
    }
    next_uuid_ = *uuid;
  }
  for (const ColumnChunk& column : columns) shard_raw_bytes_ += column.values.size();
  job->sequence = next_sequence_++;
  job->uuid = next_uuid_;
  job->chunk = next_chunk_++;
  job->ends_shard = shard_raw_bytes_ >= shard_bytes_;
  job->num_samples = num_samples;
  job->columns = std::move(columns);
  if (job->ends_shard) next_chunk_ = shard_raw_bytes_ = 0;
  group_.submit(job->sequence, [this, job] { encode(*job); });
  return {};
}

void ChunkQueue::encode(Job& job) {
  // A thread of the pool has no caller to throw to.
  try {
    Result<EncodedChunk> encoded = encode_chunk(schema_, job.uuid, job.chunk, job.num_samples, job.columns, limits_, dictionaries_);
    if (!encoded) return fail(encoded.status());
    {
      std::lock_guard lock(mutex_);
      ready_.emplace(job.sequence, Encoded{job.uuid, job.chunk, job.ends_shard, std::move(encoded).value()});
      spare_.push_back(std::move(job.columns));
    }
    write_ready();
  } catch (const std::bad_alloc&) {
    fail({Code::kOutOfMemory, "encode a chunk: out of memory; use a smaller chunk_bytes or fewer threads"});
  } catch (const std::exception& error) {
    fail({Code::kIoError, strf("encode a chunk: %s", error.what())});
  }
}

void ChunkQueue::write_ready() {
  std::unique_lock lock(mutex_);
  if (writing_) return;  // That thread looks again before it ends.
  writing_ = true;
  while (error_.is_ok() && !ready_.empty() && ready_.begin()->first == next_write_) {
    Encoded chunk = std::move(ready_.begin()->second);
    ready_.erase(ready_.begin());
    ++next_write_;
    lock.unlock();
    const Status status = write(std::move(chunk));
    if (!status.is_ok()) fail(status);
    lock.lock();
    --chunks_;
    changed_.notify_all();
  }
  writing_ = false;
  changed_.notify_all();
}

Status ChunkQueue::write(Encoded chunk) {
  if (chunk.chunk == 0) {
    {
      // Remembered before it exists: a failed publication may leave the file standing.
      std::lock_guard lock(mutex_);
      files_.push_back(directory_ + "/shard-" + uuid_text(chunk.uuid) + ".hrs");
    }
    HR_ASSIGN_OR_RETURN(shard_, ShardWriter::create(directory_, schema_, chunk.uuid, chunk_samples_, dictionaries_));
  }
  HR_RETURN_IF_ERROR(shard_->append(std::move(chunk.bytes)));
  {
    std::lock_guard lock(mutex_);
    open_bytes_ = shard_->bytes_written();
  }
  return chunk.ends_shard ? end_shard() : Status::ok();
}

Status ChunkQueue::end_shard() {
  HR_ASSIGN_OR_RETURN(ShardEntry entry, shard_->finish());
  shard_.reset();
  std::lock_guard lock(mutex_);
  finished_bytes_ += entry.file_bytes;
  open_bytes_ = 0;
  entries_.push_back(std::move(entry));
  return {};
}

void ChunkQueue::fail(const Status& status) {
  {
    std::lock_guard lock(mutex_);
    if (error_.is_ok()) error_ = status;
    changed_.notify_all();
  }
  group_.cancel();
}

Result<std::vector<ShardEntry>> ChunkQueue::finish() {
  {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return (chunks_ == 0 && !writing_) || !error_.is_ok(); });
    if (!error_.is_ok()) return error_;
  }
  if (shard_ != nullptr) {
    const Status status = end_shard();
    if (!status.is_ok()) {
      fail(status);
      return status;
    }
  }
  std::lock_guard lock(mutex_);
  return entries_;
}

void ChunkQueue::remove_files() {
  fail({Code::kClosed, "the writer was aborted"});
  group_.wait_idle();
  shard_.reset();
  std::lock_guard lock(mutex_);
  for (const std::string& file : files_) ::unlink(file.c_str());
  files_.clear();
}

std::vector<ColumnChunk> ChunkQueue::take_spare() {
  std::lock_guard lock(mutex_);
  if (spare_.empty()) return {};
  std::vector<ColumnChunk> columns = std::move(spare_.back());
  spare_.pop_back();
  return columns;
}

std::uint64_t ChunkQueue::stored_bytes() const {
  std::lock_guard lock(mutex_);
  return finished_bytes_ + open_bytes_;
}

std::uint64_t ChunkQueue::finished_shards() const {
  std::lock_guard lock(mutex_);
  return entries_.size();
}

}  // namespace headrace::format
