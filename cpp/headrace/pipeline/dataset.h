// What a pipeline reads: one version of a dataset on disk (manifest, shards, and what reads them in this process), or a table in memory.
//
// Owns:     the manifest; a Runtime for each reader that has served (descriptors, read engine, mapped shards), and their blocks in the
//           process's cache. With options.choose_reader the reader follows the memory that is free: batches under way keep theirs.
// Threads:  any. The first shards are opened at open(), others when first needed, each under one of Runtime's locks.
// Forking:  a child builds a Runtime of its own at first use and abandons the parent's: a lock in it may be held for ever.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "headrace/base/status.h"
#include "headrace/format/limits.h"
#include "headrace/format/manifest.h"
#include "headrace/io/block_cache.h"
#include "headrace/io/choose_reader.h"
#include "headrace/io/file_table.h"
#include "headrace/io/read_engine.h"
#include "headrace/io/shard_source.h"
#include "headrace/pipeline/memory_table.h"
#include "headrace/pipeline/order.h"
#include "headrace/pipeline/view.h"
#include "headrace/storage/slab_pool.h"

namespace headrace::pipeline {

struct DatasetOptions {
  io::ReaderKind reader = io::ReaderKind::kMmap;
  bool choose_reader = false;  // probe files and memory when opening, and now and then later, and set `reader` by that
  io::Verify verify = io::Verify::kOnce;
  bool share_node = false;  // decoded blocks with other processes of this user that do so too
  std::string share_group;  // and that name the same group
  format::Limits limits;
};

struct Location {
  std::uint32_t shard = 0;
  std::uint32_t row = 0;  // in the chunk
  std::uint64_t chunk = 0;
};

class Runtime {
 public:
  // `owner`: the dataset's name for its blocks in the cache.
  Runtime(const DatasetOptions& options, io::ReaderKind reader, std::uint64_t owner, std::size_t num_shards);
  ~Runtime();
  // Errors: those of format::Shard::open and io::ShardSource::open, and kChanged.
  Result<io::ShardSource*> source(std::uint32_t shard, const std::string& directory, const format::Manifest& manifest,
                                  std::uint64_t first_row);
  // Sources, those opened later too, expect to be used whole.
  void expect_whole();
  // The source if it is open, else null.
  const io::ShardSource* opened(std::uint32_t shard) const { return sources_[shard].load(std::memory_order_acquire); }
  // The process's, and by which name it knows this dataset's blocks.
  io::BlockCache& cache() { return cache_; }
  std::uint64_t cache_owner() const { return cache_owner_; }
  // Null: not shared with other processes, or the system cannot.
  const io::NodeCache* node() const { return node_.get(); }
  // For single fetches: small slabs that come and go quickly.
  storage::SlabPool& slabs() { return slabs_; }
  const char* reader_name() const;
  // Why that is not the reader asked for; empty if it is.
  std::string reader_fallback() const;

 private:
  DatasetOptions options_;
  io::BlockCache& cache_;
  const std::uint64_t cache_owner_;
  std::shared_ptr<io::NodeCache> node_;
  storage::SlabPool slabs_;
  io::FileTable files_;
  std::unique_ptr<io::ReadEngine> engine_;  // null: mapped
  Status engine_status_;
  std::array<std::mutex, 16> opening_;  // shard % 16: held while it is opened
  std::atomic<bool> expect_whole_{false};
  std::vector<std::atomic<io::ShardSource*>> sources_;
};

class Dataset {
 public:
  // version 0 is the newest. Errors: as for manifests and shards, naming the file.
  static Result<std::shared_ptr<Dataset>> open(const std::string& path, std::uint64_t version, const DatasetOptions& options);
  // Samples of a table in memory: no path, no shards, one version.
  static std::shared_ptr<Dataset> over(std::shared_ptr<const MemoryTable> table);
  // The samples of several datasets on disk, one after the other; shards are opened anew. Errors: kInvalidArgument (none, a view, a table
  // in memory, or other fields than the first one's).
  static Result<std::shared_ptr<Dataset>> concat(const std::vector<std::shared_ptr<const Dataset>>& datasets);
  // Sample i is sample i of each of these: their fields one after the other, named "0.x", "1.x". Batches are built part by part.
  // Errors: kInvalidArgument (none, a zip, or other numbers of samples).
  static Result<std::shared_ptr<Dataset>> zip(const std::vector<std::shared_ptr<const Dataset>>& parts);
  // The same rows, delivered otherwise; shares what is open. Of a view: of what it views, whose own view is not kept.
  // Errors: those of delivered_schema(); kInvalidArgument (a chosen row that is not there, a zip).
  static Result<std::shared_ptr<Dataset>> view_of(const std::shared_ptr<const Dataset>& dataset, View view);
  ~Dataset();

  // Of a zip; else empty. A zip has no table and no shards of its own, and nothing locates its rows: ask the parts.
  const std::vector<std::shared_ptr<const Dataset>>& parts() const { return parts_; }
  // The table in memory, or null: then there are shards.
  const std::shared_ptr<const MemoryTable>& table() const { return stored().table_; }
  const std::string& path() const { return stored().path_; }
  const format::Manifest& manifest() const { return stored().manifest_; }
  // As delivered and as stored; they differ in a view.
  const format::Schema& schema() const { return base_ == nullptr ? manifest_.schema : delivered_; }
  const format::Schema& stored_schema() const { return stored().manifest_.schema; }
  std::uint64_t fingerprint() const { return fingerprint_; }
  std::uint64_t num_samples() const { return base_ == nullptr ? num_rows() : view_.num_samples(num_rows()); }
  std::uint64_t num_rows() const { return stored().first_sample_.back(); }
  const View& view() const { return view_; }
  // Errors: kInvalidArgument (no such field, or none that this view delivers).
  Status check_fields(const std::vector<std::uint32_t>& fields) const;
  bool newer_minor() const { return manifest().newer_minor; }
  const std::shared_ptr<const ChunkLayout>& layout() const { return layout_; }
  std::uint64_t first_sample(std::uint32_t shard) const { return stored().first_sample_[shard]; }

  // Where a row lies: a sample, unless a view makes samples of several. REQUIRES: row < num_rows(), table() == nullptr.
  Location locate(std::uint64_t row) const;
  // The same for many; out.size() == rows.size().
  void locate(std::span<const std::uint64_t> rows, std::span<Location> out) const;
  Result<io::ShardSource*> source(std::uint32_t shard) const { return source(shard, runtime()); }
  // Of one runtime(): what goes together must not be read in two ways, and the reader may change between two calls.
  Result<io::ShardSource*> source(std::uint32_t shard, Runtime& runtime) const {
    return runtime.source(shard, directory(shard), manifest(), first_sample(shard));
  }
  // Whether all values of `fields` are in memory and checked, to be read in place: no task of theirs waits for a device.
  bool in_memory(const std::vector<std::uint32_t>& fields) const;
  // Says that a pass over all samples begins: where the files fit well into memory, they are brought in as huge pages.
  void expect_whole() const;
  // What reads: "mmap", "pread", "direct", "uring", or "memory".
  const char* reader_name() const {
    return !parts_.empty() ? parts_reader_name() : table() != nullptr ? "memory" : runtime().reader_name();
  }
  // Why options.choose_reader chose that; empty if the reader was named.
  std::string reader_reason() const;
  // Whether readers are chosen, and so may change; not of a zip, whose parts may.
  bool chooses_reader() const { return parts_.empty() && stored().options_.choose_reader; }
  io::ReaderKind reader() const { return stored().reader_.load(std::memory_order_acquire); }
  // Of readers that are chosen: whether the files fit into memory, or are in it, as far as was looked. Where not, pages of a mapping go
  // again while it is used, and which reader is best is found out by comparing. True where the reader was named.
  bool stays_in_memory() const { return stored().stays_in_memory_.load(std::memory_order_acquire); }
  // What serves batches that are planned from now on; `reason` may be empty while readers are only compared. REQUIRES: chooses_reader().
  void set_reader(io::ReaderKind reader, std::string reason) const;
  // Of several loaders one compares readers. `loader` is only a name. False: another does.
  bool claim_reader(const void* loader) const;
  void release_reader(const void* loader) const;
  // Looks whether another reader suits the memory that is free now, at most once a second whoever calls, if options.choose_reader. Batches
  // that are planned from now on are read by it; what is delivered is the same. False: nothing changed.
  bool follow_memory() const;
  // The same at once, as if so much were free: for tests, and for who knows.
  bool follow_memory(std::uint64_t free_bytes) const;
  // This process's runtime.
  Runtime& runtime() const;
  // Bytes of an average sample's values over `fields`, as delivered; from the first shard's index.
  Result<std::uint64_t> average_sample_bytes(const std::vector<std::uint32_t>& fields) const;

 private:
  // Of one process. Runtimes stay until the dataset goes: batches under way hold their sources.
  struct Owned {
    explicit Owned(std::uint64_t made_in);
    ~Owned();
    const std::uint64_t generation;
    const std::uint64_t cache_owner;
    std::array<std::atomic<Runtime*>, 4> runtimes{};  // [reader]
    std::atomic<std::int64_t> next_look_ns{0};
    std::atomic<const void*> compares{nullptr};  // which loader
    std::mutex mutex;
    std::string reason;  // guarded by mutex: of the reader that serves now; empty: that of opening
  };
  Dataset() = default;
  Status check_first_shards() const;
  void choose_reader();
  io::ReaderChoice best_reader(std::uint64_t free_bytes, std::optional<io::ReaderKind> now) const;
  Owned& owned() const;
  std::vector<std::vector<std::uint32_t>> fields_of_parts(const std::vector<std::uint32_t>& fields) const;
  bool parts_in_memory(const std::vector<std::uint32_t>& fields) const;
  Result<std::uint64_t> average_parts_bytes(const std::vector<std::uint32_t>& fields) const;
  const char* parts_reader_name() const;
  const std::string& directory(std::uint32_t shard) const { return stored().directories_.empty() ? path() : stored().directories_[shard]; }
  const Dataset& stored() const { return base_ == nullptr ? *this : *base_; }
  std::shared_ptr<const Dataset> base_;  // of a view: what holds everything else but these, the fingerprint and the layout
  std::vector<std::shared_ptr<const Dataset>> parts_;
  View view_;
  format::Schema delivered_;
  std::string path_, reader_reason_;
  std::vector<std::string> directories_;  // [shard], of a concatenation; empty: all in path_
  std::shared_ptr<const MemoryTable> table_;
  DatasetOptions options_;
  format::Manifest manifest_;
  std::uint64_t fingerprint_ = 0;
  std::vector<std::uint64_t> first_sample_{0};  // one more than shards
  std::shared_ptr<const ChunkLayout> layout_;
  mutable std::atomic<io::ReaderKind> reader_{io::ReaderKind::kMmap};  // what serves the next batch that is planned
  mutable std::atomic<bool> stays_in_memory_{true};
  mutable std::atomic<Owned*> owned_{nullptr};
};

}  // namespace headrace::pipeline
