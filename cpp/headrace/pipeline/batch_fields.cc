// Fields that a plan makes of others: tiles of rows, once everything else of the batch is in its slab.
//
// What only the plan reads, and what lies in memory as it is, is not gathered into the slab first: each tile takes its rows from where they
// are, straight into the plan's registers.
#include <algorithm>
#include <cinttypes>

#include "headrace/ops/field_plan.h"
#include "headrace/pipeline/batch_builder.h"

namespace headrace::pipeline {
namespace {

constexpr std::uint64_t kPlanBytes = 256u << 10;  // of rows in a piece, as they are read and delivered
constexpr std::size_t kTextAlignment = 64;

}  // namespace

Status check_field_plan(const format::Schema& schema, const std::vector<std::uint32_t>& fields, const ops::FieldPlan& plan) {
  for (const ops::PlanInput& input : plan.inputs()) {
    if (input.field >= fields.size())
      return {Code::kInvalidArgument, strf("prepare: the plan reads field %u of %zu", input.field, fields.size())};
    const format::Field& found = schema.fields[fields[input.field]];
    if (!found.same_values(input.form))
      return {Code::kInvalidArgument, "prepare: the plan was made for a field '" + input.form.name + "' of " +
                                          format::kind_name(input.form.kind) + " " + format::dtype_name(input.form) +
                                          "; the dataset has '" + found.name + "', " + format::kind_name(found.kind) + " " +
                                          format::dtype_name(found) + ", of another kind, dtype, shape or nullability"};
  }
  for (const ops::PlanOutput& output : plan.outputs()) {
    if (output.kept && output.from >= fields.size())
      return {Code::kInvalidArgument, strf("prepare: the plan delivers field %u of %zu", output.from, fields.size())};
  }
  return Status::ok();
}

void set_field_plan(std::shared_ptr<const ops::FieldPlan> plan, BuildContext& context) {
  if (plan == nullptr) return;
  auto prepared = std::make_shared<format::Schema>(context.prepared != nullptr ? *context.prepared : *context.schema);
  context.only_read.assign(context.fields.size(), true);
  for (const ops::PlanOutput& output : plan->outputs()) {
    if (output.kept) {
      context.only_read[output.from] = false;
      context.delivered.push_back(context.fields[output.from]);
    } else {
      context.delivered.push_back(static_cast<std::uint32_t>(prepared->fields.size()));
      prepared->fields.push_back(output.form);
    }
  }
  context.prepared = std::move(prepared);
  context.field_plan = std::move(plan);
}

// Whether a field is read where it lies, a tile at a time.
bool BatchBuilder::is_read_in_place(std::size_t out_field) const {
  return context_.field_plan != nullptr && direct_[out_field] && context_.only_read[out_field];
}

void BatchBuilder::cut_plan() {
  if (context_.field_plan == nullptr) return;
  std::uint64_t row = context_.field_plan->row_bytes();
  for (const ops::PlanInput& input : context_.field_plan->inputs()) row += batch_.fields[input.field].row_bytes;
  const std::uint64_t wanted = std::max<std::uint64_t>(1, (samples_.size() * row / 2 + kPlanBytes / 2) / kPlanBytes);
  const std::size_t step = round_up(std::max<std::uint64_t>(1, ceil_div(samples_.size(), wanted)), begin_counting());
  const std::size_t pieces = ceil_div(samples_.size(), step);
  for (std::size_t i = 0; i < pieces; ++i) image_pieces_.push_back({kNoField, i * step, std::min(samples_.size(), (i + 1) * step), i});
  made_texts_.clear();
  for (const ops::PlanOutput& output : context_.field_plan->outputs())
    made_texts_.emplace_back(!output.kept && output.form.is_variable() ? pieces : 0);
}

void BatchBuilder::run_plan(const ImagePiece& part) {
  const auto [out_field, begin, end, number] = part;
  const ops::FieldPlan& plan = *context_.field_plan;
  for (const ops::PlanInput& input : plan.inputs()) {
    if (is_read_in_place(input.field) && batch_.fields[input.field].row_bytes > 0) touch_direct(input.field, begin, end);
  }
  if (has_errors(begin, end)) return;  // The batch is not delivered, and damaged rows may not be in memory.
  PlanRun run(plan);
  run.number = number;
  for (std::size_t k = 0; k < run.outputs.size(); ++k) {
    const ops::PlanOutput& output = plan.outputs()[k];
    if (output.kept || output.form.is_variable() || is_counted(k)) continue;
    run.outputs[k] = batch_.slab->data() + made_at_[k] + begin * output.form.row_bytes();
  }
  if (context_.counting.empty()) {
    run_tiles(run, begin, end);
  } else {
    count_plan(run, begin, end);
  }
}

// Afterwards `outputs` are where the rows that follow go.
void BatchBuilder::run_tiles(PlanRun& run, std::size_t begin, std::size_t end) {
  const ops::FieldPlan& plan = *context_.field_plan;
  for (std::size_t row = begin; row < end; row += plan.tile_rows()) {
    const std::size_t until = std::min(end, row + plan.tile_rows());
    run.scratch.begin(until - row, run.outputs);
    for (std::size_t k = 0; k < plan.inputs().size(); ++k) load_tile(k, row, until, run.gathered, run.scratch);
    run.scratch.run();
    for (std::size_t k = 0; k < run.outputs.size(); ++k) {
      const ops::PlanOutput& output = plan.outputs()[k];
      if (output.kept) continue;
      if (output.form.is_variable()) {
        ops::add_texts(run.scratch.texts(k), until - row, made_texts_[k].part(run.number));
      } else {
        run.outputs[k] += (until - row) * output.form.row_bytes();
      }
    }
  }
}

void BatchBuilder::load_tile(std::size_t input, std::size_t begin, std::size_t end, std::vector<std::uint8_t>& gathered,
                             ops::FieldScratch& scratch) const {
  const std::size_t field = context_.field_plan->inputs()[input].field;
  const FieldOut& out = batch_.fields[field];
  const std::uint8_t* const slab = batch_.slab->data();
  ops::InputRows rows;
  rows.valid = out.valid_at == FieldOut::kAbsent ? nullptr : slab + out.valid_at + begin;
  if (out.offsets_at != FieldOut::kAbsent) rows.offsets = reinterpret_cast<const std::int64_t*>(slab + out.offsets_at) + begin;
  rows.values = slab + out.values_at + (rows.offsets == nullptr ? begin * out.row_bytes : 0);
  std::uint8_t* const place = scratch.place(input);
  if (is_read_in_place(field)) {
    if (place == nullptr) gathered.resize((end - begin) * out.row_bytes);
    gather_field(field, begin, end, place == nullptr ? gathered.data() : place);
    if (place != nullptr) return;
    rows.values = gathered.data();
  }
  scratch.load(input, rows);
}

// What was made, and what is kept, in the plan's order.
Status BatchBuilder::deliver_plan() {
  const ops::FieldPlan& plan = *context_.field_plan;
  std::vector<FieldOut> fields;
  for (std::size_t k = 0; k < plan.outputs().size(); ++k) {
    const ops::PlanOutput& output = plan.outputs()[k];
    FieldOut out;
    if (output.kept) {
      out = batch_.fields[output.from];
    } else if (!output.form.is_variable()) {
      out.row_bytes = output.form.row_bytes();
      out.values_at = is_counted(k) ? FieldOut::kAbsent : made_at_[k];
      out.values_bytes = is_counted(k) ? 0 : out.row_bytes * samples_.size();
    }
    out.field = context_.delivered[k];
    fields.push_back(out);
  }
  if (!context_.counting.empty() && counted_.empty()) (void)begin_counting();  // No piece was cut.
  batch_.counted = std::move(counted_);
  batch_.fields = std::move(fields);
  batch_.schema = context_.prepared;
  return plan.makes_texts() ? deliver_texts() : Status::ok();
}

// Texts have a slab of their own: the other was laid out before they were made.
Status BatchBuilder::deliver_texts() {
  const ops::FieldPlan& plan = *context_.field_plan;
  if (samples_.empty()) made_texts_.assign(plan.outputs().size(), ops::TextParts(0));  // No piece was cut.
  std::size_t bytes = 0;
  const auto part = [&](std::size_t size) {
    const std::size_t at = bytes;
    bytes = round_up(at + size, kTextAlignment);
    return at;
  };
  for (std::size_t k = 0; k < plan.outputs().size(); ++k) {
    if (plan.outputs()[k].kept || !plan.outputs()[k].form.is_variable()) continue;
    FieldOut& out = batch_.fields[k];
    out.slab = 1;
    out.row_bytes = 1;
    out.offsets_at = part((samples_.size() + 1) * 8);
    out.valid_at = part(samples_.size());
    out.values_bytes = made_texts_[k].bytes();
    out.values_at = part(out.values_bytes);
  }
  if (bytes > context_.most_bytes)
    return {Code::kLimitExceeded,
            strf("assemble a batch of %zu samples: the texts that steps make take more than %" PRIu64 " bytes; use a smaller batch_size",
                 samples_.size(), context_.most_bytes)};
  HR_ASSIGN_OR_RETURN(storage::Lease texts, context_.slabs->acquire(std::max<std::size_t>(bytes, 1)));
  std::uint8_t* const to = texts->data();
  for (std::size_t k = 0; k < batch_.fields.size(); ++k) {
    const FieldOut& out = batch_.fields[k];
    if (out.slab == 1) made_texts_[k].join(to + out.values_at, reinterpret_cast<std::int64_t*>(to + out.offsets_at), to + out.valid_at);
  }
  batch_.more_slabs.push_back(std::move(texts));
  return Status::ok();
}

}  // namespace headrace::pipeline
