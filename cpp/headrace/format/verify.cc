#include "headrace/format/verify.h"

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <map>
#include <memory>
#include <mutex>
#include <string_view>
#include <utility>

#include "headrace/base/thread_pool.h"
#include "headrace/format/manifest.h"
#include "headrace/format/verify_chunk.h"
#include "headrace/storage/file.h"

namespace headrace::format {
namespace {

struct Target {
  std::string path;
  const ShardEntry* entry = nullptr;  // what the manifest says, if there is one
  const Schema* schema = nullptr;
};

struct OpenShard {
  std::size_t number = 0;  // in the list of targets
  std::shared_ptr<const Shard> shard;
  storage::Mapping file;
};

// One walk over all chunks of all targets. Tasks take chunks from it one by one; shards are opened as they are reached, so
// that memory and mappings do not grow with the dataset.
class Walk {
 public:
  Walk(std::vector<Target> targets, bool decode, const Limits& limits, VerifyProgress& progress)
      : targets_(std::move(targets)), decode_(decode), limits_(limits), progress_(progress) {}

  void run(int threads);
  Status finish(VerifyReport* report);

 private:
  struct Found {
    std::size_t target;
    Damage damage;
  };

  void step(TaskGroup& group);
  bool next(std::shared_ptr<OpenShard>* shard, std::uint64_t* chunk);
  void open_next();
  std::shared_ptr<const Shard> open_shard(const Target& target);
  void damage(std::size_t target, Damage found) { found_.push_back({target, std::move(found)}); }
  void count(const Shard& shard);
  void fail(const Status& status);

  const std::vector<Target> targets_;
  const bool decode_;
  const Limits limits_;
  VerifyProgress& progress_;

  std::mutex mutex_;  // guards all below
  std::size_t next_target_ = 0;
  std::shared_ptr<OpenShard> current_;
  std::uint64_t next_chunk_ = 0;
  std::vector<std::unique_ptr<ChunkChecker>> checkers_;
  std::vector<Found> found_;
  VerifyReport report_;
  Status error_;
};

Damage whole_file(const Target& target, Status status) {
  Damage damage;
  damage.path = target.path;
  std::error_code ignored;
  const auto bytes = std::filesystem::file_size(target.path, ignored);
  damage.bytes = ignored ? 0 : bytes;
  damage.status = std::move(status);
  return damage;
}

void Walk::fail(const Status& status) {
  std::lock_guard lock(mutex_);
  if (error_.is_ok()) error_ = status;
}

// REQUIRES: mutex_ held. Null if the shard cannot be opened at all.
std::shared_ptr<const Shard> Walk::open_shard(const Target& target) {
  Result<std::shared_ptr<const Shard>> shard = Shard::open(target.path, limits_, target.entry);
  if (shard.status().code() == Code::kChanged) {  // Another file than the manifest names: that is one damage, its bytes may have more.
    damage(next_target_, whole_file(target, shard.status()));
    shard = Shard::open(target.path, limits_);
  }
  if (!shard) {
    damage(next_target_, whole_file(target, shard.status()));
    return nullptr;
  }
  if (target.schema != nullptr && !(*shard)->schema().same_values(*target.schema)) {
    damage(next_target_, whole_file(target, {Code::kCorrupt, strf("shard %s: its schema differs from the manifest's in more than storage",
                                                                  target.path.c_str())}));
  }
  return *shard;
}

void Walk::count(const Shard& shard) {
  ++report_.shards;
  report_.chunks += shard.num_chunks();
  report_.blocks += shard.num_blocks();
  report_.bytes += shard.file_bytes();
  report_.samples += shard.num_samples();
}

Result<storage::Mapping> map_shard(const Shard& shard) {
  HR_ASSIGN_OR_RETURN(const storage::File file, storage::File::open(shard.path()));
  HR_ASSIGN_OR_RETURN(const storage::FileIdentity identity, file.identity());
  if (identity != shard.identity())
    return Status(Code::kChanged, strf("verify shard %s: it was replaced while it was opened; verify again", shard.path().c_str()));
  return storage::Mapping::map(file);
}

// REQUIRES: mutex_ held. Sets current_ to the next target, or to null if it is damaged beyond reading chunks.
void Walk::open_next() {
  const Target& target = targets_[next_target_];
  std::uint64_t chunk_bytes = 0;
  current_ = nullptr;
  if (std::shared_ptr<const Shard> shard = open_shard(target)) {
    count(*shard);
    Result<storage::Mapping> file = map_shard(*shard);
    if (file) {
      for (std::uint64_t chunk = 0; chunk < shard->num_chunks(); ++chunk) chunk_bytes += shard->chunk_bytes(chunk);
      progress_.bytes_done += shard->file_bytes() - chunk_bytes;
      current_ = std::make_shared<OpenShard>(OpenShard{next_target_, std::move(shard), std::move(file).value()});
    } else {
      damage(next_target_, whole_file(target, file.status()));
    }
  }
  if (current_ == nullptr && target.entry != nullptr) progress_.bytes_done += target.entry->file_bytes;
  next_chunk_ = 0;
  ++next_target_;
}

// REQUIRES: mutex_ held. False at the end.
bool Walk::next(std::shared_ptr<OpenShard>* shard, std::uint64_t* chunk) {
  if (!error_.is_ok() || progress_.cancel.load(std::memory_order_relaxed)) return false;
  while (current_ == nullptr || next_chunk_ == current_->shard->num_chunks()) {
    current_ = nullptr;
    if (next_target_ == targets_.size()) return false;
    open_next();
  }
  *shard = current_;
  *chunk = next_chunk_++;
  return true;
}

// Checks one chunk and queues itself again, so that other users of the pool get their turn between two chunks.
void Walk::step(TaskGroup& group) {
  try {
    std::shared_ptr<OpenShard> shard;
    std::uint64_t chunk = 0;
    std::unique_ptr<ChunkChecker> checker;
    {
      std::lock_guard lock(mutex_);
      if (!next(&shard, &chunk)) return;
      if (!checkers_.empty()) {
        checker = std::move(checkers_.back());
        checkers_.pop_back();
      }
    }
    if (checker == nullptr) checker = std::make_unique<ChunkChecker>(decode_);
    std::vector<Damage> damages;
    checker->check(*shard->shard, shard->file, chunk, &damages);
    progress_.bytes_done += shard->shard->chunk_bytes(chunk);
    {
      std::lock_guard lock(mutex_);
      for (Damage& found : damages) damage(shard->number, std::move(found));
      checkers_.push_back(std::move(checker));
    }
    group.submit(0, [this, &group] { step(group); });
  } catch (const std::exception& error) {  // A thread of the pool has no caller to throw to.
    fail({Code::kOutOfMemory, strf("verify: %s", error.what())});
  }
}

void Walk::run(int threads) {
  TaskGroup group(ThreadPool::shared(), threads);
  for (int i = 0; i < threads; ++i) group.submit(0, [this, &group] { step(group); });
  group.wait_idle();
}

Status Walk::finish(VerifyReport* report) {
  if (progress_.cancel.load()) return {Code::kClosed, "verify: cancelled"};
  if (!error_.is_ok()) return error_;
  std::stable_sort(found_.begin(), found_.end(), [](const Found& a, const Found& b) {
    return a.target != b.target ? a.target < b.target : a.damage.offset < b.damage.offset;
  });
  *report = std::move(report_);
  for (Found& found : found_) report->damages.push_back(std::move(found.damage));
  return {};
}

Result<VerifyReport> walk(std::vector<Target> targets, bool decode, int threads, const Limits& limits, VerifyProgress& progress) {
  Walk all(std::move(targets), decode, limits, progress);
  const int most = ThreadPool::shared().max_threads();
  all.run(threads > 0 ? std::min(threads, most) : most);
  VerifyReport report;
  HR_RETURN_IF_ERROR(all.finish(&report));
  return report;
}

Result<VerifyReport> verify_shard(const std::string& path, bool decode, int threads, const Limits& limits, VerifyProgress& progress) {
  const Result<std::shared_ptr<const Shard>> shard = Shard::open(path, limits);
  const Code code = shard.status().code();
  // Nothing of ours, or nothing that can be read: no statement about damage is possible.
  if (code == Code::kNotFound || code == Code::kIoError || code == Code::kInvalidArgument || code == Code::kUnsupported)
    return shard.status();
  if (shard) progress.bytes_total = (*shard)->file_bytes();
  return walk({{path, nullptr, nullptr}}, decode, threads, limits, progress);
}

// The versions to check; their manifests, as far as they are whole; what is wrong with the others.
struct Versions {
  std::vector<Manifest> manifests;
  std::vector<Damage> damages;
};

Result<Versions> read_versions(const std::string& path, std::uint64_t version, const Limits& limits) {
  std::vector<std::uint64_t> wanted = {version};
  if (version == 0) {
    HR_ASSIGN_OR_RETURN(wanted, list_versions(path));
    if (wanted.empty()) return read_manifest(path, 0, limits).status();  // which says so
  }
  Versions all;
  for (const std::uint64_t number : wanted) {
    Result<Manifest> manifest = read_manifest(path, number, limits);
    const Code code = manifest.status().code();
    // No statement about damage is possible.
    if (code == Code::kNotFound || code == Code::kIoError || code == Code::kUnsupported) return manifest.status();
    if (manifest) {
      all.manifests.push_back(std::move(manifest).value());
    } else {
      all.damages.push_back(whole_file({path + "/" + manifest_name(number), nullptr, nullptr}, manifest.status()));
    }
  }
  return all;
}

// Every shard once; one that two versions describe differently, once for each.
std::vector<Target> targets_of(const std::string& path, const std::vector<Manifest>& manifests) {
  std::vector<Target> targets;
  std::vector<const Schema*> schemas;  // those that differ
  std::multimap<std::string_view, Target> seen;
  for (const Manifest& manifest : manifests) {
    const auto same = std::find_if(schemas.begin(), schemas.end(), [&](const Schema* one) { return one->same_values(manifest.schema); });
    const Schema* const schema = same != schemas.end() ? *same : schemas.emplace_back(&manifest.schema);
    for (const ShardEntry& entry : manifest.shards) {
      const auto [begin, end] = seen.equal_range(entry.file_name);
      const auto known = [&](const auto& one) { return *one.second.entry == entry && one.second.schema == schema; };
      if (std::any_of(begin, end, known)) continue;
      targets.push_back({path + "/" + entry.file_name, &entry, schema});
      seen.emplace(entry.file_name, targets.back());
    }
  }
  return targets;
}

Result<VerifyReport> verify_dataset(const std::string& path, std::uint64_t version, bool decode, int threads, const Limits& limits,
                                    VerifyProgress& progress) {
  HR_ASSIGN_OR_RETURN(Versions versions, read_versions(path, version, limits));
  std::vector<Target> targets = targets_of(path, versions.manifests);
  std::uint64_t total = 0;
  for (const Target& target : targets) total += target.entry->file_bytes;
  progress.bytes_total = total;
  HR_ASSIGN_OR_RETURN(VerifyReport report, walk(std::move(targets), decode, threads, limits, progress));
  report.damages.insert(report.damages.begin(), std::make_move_iterator(versions.damages.begin()),
                        std::make_move_iterator(versions.damages.end()));
  return report;
}

}  // namespace

Result<VerifyReport> verify(const std::string& path, std::uint64_t version, bool decode, int threads, const Limits& limits,
                            VerifyProgress* progress) {
  VerifyProgress unwatched;
  VerifyProgress& seen = progress != nullptr ? *progress : unwatched;
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) return verify_dataset(path, version, decode, threads, limits, seen);
  return verify_shard(path, decode, threads, limits, seen);
}

}  // namespace headrace::format
