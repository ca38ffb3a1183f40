// Fields that a plan makes of others: tiles of rows, once everything else of the batch is in its slab.
//
// What only the plan reads, and what lies in memory as it is, is not gathered into the slab first: each tile takes its rows from where they
// are, straight into the plan's registers.
#include <algorithm>

#include "headrace/ops/field_plan.h"
#include "headrace/pipeline/batch_builder.h"

namespace headrace::pipeline {
namespace {

constexpr std::uint64_t kPlanBytes = 256u << 10;  // of rows in a piece, as they are read and delivered

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
    if (!output.kept && output.form.is_variable())
      return {Code::kInvalidArgument, "prepare: field '" + output.form.name +
                                          "' is texts that a step made, which a loader's batch does not hold; encode it behind that step "
                                          "(Ordinal, OneHot, Frequency, Hash), or apply() the pipeline and load what it wrote"};
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
  const std::size_t step = std::max<std::uint64_t>(1, ceil_div(samples_.size(), wanted));
  for (std::size_t from = 0; from < samples_.size(); from += step)
    image_pieces_.push_back({kNoField, from, std::min(samples_.size(), from + step)});
}

void BatchBuilder::run_plan(std::size_t begin, std::size_t end) {
  const ops::FieldPlan& plan = *context_.field_plan;
  for (const ops::PlanInput& input : plan.inputs()) {
    if (is_read_in_place(input.field) && batch_.fields[input.field].row_bytes > 0) touch_direct(input.field, begin, end);
  }
  if (has_errors(begin, end)) return;  // The batch is not delivered, and damaged rows may not be in memory.
  ops::FieldScratch scratch(plan);
  std::vector<std::uint8_t> gathered;
  std::vector<std::uint8_t*> outputs(plan.outputs().size(), nullptr);
  for (std::size_t row = begin; row < end; row += plan.tile_rows()) {
    const std::size_t until = std::min(end, row + plan.tile_rows());
    for (std::size_t k = 0; k < outputs.size(); ++k) {
      const ops::PlanOutput& output = plan.outputs()[k];
      if (!output.kept) outputs[k] = batch_.slab->data() + made_at_[k] + row * output.form.row_bytes();
    }
    scratch.begin(until - row, outputs);
    for (std::size_t k = 0; k < plan.inputs().size(); ++k) load_tile(k, row, until, gathered, scratch);
    scratch.run();
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
void BatchBuilder::deliver_plan() {
  const ops::FieldPlan& plan = *context_.field_plan;
  std::vector<FieldOut> fields;
  for (std::size_t k = 0; k < plan.outputs().size(); ++k) {
    const ops::PlanOutput& output = plan.outputs()[k];
    FieldOut out;
    if (output.kept) {
      out = batch_.fields[output.from];
    } else {
      out.row_bytes = output.form.row_bytes();
      out.values_at = made_at_[k];
      out.values_bytes = out.row_bytes * samples_.size();
    }
    out.field = context_.delivered[k];
    fields.push_back(out);
  }
  batch_.fields = std::move(fields);
  batch_.schema = context_.prepared;
}

}  // namespace headrace::pipeline
