#include "headrace/format/dataset_writer.h"

#include <algorithm>
#include <bit>
#include <chrono>
#include <cinttypes>
#include <filesystem>
#include <mutex>
#include <new>

#include "headrace/base/fork.h"
#include "headrace/format/abandoned_files.h"
#include "headrace/format/chunk_queue.h"
#include "headrace/format/codec_choice.h"
#include "headrace/format/column_rows.h"
#include "headrace/format/storage_choice.h"
#include "headrace/storage/directory_lock.h"

namespace headrace::format {
namespace {

constexpr std::uint32_t kMaxAutoChunkSamples = 1u << 20;

std::int64_t wall_clock_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

Status differs(const char* what, const std::string& there, const std::string& here) {
  return {Code::kInvalidArgument,
          strf("append: %s is %s in the dataset and %s here; append needs the same fields", what, there.c_str(), here.c_str())};
}

std::string shape_text(const Field& field) {
  std::string text = "(";
  for (const std::uint64_t dim : field.shape) text += strf("%" PRIu64 ",", dim);
  return text + ")";
}

Status field_difference(const Field& there, const Field& here) {
  if (there.name != here.name) return differs("the name of a field", "'" + there.name + "'", "'" + here.name + "'");
  const std::string of = " of field '" + here.name + "'";
  if (there.kind != here.kind) return differs(("the kind" + of).c_str(), kind_name(there.kind), kind_name(here.kind));
  if (dtype_name(there) != dtype_name(here)) return differs(("the dtype" + of).c_str(), dtype_name(there), dtype_name(here));
  if (there.shape != here.shape) return differs(("the shape" + of).c_str(), shape_text(there), shape_text(here));
  if (there.nullable != here.nullable)
    return differs(("nullable" + of).c_str(), there.nullable ? "true" : "false", here.nullable ? "true" : "false");
  return {};
}

Status schema_difference(const Schema& there, const Schema& here) {
  if (there.container != here.container) return differs("the container", container_name(there.container), container_name(here.container));
  for (std::size_t i = 0; i < std::min(there.fields.size(), here.fields.size()); ++i)
    HR_RETURN_IF_ERROR(field_difference(there.fields[i], here.fields[i]));
  if (there.fields.size() == here.fields.size()) return {};
  return differs("the number of fields", strf("%zu", there.fields.size()), strf("%zu", here.fields.size()));
}

Status check_options(const Schema& schema, const WriterOptions& options) {
  const auto bad = [](const std::string& what) { return Status(Code::kInvalidArgument, "create a dataset: " + what); };
  if (options.chunk_bytes == 0 || options.shard_bytes == 0) return bad("chunk_bytes and shard_bytes must be at least 1");
  if (options.threads < 0) return bad(strf("threads is %d; expected 0 or more", options.threads));
  if (options.chunk_samples > options.limits.chunk_samples) {
    return {Code::kLimitExceeded,
            strf("create a dataset: chunk_samples is %u; the limit is %u", options.chunk_samples, options.limits.chunk_samples)};
  }
  if (!options.auto_codec.empty() && options.auto_codec.size() != schema.fields.size()) {
    return bad(strf("auto_codec has %zu entries for %zu fields", options.auto_codec.size(), schema.fields.size()));
  }
  for (const Field& field : schema.fields) {
    if (field.codec > codec::Codec::kZstd || field.codec == codec::Codec::kNone) continue;
    HR_RETURN_IF_ERROR(codec::check_level(field.codec, field.level).with_context(strf("field '%s'", field.name.c_str())));
  }
  return {};
}

// Makes the directory and its parents, durably: each new name is synced in its parent. `made`: the new ones, outermost first.
Status make_directory(const std::string& path, std::vector<std::filesystem::path>* made) {
  std::error_code error;
  std::filesystem::path target = std::filesystem::absolute(path, error).lexically_normal();
  if (!target.has_filename()) target = target.parent_path();  // "a/b/" is "a/b"
  std::vector<std::filesystem::path> missing;
  while (!error && !std::filesystem::is_directory(target, error) && target != target.parent_path()) {
    if (error == std::errc::no_such_file_or_directory) error.clear();
    missing.push_back(target);
    target = target.parent_path();
  }
  for (; !error && !missing.empty(); missing.pop_back()) {
    if (std::filesystem::create_directory(missing.back(), error)) made->push_back(missing.back());
    if (!error) HR_RETURN_IF_ERROR(storage::sync_directory(missing.back().parent_path().string()));
  }
  return error ? Status::from_errno(error.value(), "create directory " + path) : Status::ok();
}

// The directory, made if needed, and shared with other writers, so that nobody takes it for abandoned.
Result<storage::DirectoryLock> enter_directory(const std::string& path, std::vector<std::filesystem::path>* made) {
  constexpr int kAttempts = 16;
  Status gone;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    HR_RETURN_IF_ERROR(make_directory(path, made));
    Result<storage::DirectoryLock> lock = storage::DirectoryLock::share(path);
    if (lock.status().code() != Code::kNotFound) return lock;
    gone = lock.status();  // The writer that had made it gave up and took it away.
  }
  return gone;
}

}  // namespace

struct DatasetWriter::Impl {
  Impl(std::string directory, Schema with, WriterOptions writer_options)
      : path(std::move(directory)),
        schema(std::move(with)),
        options(std::move(writer_options)),
        chunk_samples(options.chunk_samples),
        rows(schema),
        queue(path, options.threads, options.shard_bytes, options.limits) {}

  // Waits for one's turn. Errors: kForked, or why the writer is closed.
  Result<std::unique_lock<std::mutex>> enter();
  Status take(std::span<const ColumnView> columns, std::uint64_t rows);
  Status choose_chunk_samples();
  Status seal(std::vector<ColumnChunk> columns, std::uint64_t samples);
  Status flush();
  Result<std::uint64_t> publish();
  void set_block_bytes();
  // Keeps the first error and takes back what was written.
  Status fail(Status status);
  void take_back();

  std::mutex calls;  // held by every call, and guards all below
  const std::string path;
  Schema schema;
  const WriterOptions options;
  std::uint32_t chunk_samples;         // 0 until it is known
  std::vector<bool> open_block_bytes;  // by field: ours to choose
  Manifest base;                       // what append adds to
  bool started = false;
  Status closed;  // why no call may follow, or ok
  std::uint64_t samples = 0, raw_bytes = 0;
  const std::uint64_t generation = fork_generation();
  std::vector<CodecChoice> choices;         // of the fields that options.auto_codec names
  std::vector<std::filesystem::path> made;  // directories, outermost first
  storage::DirectoryLock presence;
  Rows rows;
  ChunkQueue queue;
};

Result<std::unique_lock<std::mutex>> DatasetWriter::Impl::enter() {
  if (generation != fork_generation())
    return Status(Code::kForked, strf("write %s: this writer belongs to the parent process; make one after the fork", path.c_str()));
  std::unique_lock turn(calls);
  if (!closed.is_ok()) return closed;
  return turn;
}

Status DatasetWriter::Impl::fail(Status status) {
  closed = status.with_context("write " + path);
  take_back();
  return closed;
}

void DatasetWriter::Impl::take_back() {
  queue.remove_files();
  // Not from under another writer that came since.
  std::error_code error;
  const bool alone = !made.empty() && presence.try_alone();
  for (; alone && !error && !made.empty(); made.pop_back()) std::filesystem::remove(made.back(), error);  // as rmdir(): only if empty
  presence = {};
}

void DatasetWriter::Impl::set_block_bytes() {
  for (std::size_t f = 0; f < schema.fields.size(); ++f) {
    if (open_block_bytes[f]) schema.fields[f].block_bytes = std::min(default_block_bytes(schema.fields[f]), options.limits.block_bytes);
  }
}

// The first chunk decides what was left open, before any is encoded.
Status DatasetWriter::Impl::seal(std::vector<ColumnChunk> columns, std::uint64_t count) {
  if (!started) {
    for (std::size_t f = 0; f < options.auto_codec.size(); ++f) {
      if (options.auto_codec[f] == 0) continue;
      HR_ASSIGN_OR_RETURN(CodecChoice choice, choose_codec(columns[f], schema.fields[f]));
      choices.push_back(std::move(choice));
    }
    set_block_bytes();
    Dictionaries dictionaries(schema.fields.size());
    for (std::size_t f = 0; f < schema.fields.size(); ++f) {
      HR_ASSIGN_OR_RETURN(dictionaries[f], train_dictionary(columns[f], schema.fields[f]));
    }
    set_block_bytes();  // Again: without a dictionary to be had, blocks are larger.
    HR_RETURN_IF_ERROR(schema.validate(options.limits));
    queue.start(schema, std::move(dictionaries), chunk_samples);
    started = true;
  }
  return queue.push(std::move(columns), static_cast<std::uint32_t>(count));
}

// From the rows gathered so far: the largest power of two whose chunk would not exceed chunk_bytes.
Status DatasetWriter::Impl::choose_chunk_samples() {
  const std::uint64_t most = std::min(kMaxAutoChunkSamples, options.limits.chunk_samples);
  // Rows without bytes divide by zero: infinitely many fit.
  const auto fit = static_cast<double>(options.chunk_bytes) / static_cast<double>(rows.bytes()) * static_cast<double>(rows.count());
  const auto wanted = static_cast<std::uint64_t>(std::clamp(fit, 1.0, static_cast<double>(most)));
  chunk_samples = static_cast<std::uint32_t>(std::bit_floor(wanted));
  std::uint64_t at = 0;
  for (; rows.count() - at >= chunk_samples; at += chunk_samples)
    HR_RETURN_IF_ERROR(seal(rows.copy(at, at + chunk_samples), chunk_samples));
  rows.drop_front(at);
  return {};
}

Status DatasetWriter::Impl::take(std::span<const ColumnView> columns, std::uint64_t count) {
  for (std::uint64_t at = 0; at < count;) {
    const bool gathering = chunk_samples == 0;
    const std::uint64_t room = (gathering ? kMaxAutoChunkSamples : chunk_samples) - rows.count();
    std::uint64_t end = at + std::min(room, count - at);
    // The rows that reach chunk_bytes, whatever the calls they come in: the choice depends on the data alone.
    if (gathering) end = rows_reaching(schema, columns, at, end, options.chunk_bytes - std::min(options.chunk_bytes, rows.bytes()));
    const std::uint64_t bytes = rows.bytes() + view_bytes(schema, columns, at, end);
    const std::uint64_t held = rows.count() + (end - at);
    if (!gathering && held > 1 && bytes > options.limits.chunk_bytes) {
      return {Code::kLimitExceeded,
              strf("a chunk of %u samples grows to %" PRIu64 " bytes and more; the limit is %" PRIu64 ": set chunk_samples to %" PRIu64
                   " or less",
                   chunk_samples, bytes, options.limits.chunk_bytes, std::max<std::uint64_t>(1, std::bit_floor(held / 2)))};
    }
    rows.append(columns, at, end);
    at = end;
    if (gathering) {
      if (rows.bytes() >= options.chunk_bytes || rows.count() == kMaxAutoChunkSamples) HR_RETURN_IF_ERROR(choose_chunk_samples());
    } else if (rows.count() == chunk_samples) {
      HR_RETURN_IF_ERROR(seal(rows.take(queue.take_spare()), chunk_samples));
    }
  }
  return {};
}

Status DatasetWriter::Impl::flush() {
  if (rows.count() > 0 && chunk_samples == 0) HR_RETURN_IF_ERROR(choose_chunk_samples());
  if (rows.count() == 0) return {};
  const std::uint64_t count = rows.count();
  return seal(rows.take({}), count);
}

Result<std::uint64_t> DatasetWriter::Impl::publish() {
  HR_RETURN_IF_ERROR(flush());
  HR_ASSIGN_OR_RETURN(std::vector<ShardEntry> shards, queue.finish());
  Manifest manifest = base;
  if (!options.append) {
    HR_ASSIGN_OR_RETURN(manifest.uuid, random_uuid());
    manifest.version = 0;
  }
  ++manifest.version;
  manifest.created_ns = wall_clock_ns();
  manifest.schema = schema;
  manifest.shards.insert(manifest.shards.end(), shards.begin(), shards.end());
  if (manifest.shards.size() > options.limits.shards) {
    return Status(Code::kLimitExceeded,
                  strf("%zu shards; the limit is %u: use a larger shard_bytes", manifest.shards.size(), options.limits.shards));
  }
  const Status status = publish_manifest(path, manifest);
  if (status.code() == Code::kAlreadyExists) {
    return Status(Code::kAlreadyExists, strf("another writer published version %" PRIu64
                                             " first; nothing of this one was kept: open the dataset and append again",
                                             manifest.version));
  }
  if (!status.is_ok()) {
    // It may stand all the same, if only the directory's sync failed: then its shards must stay.
    const Result<Manifest> seen = read_manifest(path, manifest.version, options.limits);
    if (!seen || seen->shards != manifest.shards) return status;
    closed = status;
    return status;
  }
  return manifest.version;
}

Result<std::unique_ptr<DatasetWriter>> DatasetWriter::create(const std::string& path, Schema schema, WriterOptions options) {
  HR_RETURN_IF_ERROR(check_options(schema, options));
  Manifest base;
  std::vector<std::filesystem::path> made;
  storage::DirectoryLock presence;
  if (options.append) {
    HR_ASSIGN_OR_RETURN(base, read_manifest(path, 0, options.limits));
    HR_ASSIGN_OR_RETURN(presence, storage::DirectoryLock::share(path));
    HR_RETURN_IF_ERROR(schema_difference(base.schema, schema));
    // What describes the data outlives an append that does not speak of it.
    if (schema.metadata.empty()) schema.metadata = base.schema.metadata;
    for (std::size_t f = 0; f < schema.fields.size(); ++f) {
      if (schema.fields[f].metadata.empty()) schema.fields[f].metadata = base.schema.fields[f].metadata;
    }
  } else {
    HR_ASSIGN_OR_RETURN(presence, enter_directory(path, &made));
    HR_ASSIGN_OR_RETURN(const std::vector<std::uint64_t> versions, list_versions(path));
    if (!versions.empty()) {
      return Status(Code::kAlreadyExists,
                    strf("create dataset %s: there is one, of version %" PRIu64 "; append to it, or choose another path", path.c_str(),
                         versions.back()));
    }
  }
  std::unique_ptr<DatasetWriter> writer(new DatasetWriter());
  writer->impl_ = std::make_unique<Impl>(path, std::move(schema), std::move(options));
  Impl& impl = *writer->impl_;
  impl.made = std::move(made);
  impl.presence = std::move(presence);
  for (const Field& field : impl.schema.fields) impl.open_block_bytes.push_back(field.block_bytes == 0);
  impl.set_block_bytes();
  HR_RETURN_IF_ERROR(impl.schema.validate(impl.options.limits));
  impl.base = std::move(base);
  remove_abandoned_temporaries(path);
  return writer;
}

DatasetWriter::~DatasetWriter() {
  if (impl_->generation != fork_generation()) {
    static_cast<void>(impl_.release());  // Leaked on purpose: its locks and its tasks are the parent's.
    return;
  }
  abort();
}

Status DatasetWriter::extend(std::span<const ColumnView> columns, std::uint64_t rows) {
  HR_ASSIGN_OR_RETURN(const auto turn, impl_->enter());
  const std::vector<Field>& fields = impl_->schema.fields;
  if (columns.size() != fields.size())
    return {Code::kInvalidArgument, strf("write %s: %zu columns for %zu fields", impl_->path.c_str(), columns.size(), fields.size())};
  if (rows == 0) return {};
  for (std::size_t f = 0; f < fields.size(); ++f)
    HR_RETURN_IF_ERROR(check_view(fields[f], columns[f], rows).with_context("write " + impl_->path));
  try {
    const Status status = impl_->take(columns, rows);
    if (!status.is_ok()) return impl_->fail(status);
  } catch (const std::exception& error) {  // Memory, or a thread that the system refuses: half of the rows may be taken.
    return impl_->fail({Code::kOutOfMemory, strf("take %" PRIu64 " rows: %s", rows, error.what())});
  }
  impl_->samples += rows;
  for (std::size_t f = 0; f < fields.size(); ++f) {
    const ColumnView& view = columns[f];
    impl_->raw_bytes += fields[f].is_variable() ? view.offsets[rows] - view.offsets[0] : view.values.size();
  }
  return {};
}

Result<std::uint64_t> DatasetWriter::commit() {
  HR_ASSIGN_OR_RETURN(const auto turn, impl_->enter());
  Result<std::uint64_t> version = Status();
  try {
    version = impl_->publish();
  } catch (const std::exception& error) {
    version = Status(Code::kOutOfMemory, strf("commit: %s", error.what()));
  }
  if (version) {
    impl_->closed = {Code::kClosed,
                     strf("write %s: version %" PRIu64 " is committed; make another writer to append", impl_->path.c_str(), *version)};
    impl_->presence = {};
    return version;
  }
  if (!impl_->closed.is_ok()) return impl_->closed;
  return impl_->fail(version.status());
}

void DatasetWriter::abort() {
  const auto turn = impl_->enter();
  if (!turn) return;
  impl_->closed = {Code::kClosed, strf("write %s: the writer was aborted", impl_->path.c_str())};
  impl_->take_back();
}

DatasetWriter::Progress DatasetWriter::progress() const {
  if (impl_->generation != fork_generation()) return {};
  const std::lock_guard turn(impl_->calls);
  return {impl_->samples, impl_->raw_bytes, impl_->queue.stored_bytes(), impl_->queue.finished_shards()};
}

std::vector<CodecChoice> DatasetWriter::choices() const {
  if (impl_->generation != fork_generation()) return {};
  const std::lock_guard turn(impl_->calls);
  return impl_->choices;
}

Schema DatasetWriter::schema() const {
  // In a child nobody writes any more, and the lock may be held for ever.
  if (impl_->generation != fork_generation()) return impl_->schema;
  const std::lock_guard turn(impl_->calls);
  return impl_->schema;
}

}  // namespace headrace::format
