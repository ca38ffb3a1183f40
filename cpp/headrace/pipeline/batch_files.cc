// Values that are whole files, and images: decoded once all encoded bytes of the batch are in its slab, or straight from their files.
#include <algorithm>
#include <cstring>

#include "headrace/ops/image_plan.h"
#include "headrace/pipeline/batch_builder.h"
#include "headrace/pipeline/permutation.h"

namespace headrace::pipeline {
namespace {

// Encoded bytes of work in a piece: about a millisecond of decoding.
constexpr std::uint64_t kImageBytes = 32u << 10;
constexpr std::size_t kKeptFileBytes = 16u << 20;  // of a thread's buffer for files

Status file_too_large(const std::string& path, std::uint64_t bytes, std::uint64_t most) {
  return {Code::kLimitExceeded, strf("read %s: its %llu bytes are more than the %llu that a batch may take", path.c_str(),
                                     static_cast<unsigned long long>(bytes), static_cast<unsigned long long>(most))};
}

}  // namespace

void set_plans(const std::vector<std::uint32_t>& fields,
               const std::vector<std::pair<std::uint32_t, std::shared_ptr<const ops::ImagePlan>>>& images, BuildContext& context) {
  if (images.empty()) return;
  auto prepared = std::make_shared<format::Schema>(*context.schema);
  context.plans.assign(fields.size(), nullptr);
  for (const auto& [field, plan] : images) {
    context.plans[static_cast<std::size_t>(std::find(fields.begin(), fields.end(), field) - fields.begin())] = plan;
    prepared->fields[field] = plan->field_of(prepared->fields[field]);
  }
  context.prepared = std::move(prepared);
}

Status check_image(const Dataset& dataset, const std::vector<std::uint32_t>& fields, std::uint32_t field) {
  if (std::find(fields.begin(), fields.end(), field) == fields.end())
    return {Code::kInvalidArgument, strf("prepare images of field number %u: it is not delivered", field)};
  const format::Field& found = dataset.schema().fields[field];
  if (found.kind == format::Kind::kImage || found.kind == format::Kind::kBytes) return Status::ok();
  return {Code::kInvalidArgument,
          "prepare images of field '" + found.name + "': it holds " + format::kind_name(found.kind) + " values, no encoded images"};
}

void BatchBuilder::set_epoch(std::uint64_t epoch) { draws_ = mix_key(context_.seed, epoch); }

void BatchBuilder::reuse_images(const BatchBuilder& before) {
  if (context_.plans.empty()) return;
  before_ = &before;
  for (std::size_t slot = 0; slot < before.samples_.size(); ++slot) slots_before_[before.samples_[slot]] = slot;
  for (const SampleError& error : before.errors_) slots_before_.erase(before.samples_[error.slot]);
}

// Rows in the order of the batch: there are no chunks to group them by.
void BatchBuilder::list_rows() {
  rows_.reserve(samples_.size());
  for (std::uint32_t slot = 0; slot < samples_.size(); ++slot) rows_.push_back({samples_[slot], slot, {}, 1, 0});
  row_failed_.assign(rows_.size(), false);
}

const FileList& BatchBuilder::files() const { return *context_.dataset->table()->files(); }

void BatchBuilder::measure_files(std::size_t out_field) {
  Values& values = values_[out_field];
  values.length.assign(rows_.size(), 0);
  for (std::size_t row = 0; row < rows_.size(); ++row) {
    const std::uint64_t file = context_.dataset->table()->row_of(samples_[row]);
    const Result<std::uint64_t> size = files().ask_for(file);
    Status status = size.status();
    if (size.is_ok()) {
      values.length[row] = *size;
      if (is_image_file(out_field) && *size > context_.most_bytes) status = file_too_large(files().path(file), *size, context_.most_bytes);
    }
    if (status.is_ok()) continue;
    row_failed_[row] = true;
    add_error(static_cast<std::uint32_t>(row), status);
  }
}

void BatchBuilder::run_files(const Piece& piece) {
  const std::size_t field = piece.file_field;
  const Values& values = values_[field];
  for (std::size_t row = piece.begin; row < piece.end; ++row) {
    if (row_failed_[row]) continue;
    std::uint8_t* const to = batch_.slab->data() + batch_.fields[field].values_at + values.out[row];
    const Status status = files().read(context_.dataset->table()->row_of(samples_[row]), {to, values.length[row]});
    if (!status.is_ok()) add_error(static_cast<std::uint32_t>(row), status);
  }
}

void BatchBuilder::cut_files() {
  for (std::size_t i = 0; i < direct_.size(); ++i) {
    if (!is_file(i) || is_image_file(i)) continue;
    const std::vector<std::uint64_t>& lengths = values_[i].length;
    for (std::size_t from = 0, end = 0; from < rows_.size(); from = end) {
      std::uint64_t bytes = 0;
      while (end < rows_.size() && bytes < kFileBytes) bytes += lengths[end++];
      pieces_.push_back({false, from, end, i});
    }
  }
}

std::size_t BatchBuilder::begin_images() {
  image_pieces_.clear();
  if (samples_.empty() || lacks_sources_) return 0;
  if (context_.field_plan != nullptr) convert_staged();  // The plan reads what was staged.
  cut_images();
  cut_plan();
  return image_pieces_.size();
}

void BatchBuilder::cut_images() {
  if (context_.plans.empty()) return;
  failed_slots_.assign(samples_.size(), false);
  for (const SampleError& error : errors_) failed_slots_[error.slot] = true;
  if (context_.mix.has_value()) read_labels();
  for (std::size_t i = 0; i < context_.plans.size(); ++i) {
    if (context_.plans[i] == nullptr) continue;
    for (std::size_t from = 0, end = 0; from < samples_.size(); from = end) {
      std::uint64_t bytes = encoded_bytes(i, end++);
      while (end < samples_.size() && (bytes += encoded_bytes(i, end)) <= kImageBytes) ++end;
      image_pieces_.push_back({i, from, end});
    }
  }
}

BatchBuilder::Extent BatchBuilder::encoded(std::size_t out_field, std::size_t slot) const {
  const std::uint8_t* const offsets = batch_.slab->data() + batch_.fields[out_field].offsets_at;
  return {load_le<std::uint64_t>(offsets + slot * 8), load_le<std::uint64_t>(offsets + slot * 8 + 8)};
}

std::uint64_t BatchBuilder::encoded_bytes(std::size_t out_field, std::size_t slot) const {
  if (is_image_file(out_field)) return values_[out_field].length[slot];
  const Extent extent = encoded(out_field, slot);
  return extent.end - extent.begin;
}

Result<Bytes> BatchBuilder::read_image(std::size_t out_field, std::size_t slot, io::ScopedTime& images) const {
  thread_local std::vector<std::uint8_t> buffer;
  images.stop();
  Status status;
  const std::size_t bytes = values_[out_field].length[slot];
  {
    io::ScopedTime reading(context_.counters->assemble_ns);
    if (buffer.size() > kKeptFileBytes && bytes <= kKeptFileBytes) buffer = {};
    if (buffer.size() < bytes) buffer.resize(bytes);
    status = files().read(context_.dataset->table()->row_of(samples_[slot]), {buffer.data(), bytes});
  }
  images.start();
  if (!status.is_ok()) return status;
  return Bytes{buffer.data(), bytes};
}

std::string BatchBuilder::image_origin(std::size_t out_field, std::size_t slot) const {
  if (is_file(out_field)) return files().path(context_.dataset->table()->row_of(samples_[slot]));
  const Location& at = places_[slot];
  return sources_[at.shard]->shard().describe(at.chunk, context_.fields[out_field]) + strf(", row %u", at.row);
}

void BatchBuilder::run_images(std::size_t piece) {
  const ImagePiece& part = image_pieces_[piece];
  if (part.out_field == kNoField) {
    io::StageTime time(context_.counters->field_plan_ns, weight_);
    run_plan(part);
  } else {
    io::ScopedTime time(context_.counters->image_ns);
    run_image_piece(part, time);
  }
}

void BatchBuilder::run_image_piece(const ImagePiece& part, io::ScopedTime& images) {
  const ops::ImagePlan& plan = *context_.plans[part.out_field];
  const FieldOut& from = batch_.fields[part.out_field];
  std::uint8_t* const slab = batch_.slab->data();
  for (std::size_t slot = part.begin; slot < part.end; ++slot) {
    if (failed_slots_[slot]) continue;
    std::uint8_t* const to = slab + prepared_at_[part.out_field] + slot * plan.bytes();
    if (const auto found = slots_before_.find(samples_[slot]); found != slots_before_.end()) {
      std::memcpy(to, before_->batch_.slab->data() + before_->prepared_at_[part.out_field] + found->second * plan.bytes(), plan.bytes());
      continue;
    }
    if (is_image_file(part.out_field)) {
      const Result<Bytes> file = read_image(part.out_field, slot, images);
      if (!file.is_ok()) {
        add_error(static_cast<std::uint32_t>(slot), file.status());
      } else if (const Status status = plan.run(*file, {draws_, samples_[slot]}, to); !status.is_ok()) {
        add_error(static_cast<std::uint32_t>(slot), status.with_context(image_origin(part.out_field, slot)));
      }
      continue;
    }
    const Extent bytes = encoded(part.out_field, slot);
    if (from.valid_at != FieldOut::kAbsent && slab[from.valid_at + slot] == 0) {
      std::memset(to, 0, plan.bytes());
      continue;
    }
    const Status status = plan.run({slab + from.values_at + bytes.begin, bytes.end - bytes.begin}, {draws_, samples_[slot]}, to);
    if (!status.is_ok()) add_error(static_cast<std::uint32_t>(slot), status.with_context(image_origin(part.out_field, slot)));
  }
}

// The decoded images in place of the encoded ones.
void BatchBuilder::deliver_images() {
  for (std::size_t i = 0; i < context_.plans.size(); ++i) {
    if (context_.plans[i] == nullptr) continue;
    FieldOut out;
    out.field = context_.fields[i];
    out.row_bytes = context_.plans[i]->bytes();
    out.values_at = prepared_at_[i];
    out.values_bytes = out.row_bytes * samples_.size();
    out.valid_at = batch_.fields[i].valid_at;
    batch_.fields[i] = out;
  }
  batch_.schema = context_.prepared;
}

}  // namespace headrace::pipeline
