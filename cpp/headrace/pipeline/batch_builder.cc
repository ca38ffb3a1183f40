// The plan of a batch. Validity and offsets: batch_sides.cc; its blocks: batch_needs.cc; its pieces: batch_pieces.cc; what it reads by
// position: batch_reads.cc.
#include "headrace/pipeline/batch_builder.h"

#include <algorithm>
#include <cerrno>
#include <cinttypes>
#include <cstring>
#include <map>
#include <numeric>

#include "headrace/ops/cast.h"

namespace headrace::pipeline {
namespace {

using format::Section;
using format::SectionRef;

// Bytes of work in a piece: large against the cost of handing one out (about 2 us), small against a batch.
constexpr std::uint64_t kPieceBytes = 256u << 10;
constexpr std::size_t kPartAlignment = 64;  // of the parts of a batch: a cache line, and what vector code likes

// Whether a failure to open a shard is the shard's own: other samples can be read all the same. What the process or the machine lacks
// would meet every shard, and must not be taken for damage.
bool is_of_shard(const Status& status) {
  if (status.code() == Code::kIoError) return status.sys_errno() != EMFILE && status.sys_errno() != ENFILE;
  return status.code() == Code::kCorrupt || status.code() == Code::kTruncated || status.code() == Code::kChanged ||
         status.code() == Code::kNotFound || status.code() == Code::kUnsupported || status.code() == Code::kLimitExceeded;
}

}  // namespace

Result<Ragged> ragged_from_name(std::string_view name) {
  if (name == "padded") return Ragged::kPadded;
  if (name == "offsets") return Ragged::kOffsets;
  return Status(Code::kInvalidArgument, "ragged is '" + std::string(name) + "'; expected 'padded' or 'offsets'");
}

Result<OnError> on_error_from_name(std::string_view name) {
  if (name == "raise") return OnError::kRaise;
  if (name == "skip") return OnError::kSkip;
  if (name == "replace") return OnError::kReplace;
  return Status(Code::kInvalidArgument, "on_error is '" + std::string(name) + "'; expected 'raise', 'skip' or 'replace'");
}

BatchBuilder::BatchBuilder(const BuildContext& context, std::vector<std::uint64_t> samples)
    : context_(context), samples_(std::move(samples)) {
  if (context_.dataset->view().rows == nullptr) return;
  const std::vector<std::uint64_t>& rows = *context_.dataset->view().rows;
  asked_ = samples_;
  for (std::uint64_t& sample : samples_) sample = rows[sample];
}

Status BatchBuilder::prepare() {
  io::StageTime planning(context_.counters->plan_ns, weight_);
  return prepare(planning);
}

Status BatchBuilder::prepare(io::StageTime& planning) {
  HR_RETURN_IF_ERROR(begin(nullptr));
  if (lacks_sources_) return Status::ok();
  if (side_bytes_.num_groups() > 0) {  // Reading counts its own time.
    planning.stop();
    side_bytes_.read_now(context_.counters->io);
    planning.start();
  }
  reads_rounds_ = true;
  HR_RETURN_IF_ERROR(measure());
  return finish_plan();
}

Status BatchBuilder::begin(ChunkAhead* ahead) {
  makes_runs_ = context_.dataset->view().length != 0;
  HR_RETURN_IF_ERROR(open_sources());
  if (lacks_sources_) return Status::ok();  // Nothing of it can be used; errors() says whose fault that is.
  find_conversions();
  const std::size_t count = context_.fields.size();
  values_.resize(count);
  valid_.resize(count);
  if (context_.dataset->table() != nullptr) {
    if (std::find(direct_.begin(), direct_.end(), false) != direct_.end()) list_rows();
    return Status::ok();
  }
  bool sorted = false;
  for (std::size_t i = 0; i < count; ++i) sorted = sorted || !direct_[i] || field_of(i).nullable;
  if (sorted) sort_rows();
  pages_.resize(count);
  for (std::size_t i = 0; i < count; ++i) {
    if (!direct_[i] || field_of(i).nullable) find_pages(i);
  }
  pages_go_ = !positional_ && !context_.dataset->stays_in_memory();
  read_ahead_ = ahead != nullptr && !pages_go_;
  if (!positional_) {
    ask_for_pages();
    return Status::ok();
  }
  if (read_ahead_ && !makes_runs_) find_images(*ahead);
  return want_sides();
}

Status BatchBuilder::measure() {
  if (lacks_sources_) return Status::ok();
  const std::size_t count = context_.fields.size();
  if (positional_) take_tables();
  for (std::size_t i = 0; i < count; ++i) {
    if (is_file(i)) {
      measure_files(i);
    } else if (field_of(i).is_variable() || field_of(i).nullable) {
      HR_RETURN_IF_ERROR(read_sides(i));
    }
  }
  HR_RETURN_IF_ERROR(lay_out());
  for (std::size_t i = 0; i < count; ++i) {
    if (direct_[i] || is_image_file(i)) continue;
    if (!field_of(i).is_variable() && is_changed(i)) place_runs(i);
    find_needs(i);
  }
  cut_pieces();
  if (positional_ && !reads_rounds_) want_values(0, ~std::uint64_t{0});
  return Status::ok();
}

Status BatchBuilder::finish_plan() {
  if (lacks_sources_) return Status::ok();
  HR_ASSIGN_OR_RETURN(batch_.slab, context_.slabs->acquire(slab_bytes_));
  const std::size_t count = context_.fields.size();
  for (std::size_t i = 0; i < count; ++i) {
    if (batch_.fields[i].valid_at != FieldOut::kAbsent && !samples_.empty())
      std::memcpy(batch_.slab->data() + batch_.fields[i].valid_at, valid_[i].data(), samples_.size());
    if (direct_[i]) {
      will_need_direct(i);
    } else if (field_of(i).is_variable() && !is_image_file(i)) {
      place_values(i);
    }
  }
  if (positional_) return reads_rounds_ ? Status::ok() : value_bytes_.lease(*context_.slabs);
  ask_for_blocks();
  return Status::ok();
}

Status BatchBuilder::open_sources() {
  const Dataset& dataset = *context_.dataset;
  if (dataset.table() != nullptr) {
    direct_.resize(context_.fields.size());
    for (std::size_t i = 0; i < direct_.size(); ++i) direct_[i] = !is_file(i);
    return Status::ok();
  }
  runtime_ = &dataset.runtime();
  places_.resize(samples_.size());
  const std::uint64_t stride = dataset.view().stride;
  if (stride == 1) {
    dataset.locate(samples_, places_);
  } else {
    for (std::size_t i = 0; i < samples_.size(); ++i) places_[i] = dataset.locate(samples_[i] * stride);
  }
  sources_.assign(dataset.manifest().shards.size(), nullptr);
  revisions_.assign(sources_.size(), 0);
  direct_.resize(context_.fields.size());
  for (std::size_t i = 0; i < direct_.size(); ++i) direct_[i] = !field_of(i).is_variable();
  std::map<std::uint32_t, Status> closed;  // shards that cannot be opened
  for (std::uint32_t i = 0; i < places_.size(); ++i) {
    if (i > 0 && sources_.size() == 1 && closed.empty()) break;
    const std::uint32_t last = makes_runs_ ? dataset.locate(samples_[i] * stride + dataset.view().length - 1).shard : places_[i].shard;
    for (std::uint32_t shard = places_[i].shard; shard <= last; ++shard) {
      if (sources_[shard] != nullptr) continue;
      auto known = closed.find(shard);
      if (known == closed.end()) {
        Status status = open_source(shard);
        if (status.is_ok()) continue;
        if (!is_of_shard(status)) return status;
        known = closed.emplace(shard, std::move(status)).first;
      }
      add_error(i, known->second);
      break;
    }
  }
  lacks_sources_ = !closed.empty();
  return Status::ok();
}

Status BatchBuilder::open_source(std::uint32_t shard) {
  HR_ASSIGN_OR_RETURN(sources_[shard], context_.dataset->source(shard, *runtime_));
  const io::ShardSource& source = *sources_[shard];
  revisions_[shard] = source.revision();
  positional_ = !source.is_mapped();
  for (std::size_t i = 0; i < direct_.size(); ++i) {
    const format::Field& field = source.shard().schema().fields[context_.fields[i]];
    if (!source.is_mapped() || field.is_variable() || field.codec != codec::Codec::kNone || field.filter != codec::Filter::kNone)
      direct_[i] = false;
  }
  return Status::ok();
}

void BatchBuilder::find_conversions() {
  conversions_.resize(context_.fields.size());
  for (std::size_t i = 0; i < conversions_.size(); ++i) {
    const format::Field& stored = context_.dataset->stored_schema().fields[context_.fields[i]];
    Conversion& c = conversions_[i];
    c = {stored.dtype, field_of(i).dtype, stored.itemsize, field_of(i).itemsize, stored.row_bytes()};
    c.needed = c.from != c.to;
    for (const io::ShardSource* source : sources_) {
      if (source == nullptr || direct_[i] || !c.needed) continue;
      c.staged = c.staged || source->shard().schema().fields[context_.fields[i]].block_bytes % c.in_bytes != 0;
    }
  }
}

void BatchBuilder::sort_rows() {
  // Row numbers grow with (shard, chunk, row), so sorting by them groups by place.
  rows_.reserve(samples_.size());
  const std::uint64_t stride = context_.dataset->view().stride;
  for (std::uint32_t slot = 0; slot < samples_.size(); ++slot) {
    for_each_run(slot, [&](const Location& at, std::uint64_t first, std::uint32_t count) {
      rows_.push_back({samples_[slot] * stride + first, slot, at, count, first});
    });
  }
  std::sort(rows_.begin(), rows_.end(),
            [](const Row& a, const Row& b) { return a.number != b.number ? a.number < b.number : a.slot < b.slot; });
  row_failed_.assign(rows_.size(), false);
  chunk_rows_.resize(rows_.size());
  slots_.resize(rows_.size());
  for (std::uint32_t row = 0; row < rows_.size(); ++row) {
    const Location& at = rows_[row].at;
    chunk_rows_[row] = at.row;
    slots_[row] = rows_[row].slot;
    if (runs_.empty() || runs_.back().chunk != at.chunk || runs_.back().shard != at.shard) runs_.push_back({at.shard, at.chunk, row, row});
    runs_.back().end_row = row + 1;
  }
}

void BatchBuilder::find_pages(std::size_t out_field) {
  pages_[out_field].reserve(runs_.size());
  for (const Run& run : runs_) pages_[out_field].push_back(sources_[run.shard]->shard().page(run.chunk, context_.fields[out_field]));
}

Status BatchBuilder::lay_out() {
  const std::size_t count = samples_.size();
  std::size_t at = 0;
  bool fits = true;
  const auto part = [&](std::uint64_t items, std::uint64_t bytes) {
    const std::size_t from = at;
    std::uint64_t size = 0, end = 0;
    fits = fits && checked_mul(items, bytes, &size) && size < (1ull << 48) && checked_add(at, size + kPartAlignment, &end);
    at = fits ? round_up(at + size, kPartAlignment) : at;
    return from;
  };
  for (std::size_t i = 0; i < context_.fields.size(); ++i) {
    const format::Field& field = field_of(i);
    FieldOut out;
    out.field = context_.fields[i];
    out.row_bytes = field.row_bytes();
    if (!field.is_variable()) {
      out.values_bytes = is_read_in_place(i) ? 0 : count * out.row_bytes;
    } else if (!is_image_file(i)) {
      const std::vector<std::uint64_t>& lengths = values_[i].length;
      out.padded = field.kind == format::Kind::kRagged && context_.ragged == Ragged::kPadded;
      if (out.padded) {
        const std::uint64_t longest = lengths.empty() ? 0 : conversions_[i].delivered(*std::max_element(lengths.begin(), lengths.end()));
        out.longest = longest / std::max<std::uint64_t>(1, out.row_bytes);
        out.lengths_at = part(count, 8);
        std::uint64_t padded_bytes = 0;
        fits = fits && checked_mul(longest, count, &padded_bytes);
        out.values_bytes = padded_bytes;
      } else {
        out.offsets_at = part(count + 1, 8);
        for (const std::uint64_t length : lengths) {
          fits = fits && checked_add(out.values_bytes, conversions_[i].delivered(length), &out.values_bytes);
        }
      }
    }
    if (field.nullable) out.valid_at = part(count, 1);
    out.values_at = part(out.values_bytes, 1);
    if (conversions_[i].staged) {
      const std::vector<std::uint64_t>& lengths = values_[i].length;
      const std::uint64_t bytes = field.is_variable() ? std::accumulate(lengths.begin(), lengths.end(), std::uint64_t{0})
                                                      : out.values_bytes / conversions_[i].out_bytes * conversions_[i].in_bytes;
      conversions_[i].staged_at = part(bytes, 1);
    }
    batch_.fields.push_back(out);
  }
  prepared_at_.assign(context_.plans.size(), 0);
  for (std::size_t i = 0; i < context_.plans.size(); ++i) {
    if (context_.plans[i] != nullptr) prepared_at_[i] = part(count, context_.plans[i]->bytes());
  }
  if (context_.mix.has_value()) mixed_at_ = part(count, std::uint64_t{context_.mix->mix->classes()} * 4);
  if (context_.field_plan != nullptr) {
    for (const ops::PlanOutput& output : context_.field_plan->outputs())
      made_at_.push_back(output.kept || output.form.is_variable() || is_counted(made_at_.size()) ? 0
                                                                                                 : part(count, output.form.row_bytes()));
  }
  slab_bytes_ = std::max<std::size_t>(at, 1);
  return fits && slab_bytes_ <= context_.most_bytes ? Status::ok() : too_large();
}

// Names the longest sample where padding makes the batch what it is.
Status BatchBuilder::too_large() const {
  std::string text = strf("assemble a batch of %zu samples: it takes more than %" PRIu64 " bytes", samples_.size(), context_.most_bytes);
  for (std::size_t i = 0; i < batch_.fields.size(); ++i) {
    const std::vector<std::uint64_t>& lengths = values_[i].length;
    if (!batch_.fields[i].padded || batch_.fields[i].longest == 0) continue;
    const auto longest = std::max_element(lengths.begin(), lengths.end());
    const std::uint64_t sample = samples()[rows_[static_cast<std::size_t>(longest - lengths.begin())].slot];
    text += strf("; field '%s' is padded to the %" PRIu64 " values of sample %" PRIu64, field_of(i).name.c_str(), batch_.fields[i].longest,
                 sample);
  }
  return {Code::kLimitExceeded, text + "; use a smaller batch_size or ragged='offsets'"};
}

// Writes lengths or offsets of a variable field, pads, and notes where each row's bytes go.
void BatchBuilder::place_values(std::size_t out_field) {
  const FieldOut& out = batch_.fields[out_field];
  Values& values = values_[out_field];
  const Conversion& conversion = conversions_[out_field];
  const std::uint64_t step = std::max<std::uint64_t>(1, out.row_bytes);
  std::vector<std::uint64_t> by_slot(rows_.size());
  for (std::size_t row = 0; row < rows_.size(); ++row) by_slot[rows_[row].slot] = conversion.delivered(values.length[row]);
  std::uint8_t* slab = batch_.slab->data();
  std::vector<std::uint64_t> begin(by_slot.size());
  std::uint64_t at = 0;
  for (std::size_t slot = 0; slot < by_slot.size(); ++slot) {
    const std::uint64_t length = by_slot[slot];
    if (out.padded) {
      begin[slot] = slot * out.longest * out.row_bytes;
      store_le<std::int64_t>(slab + out.lengths_at + slot * 8, static_cast<std::int64_t>(length / step));
      std::memset(slab + out.values_at + begin[slot] + length, 0, out.longest * out.row_bytes - length);
    } else {
      begin[slot] = at;
      store_le<std::int64_t>(slab + out.offsets_at + slot * 8, static_cast<std::int64_t>(at / step));
      at += length;
    }
  }
  if (!out.padded) store_le<std::int64_t>(slab + out.offsets_at + by_slot.size() * 8, static_cast<std::int64_t>(at / step));
  values.out.resize(rows_.size());
  for (std::size_t row = 0; row < rows_.size(); ++row) values.out[row] = begin[rows_[row].slot];
  place_staged(values, conversion);
}

// The same for a fixed field that a view changes: by rows, or by runs of them.
void BatchBuilder::place_runs(std::size_t out_field) {
  Values& values = values_[out_field];
  const Conversion& conversion = conversions_[out_field];
  const std::uint64_t sample_bytes = batch_.fields[out_field].row_bytes;
  for (const Row& row : rows_) {
    values.begin.push_back(row.at.row * conversion.row_bytes);
    values.length.push_back(row.count * conversion.row_bytes);
    values.out.push_back(row.slot * sample_bytes + conversion.delivered(row.first * conversion.row_bytes));
  }
  place_staged(values, conversion);
}

void BatchBuilder::place_staged(Values& values, const Conversion& conversion) {
  if (!conversion.staged) return;
  values.staged.resize(values.length.size());
  std::exclusive_scan(values.length.begin(), values.length.end(), values.staged.begin(), std::uint64_t{0});
}

// What was put together in the staging areas, as delivered.
void BatchBuilder::convert_staged() {
  if (is_converted_) return;
  is_converted_ = true;
  std::uint8_t* slab = batch_.slab->data();
  for (std::size_t i = 0; i < conversions_.size(); ++i) {
    const Conversion& c = conversions_[i];
    for (std::size_t row = 0; c.staged && row < rows_.size(); ++row) {
      const Values& v = values_[i];
      ops::cast(c.from, c.to, slab + c.staged_at + v.staged[row], v.length[row] / c.in_bytes,
                slab + batch_.fields[i].values_at + v.out[row]);
    }
  }
}

bool BatchBuilder::all_touched(std::uint32_t field) const {
  return std::all_of(sources_.begin(), sources_.end(),
                     [&](const io::ShardSource* source) { return source == nullptr || source->all_touched(field); });
}

// Starts the reads of all blocks that are not in memory for sure, so that the device sees them together.
void BatchBuilder::will_need_direct(std::size_t out_field) {
  const std::uint32_t number = context_.fields[out_field];
  const std::uint64_t row_bytes = conversions_[out_field].row_bytes;
  if (row_bytes == 0 || read_ahead_ || (all_touched(number) && !pages_go_)) return;
  for (std::size_t slot = 0; slot < places_.size(); ++slot) {
    for_each_run(slot, [&](const Location& at, std::uint64_t, std::uint32_t count) {
      io::ShardSource& source = *sources_[at.shard];
      if (source.all_touched(number) && !pages_go_) return;
      const SectionRef section = source.shard().page(at.chunk, number).section(Section::kValues);
      const std::uint64_t last = ((at.row + std::uint64_t{count}) * row_bytes - 1) / section.block_bytes;
      bool checked = true;
      for (std::uint64_t b = at.row * row_bytes / section.block_bytes; b <= last; ++b) {
        const io::BlockId id{at.chunk, number, section.first_block + static_cast<std::uint32_t>(b)};
        checked = checked && source.is_touched(id);
        if (!source.is_touched(id)) source.will_need(id);
      }
      // Of what was checked before only the rows are read again, if they are gone.
      if (checked && pages_go_) source.will_need(section.offset + at.row * row_bytes, count * row_bytes);
    });
  }
}

void BatchBuilder::cut_pieces() {
  std::uint64_t direct_row = 0;
  for (std::size_t i = 0; i < direct_.size(); ++i) {
    if (direct_[i] && !is_read_in_place(i)) direct_row += field_of(i).row_bytes();
  }
  if (direct_row > 0) {
    // Alike in size, so that a batch just above a piece is not one and a crumb.
    const std::uint64_t wanted = std::max<std::uint64_t>(1, (samples_.size() * direct_row + kPieceBytes / 2) / kPieceBytes);
    const std::size_t step = std::max<std::uint64_t>(1, ceil_div(samples_.size(), wanted));
    for (std::size_t from = 0; from < samples_.size(); from += step)
      pieces_.push_back({true, from, std::min(samples_.size(), from + step), kNoField});
  }
  if (context_.dataset->table() != nullptr) cut_files();
  for (std::size_t from = 0; from < needs_.size();) {
    std::uint64_t bytes = 0;
    std::size_t end = from;
    while (end < needs_.size() && bytes < kPieceBytes && (!positional_ || end - from < kMaxNeeds)) bytes += needs_[end++].bytes;
    pieces_.push_back({false, from, end, kNoField});
    from = end;
  }
}

void BatchBuilder::add_error(std::uint32_t slot, const Status& status) {
  std::lock_guard lock(errors_mutex_);
  errors_.push_back({slot, status.with_context(strf("sample %llu", static_cast<unsigned long long>(samples()[slot])))});
}

bool BatchBuilder::is_outdated() {
  bool outdated = false;
  const std::int64_t now = sources_.empty() ? 0 : coarse_now_ns();
  for (std::size_t shard = 0; shard < sources_.size(); ++shard) {
    io::ShardSource* const source = sources_[shard];
    if (source != nullptr && source->is_mapped()) outdated = source->look_again(now) != revisions_[shard] || outdated;
  }
  return outdated;
}

std::vector<SampleError> BatchBuilder::errors() {
  std::lock_guard lock(errors_mutex_);
  // By slot, then by text: which thread met an error first must not show.
  std::sort(errors_.begin(), errors_.end(), [](const SampleError& a, const SampleError& b) {
    return a.slot != b.slot ? a.slot < b.slot : a.status.message() < b.status.message();
  });
  const auto same = [](const SampleError& a, const SampleError& b) { return a.slot == b.slot; };
  errors_.erase(std::unique(errors_.begin(), errors_.end(), same), errors_.end());
  return errors_;
}

Result<Batch> BatchBuilder::take() {
  convert_staged();
  batch_.schema = context_.schema;
  if (!context_.plans.empty()) deliver_images();
  if (context_.mix.has_value()) deliver_mixed();
  if (context_.field_plan != nullptr) HR_RETURN_IF_ERROR(deliver_plan());
  batch_.indices.assign(samples().begin(), samples().end());
  return std::move(batch_);
}

}  // namespace headrace::pipeline
