#include "headrace/pipeline/dataset.h"

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <utility>

#include "headrace/base/bytes.h"
#include "headrace/base/clock.h"
#include "headrace/base/cpu.h"
#include "headrace/base/fork.h"
#include "headrace/codec/checksum.h"
#include "headrace/format/layout.h"

namespace headrace::pipeline {
namespace {

constexpr std::size_t kCacheBytes = 32u << 20;  // what a dataset brings to the cache's budget, for single samples; loaders bring more
constexpr std::size_t kSlabBytes = 16u << 20;   // free slabs kept for single fetches
constexpr std::uint32_t kTableChunk = 4096;     // rows of a table in memory that the window order takes for a chunk
// Shards that open() opens, and so checks: the first ones, as long as all their indexes together stay below this, about 0.2 ms of work. Of
// more it looks at the size of the file. So opening costs about the same however large the dataset is.
constexpr std::uint64_t kEagerIndexBytes = 256u << 10;
constexpr std::uint32_t kEagerShards = 32;
constexpr std::uint32_t kSizedShards = 256;
constexpr std::uint32_t kEstimateShards = 8;
constexpr std::int64_t kLookAtMemoryNs = 1'000'000'000;  // about 0.3 ms of work
constexpr std::uint64_t kFileBytes = 128u << 10;         // what a file is taken to hold until its batch is planned

std::uint64_t index_bytes(const format::Manifest& manifest, const format::ShardEntry& shard) {
  const std::uint64_t entry = format::kChunkEntryBytes + format::kPageEntryBytes * manifest.schema.fields.size();
  return std::min(ceil_div(shard.num_samples, shard.chunk_samples), kEagerIndexBytes) *
         entry;  // More is too much anyway, and may overflow.
}

}  // namespace

Runtime::Runtime(const DatasetOptions& options, io::ReaderKind reader, std::uint64_t owner, std::size_t num_shards)
    : options_(options), cache_(io::BlockCache::shared()), cache_owner_(owner), slabs_(kSlabBytes), sources_(num_shards) {
  cache_.reserve(cache_owner_, kCacheBytes);
  if (options_.share_node) node_ = io::NodeCache::shared(cache_, options_.share_group);
  if (reader == io::ReaderKind::kMmap) return;
  auto engine = io::make_read_engine(reader);
  engine_status_ = engine.status();
  if (engine.is_ok()) engine_ = std::move(*engine);
}

Runtime::~Runtime() {
  cache_.drop(cache_owner_);
  for (auto& source : sources_) delete source.load(std::memory_order_acquire);
}

const char* Runtime::reader_name() const { return io::reader_name(engine_ == nullptr ? io::ReaderKind::kMmap : engine_->kind()); }

std::string Runtime::reader_fallback() const { return engine_ == nullptr ? std::string() : engine_->fallback_reason(); }

Result<io::ShardSource*> Runtime::source(std::uint32_t shard, const std::string& directory, const format::Manifest& manifest,
                                         std::uint64_t first_row) {
  if (io::ShardSource* open = sources_[shard].load(std::memory_order_acquire)) return open;
  HR_RETURN_IF_ERROR(engine_status_);
  std::lock_guard lock(opening_[shard % opening_.size()]);
  if (io::ShardSource* open = sources_[shard].load(std::memory_order_acquire)) return open;
  const format::ShardEntry& entry = manifest.shards[shard];
  HR_ASSIGN_OR_RETURN(auto checked, format::Shard::open(directory + "/" + entry.file_name, options_.limits, &entry));
  if (!checked->schema().same_values(manifest.schema)) {
    return Status(Code::kCorrupt, "open " + checked->path() + ": its schema differs from the manifest's");
  }
  io::SourceContext context{
      &cache_, cache_owner_, node_.get(), &files_, engine_.get(), options_.verify, static_cast<std::uint32_t>(sources_.size())};
  HR_ASSIGN_OR_RETURN(auto source, io::ShardSource::open(std::move(checked), shard, context, first_row));
  io::ShardSource* open = source.release();
  // Stored, then looked for; expect_whole() does it the other way round: so one of the two always tells the source.
  sources_[shard].store(open);
  if (expect_whole_.load() && open->is_mapped()) open->expect_whole();
  return open;
}

void Runtime::expect_whole() {
  if (expect_whole_.exchange(true)) return;
  for (const auto& source : sources_) {
    const io::ShardSource* open = source.load();
    if (open != nullptr && open->is_mapped()) open->expect_whole();
  }
}

Result<std::shared_ptr<Dataset>> Dataset::open(const std::string& path, std::uint64_t version, const DatasetOptions& options) {
  std::shared_ptr<Dataset> dataset(new Dataset());
  dataset->path_ = path;
  dataset->options_ = options;
  dataset->reader_.store(options.reader);
  HR_ASSIGN_OR_RETURN(dataset->manifest_, format::read_manifest(path, version, options.limits));
  dataset->fingerprint_ = dataset->manifest_.fingerprint();
  std::vector<ChunkLayout::ShardChunks> shards;
  for (const format::ShardEntry& shard : dataset->manifest_.shards) {
    dataset->first_sample_.push_back(dataset->first_sample_.back() + shard.num_samples);
    shards.push_back({shard.num_samples, shard.chunk_samples});
  }
  dataset->layout_ = std::make_shared<const ChunkLayout>(shards);
  if (options.choose_reader) dataset->choose_reader();
  HR_RETURN_IF_ERROR(dataset->check_first_shards());
  return dataset;
}

Status Dataset::check_first_shards() const {
  std::uint64_t checked_bytes = 0;
  for (std::uint32_t i = 0; i < std::min<std::size_t>(manifest_.shards.size(), kSizedShards); ++i) {
    const format::ShardEntry& shard = manifest_.shards[i];
    checked_bytes += std::min(index_bytes(manifest_, shard), kEagerIndexBytes + 1);
    std::error_code error;
    const bool is_whole = (i >= kEagerShards || checked_bytes > kEagerIndexBytes) &&
                          std::filesystem::file_size(path_ + "/" + shard.file_name, error) == shard.file_bytes && !error;
    if (is_whole) continue;
    auto opened = source(i);  // Which also says what is wrong with it.
    if (!opened.is_ok()) return opened.status();
  }
  return Status::ok();
}

io::ReaderChoice Dataset::best_reader(std::uint64_t free_bytes, std::optional<io::ReaderKind> now) const {
  const std::vector<format::ShardEntry>& shards = manifest_.shards;
  std::uint64_t bytes = 0;
  for (const format::ShardEntry& shard : shards) bytes += shard.file_bytes;
  // A name for each of 10^5 shards would take longer than all else here, and is asked for every second.
  std::vector<std::string> paths;
  const std::size_t looked_at = std::min(io::kMostFilesLookedAt, shards.size());
  for (std::size_t k = 0; k < looked_at; ++k) {
    const std::size_t i = k * shards.size() / looked_at;
    paths.push_back(directory(static_cast<std::uint32_t>(i)) + "/" + shards[i].file_name);
  }
  return io::choose_reader(paths, bytes, free_bytes, now);
}

// For forked children too, until they look for themselves.
void Dataset::choose_reader() {
  io::ReaderChoice choice = best_reader(free_memory_bytes(), {});
  reader_.store(choice.kind);
  stays_in_memory_.store(choice.kind == io::ReaderKind::kMmap);
  reader_reason_ = std::move(choice.reason);
}

std::string Dataset::reader_reason() const {
  if (base_ != nullptr) return base_->reader_reason();
  if (reader_reason_.empty()) return {};
  Owned& own = owned();
  std::lock_guard lock(own.mutex);
  return own.reason.empty() ? reader_reason_ : own.reason;
}

void Dataset::set_reader(io::ReaderKind reader, std::string reason) const {
  if (base_ != nullptr) return base_->set_reader(reader, std::move(reason));
  Owned& own = owned();
  std::lock_guard lock(own.mutex);
  if (!reason.empty()) own.reason = std::move(reason);
  reader_.store(reader, std::memory_order_release);
}

bool Dataset::claim_reader(const void* loader) const {
  if (base_ != nullptr) return base_->claim_reader(loader);
  const void* nobody = nullptr;
  return owned().compares.compare_exchange_strong(nobody, loader) || nobody == loader;
}

void Dataset::release_reader(const void* loader) const {
  if (base_ != nullptr) return base_->release_reader(loader);
  (void)owned().compares.compare_exchange_strong(loader, nullptr);
}

bool Dataset::follow_memory() const {
  if (base_ != nullptr) return base_->follow_memory();
  bool changed = false;
  for (const auto& part : parts_) changed = part->follow_memory() || changed;
  if (!parts_.empty() || table_ != nullptr || !options_.choose_reader) return changed;
  Owned& own = owned();
  const std::int64_t now = now_ns();
  std::int64_t due = own.next_look_ns.load(std::memory_order_relaxed);
  if (now < due || !own.next_look_ns.compare_exchange_strong(due, now + kLookAtMemoryNs, std::memory_order_relaxed)) return false;
  return follow_memory(free_memory_bytes());
}

bool Dataset::follow_memory(std::uint64_t free_bytes) const {
  if (base_ != nullptr) return base_->follow_memory(free_bytes);
  if (!options_.choose_reader) return false;
  Owned& own = owned();
  std::lock_guard lock(own.mutex);
  const bool stayed = stays_in_memory_.load();
  io::ReaderChoice choice = best_reader(free_bytes, stayed ? io::ReaderKind::kMmap : io::ReaderKind::kPread);
  const bool stays = choice.kind == io::ReaderKind::kMmap;
  stays_in_memory_.store(stays);
  // Which reader is best for files that do not fit, loaders find out.
  if (choice.kind == reader_.load() || (!stays && !stayed)) return false;
  own.reason = std::move(choice.reason);
  reader_.store(choice.kind);
  return true;
}

std::shared_ptr<Dataset> Dataset::over(std::shared_ptr<const MemoryTable> table) {
  std::shared_ptr<Dataset> dataset(new Dataset());
  dataset->path_ = "memory";
  dataset->fingerprint_ = table->fingerprint();
  dataset->manifest_.schema = table->schema();
  dataset->first_sample_.push_back(table->num_rows());
  dataset->layout_ = std::make_shared<const ChunkLayout>(std::vector<ChunkLayout::ShardChunks>{{table->num_rows(), kTableChunk}});
  dataset->table_ = std::move(table);
  return dataset;
}

Result<std::shared_ptr<Dataset>> Dataset::concat(const std::vector<std::shared_ptr<const Dataset>>& datasets) {
  if (datasets.empty()) return Status(Code::kInvalidArgument, "concatenate: expected at least one dataset");
  std::shared_ptr<Dataset> out(new Dataset());
  out->manifest_ = datasets[0]->manifest_;
  out->manifest_.shards.clear();
  out->options_ = datasets[0]->options_;
  out->reader_.store(datasets[0]->reader_.load());
  out->stays_in_memory_.store(datasets[0]->stays_in_memory_.load());
  out->reader_reason_ = datasets[0]->reader_reason();
  std::vector<ChunkLayout::ShardChunks> shards;
  for (const std::shared_ptr<const Dataset>& one : datasets) {
    if (one->base_ != nullptr || one->table_ != nullptr || !one->parts_.empty())
      return Status(Code::kInvalidArgument, "concatenate: expected datasets on disk, got a view, a zip or a table in memory");
    if (!one->manifest_.schema.same_values(out->manifest_.schema))
      return Status(Code::kInvalidArgument, "concatenate: the fields of " + one->path_ + " differ from those of " + datasets[0]->path_);
    // Where one of them has blocks to decode, all are read so.
    for (std::size_t f = 0; f < out->manifest_.schema.fields.size(); ++f) {
      format::Field& field = out->manifest_.schema.fields[f];
      const format::Field& other = one->manifest_.schema.fields[f];
      if (field.codec == codec::Codec::kNone && field.filter == codec::Filter::kNone) field = other;
    }
    out->path_ += (out->path_.empty() ? "" : " + ") + one->path_;
    out->fingerprint_ = mix_key(out->fingerprint_, one->fingerprint_);
    for (std::uint32_t i = 0; i < one->manifest_.shards.size(); ++i) {
      const format::ShardEntry& shard = one->manifest_.shards[i];
      out->manifest_.shards.push_back(shard);
      out->directories_.push_back(one->directory(i));
      out->first_sample_.push_back(out->first_sample_.back() + shard.num_samples);
      shards.push_back({shard.num_samples, shard.chunk_samples});
    }
  }
  out->layout_ = std::make_shared<const ChunkLayout>(shards);
  return out;
}

Result<std::shared_ptr<Dataset>> Dataset::view_of(const std::shared_ptr<const Dataset>& dataset, View view) {
  if (!dataset->parts_.empty()) return Status(Code::kInvalidArgument, "a zip has no views; view its parts: " + dataset->path_);
  std::shared_ptr<Dataset> out(new Dataset());
  out->base_ = dataset->base_ == nullptr ? dataset : dataset->base_;
  const Dataset& base = *out->base_;
  HR_ASSIGN_OR_RETURN(out->delivered_, delivered_schema(base.schema(), view, base.num_rows()));
  out->fingerprint_ = base.fingerprint_;
  out->layout_ = base.layout_;
  if (view.length != 0) {
    // Other samples than the rows; a cast leaves the samples what they are, so a saved place stays good.
    out->fingerprint_ = mix_key(mix_key(base.fingerprint_, view.length), view.stride);
    // A chunk's worth of samples begins in a chunk, or near it where shards differ.
    const std::uint64_t chunk = std::max<std::uint64_t>(1, base.layout_->chunk_samples() / view.stride);
    out->layout_ = std::make_shared<const ChunkLayout>(
        std::vector<ChunkLayout::ShardChunks>{{view.num_samples(base.num_rows()), static_cast<std::uint32_t>(chunk)}});
  }
  if (view.rows != nullptr) {
    const std::uint64_t samples = view.num_starts(base.num_rows());
    for (const std::uint64_t row : *view.rows) {
      if (row >= samples)
        return Status(Code::kInvalidArgument, strf("row %llu is outside the %llu samples", static_cast<unsigned long long>(row),
                                                   static_cast<unsigned long long>(samples)));
    }
    const auto* bytes = reinterpret_cast<const std::uint8_t*>(view.rows->data());
    out->fingerprint_ = codec::hash({bytes, view.rows->size() * sizeof(std::uint64_t)}, out->fingerprint_);
    // As if what is chosen filled chunks of that size: true of what was cut in one piece, near it where most of a chunk was chosen in turn.
    const std::uint32_t chunk = out->layout_->chunk_samples();
    out->layout_ = std::make_shared<const ChunkLayout>(std::vector<ChunkLayout::ShardChunks>{{view.rows->size(), chunk}});
  }
  out->view_ = std::move(view);
  return out;
}

Status Dataset::check_fields(const std::vector<std::uint32_t>& fields) const {
  for (const std::uint32_t field : fields) {
    const bool known = field < schema().fields.size();
    if (!known) return {Code::kInvalidArgument, strf("there is no field number %u", field)};
    if (base_ != nullptr && std::find(view_.fields.begin(), view_.fields.end(), field) == view_.fields.end())
      return {Code::kInvalidArgument, "field '" + schema().fields[field].name + "' is not among those of this view"};
  }
  return Status::ok();
}

Dataset::~Dataset() {
  Owned* owned = owned_.load(std::memory_order_acquire);
  if (owned != nullptr && owned->generation == fork_generation()) delete owned;  // Else it is the parent's: leaked on purpose.
}

Dataset::Owned::Owned(std::uint64_t made_in) : generation(made_in), cache_owner(io::new_owner()) {}

Dataset::Owned::~Owned() {
  for (auto& runtime : runtimes) delete runtime.load(std::memory_order_acquire);
}

Dataset::Owned& Dataset::owned() const {
  const std::uint64_t generation = fork_generation();
  Owned* seen = owned_.load(std::memory_order_acquire);
  while (seen == nullptr || seen->generation != generation) {
    auto* fresh = new Owned(generation);
    if (owned_.compare_exchange_strong(seen, fresh, std::memory_order_acq_rel)) return *fresh;
    delete fresh;
  }
  return *seen;
}

Runtime& Dataset::runtime() const {
  if (base_ != nullptr) return base_->runtime();
  Owned& own = owned();
  const io::ReaderKind reader = reader_.load(std::memory_order_acquire);
  std::atomic<Runtime*>& current = own.runtimes[static_cast<std::size_t>(reader)];
  Runtime* seen = current.load(std::memory_order_acquire);
  if (seen != nullptr) return *seen;
  auto* fresh = new Runtime(options_, reader, own.cache_owner, manifest_.shards.size());
  if (current.compare_exchange_strong(seen, fresh, std::memory_order_acq_rel)) return *fresh;
  delete fresh;
  return *seen;
}

Location Dataset::locate(std::uint64_t sample) const {
  if (base_ != nullptr) return base_->locate(sample);
  std::uint32_t shard = 0;
  if (first_sample_.size() > 2) {
    const auto next = std::upper_bound(first_sample_.begin(), first_sample_.end(), sample);
    shard = static_cast<std::uint32_t>(next - first_sample_.begin()) - 1;
  }
  const std::uint64_t row = sample - first_sample_[shard];
  const std::uint32_t size = manifest_.shards[shard].chunk_samples;
  const std::uint64_t chunk = row / size;
  return {shard, static_cast<std::uint32_t>(row - chunk * size), chunk};
}

void Dataset::expect_whole() const {
  for (const auto& part : parts_) part->expect_whole();
  if (!parts_.empty()) return;
  if (table() != nullptr || (view_.rows != nullptr && view_.rows->size() < num_rows() / 2)) return;
  std::uint64_t bytes = 0;
  for (const format::ShardEntry& shard : manifest().shards) bytes += shard.file_bytes;
  if (bytes <= available_memory_bytes() / 2) runtime().expect_whole();
}

bool Dataset::in_memory(const std::vector<std::uint32_t>& fields) const {
  if (!parts_.empty()) return parts_in_memory(fields);
  if (table() != nullptr) return table()->files() == nullptr;
  if (!stays_in_memory()) return false;
  for (const std::uint32_t field : fields) {
    const format::Field& f = stored_schema().fields[field];
    if (f.is_variable() || f.nullable || f.codec != codec::Codec::kNone || f.filter != codec::Filter::kNone) return false;
  }
  for (std::uint32_t shard = 0; shard < manifest().shards.size(); ++shard) {
    const io::ShardSource* source = runtime().opened(shard);
    if (source == nullptr || !source->is_mapped()) return false;
    if (!std::all_of(fields.begin(), fields.end(), [&](std::uint32_t field) { return source->all_touched(field); })) return false;
  }
  return true;
}

void Dataset::locate(std::span<const std::uint64_t> samples, std::span<Location> out) const {
  const bool simple = manifest().shards.size() == 1 && num_rows() < 1ull << 32 && manifest().shards[0].chunk_samples > 1;
  if (!simple) {
    for (std::size_t i = 0; i < samples.size(); ++i) out[i] = locate(samples[i]);
    return;
  }
  // Division by a constant of 32 bits as a multiplication (Lemire, Kaser, Kurz 2019: Faster remainder by direct computation).
  const std::uint32_t size = manifest().shards[0].chunk_samples;
  const std::uint64_t reciprocal = ~std::uint64_t{0} / size + 1;
  for (std::size_t i = 0; i < samples.size(); ++i) {
    const std::uint64_t chunk = static_cast<std::uint64_t>(static_cast<unsigned __int128>(reciprocal) * samples[i] >> 64);
    out[i] = {0, static_cast<std::uint32_t>(samples[i] - chunk * size), chunk};
  }
}

Result<std::uint64_t> Dataset::average_sample_bytes(const std::vector<std::uint32_t>& fields) const {
  if (!parts_.empty()) return average_parts_bytes(fields);
  std::uint64_t fixed = 0, variable = 0, samples = 0;
  for (const std::uint32_t field : fields) {
    if (!schema().fields[field].is_variable()) fixed += schema().fields[field].row_bytes();
  }
  if (table() != nullptr && table()->files() != nullptr) return fixed + kFileBytes;
  if (manifest().shards.empty()) return fixed;
  // The first that opens, of a few: damage is for the samples that meet it to report, or to leave out.
  Result<io::ShardSource*> first = source(0);
  const Status status = first.status();
  for (std::uint32_t i = 1; !first.is_ok() && i < std::min<std::size_t>(manifest().shards.size(), kEstimateShards); ++i) first = source(i);
  if (!first.is_ok()) return status;
  const format::Shard& shard = (*first)->shard();
  // A few chunks are enough for an estimate.
  for (std::uint64_t chunk = 0; chunk < std::min<std::uint64_t>(shard.num_chunks(), 16); ++chunk) {
    samples += shard.samples_in_chunk(chunk);
    for (const std::uint32_t field : fields) {
      const format::Field& to = schema().fields[field];
      if (to.is_variable())
        variable +=
            shard.page(chunk, field).section(format::Section::kValues).decoded_bytes / stored_schema().fields[field].itemsize * to.itemsize;
    }
  }
  return fixed + (samples == 0 ? 0 : variable / samples);
}

}  // namespace headrace::pipeline
