// Outputs of a field plan that are counted where they are made: a batch holds what their rows amount to, and not the rows.
//
// Each thread counts the spans of its pieces while they are in its cache. What the plan only copies is counted where it lies: in the mapped
// file, in memory, or in the slab where it was decoded.
#include <algorithm>
#include <cstring>

#include "headrace/ops/field_plan.h"
#include "headrace/pipeline/batch_builder.h"

namespace headrace::pipeline {
namespace {

using statistics::Moments;
using statistics::Rows;

std::size_t width_of(const ops::FieldPlan& plan, std::size_t output) { return plan.registers()[plan.outputs()[output].from].width; }

// Memory of this thread for a span of each output.
std::uint8_t* span_buffer(std::size_t output, std::size_t bytes) {
  thread_local std::vector<std::vector<std::uint8_t>> buffers;
  if (buffers.size() <= output) buffers.resize(output + 1);
  if (buffers[output].size() < bytes) buffers[output].resize(bytes);
  return buffers[output].data();
}

}  // namespace

Status check_counted(const std::vector<std::uint32_t>& outputs, const ops::FieldPlan* plan, std::uint64_t batch_size) {
  for (const std::uint32_t k : outputs) {
    const std::size_t known = plan == nullptr ? 0 : plan->outputs().size();
    if (k >= known) return {Code::kInvalidArgument, strf("count output %u: the plan has %zu", k, known)};
    const ops::PlanOutput& output = plan->outputs()[k];
    if (output.kept || output.form.kind != format::Kind::kTensor || statistics::number_bytes(output.form.dtype) == 0)
      return {Code::kInvalidArgument, "count '" + output.form.name + "': expected numbers that the plan makes"};
    HR_ASSIGN_OR_RETURN(const Moments counter, Moments::create(width_of(*plan, k)));
    if (batch_size % counter.span_rows() != 0)
      return {Code::kInvalidArgument, strf("count '%s': batches of %llu; expected a multiple of %zu", output.form.name.c_str(),
                                           static_cast<unsigned long long>(batch_size), counter.span_rows())};
  }
  return Status::ok();
}

void set_counted(const std::vector<std::uint32_t>& outputs, BuildContext& context) {
  if (outputs.empty()) return;
  context.counting.resize(context.field_plan->outputs().size());
  for (const std::uint32_t k : outputs)
    context.counting[k] = std::make_shared<const Moments>(*Moments::create(width_of(*context.field_plan, k)));
}

// Makes room for what is counted; answers of how many rows a piece is a multiple.
std::size_t BatchBuilder::begin_counting() {
  std::size_t rows = 1;
  counted_.resize(context_.counting.size());
  for (std::size_t k = 0; k < counted_.size(); ++k) {
    if (!is_counted(k)) continue;
    const Moments& counter = *context_.counting[k];
    rows = std::max(rows, counter.span_rows());
    counted_[k].dtype = context_.field_plan->outputs()[k].form.dtype;
    counted_[k].spans.assign(samples_.size() / counter.span_rows(), statistics::ColumnMoments(counter.width()));
  }
  return rows;
}

// begin is a multiple of every span.
void BatchBuilder::count_plan(PlanRun& run, std::size_t begin, std::size_t end) {
  const ops::FieldPlan& plan = *context_.field_plan;
  bool only_copies = true;
  std::size_t step = end - begin;
  for (std::size_t k = 0; k < run.outputs.size(); ++k) {
    only_copies = only_copies && (plan.outputs()[k].kept || (is_counted(k) && plan.copied_from(k).has_value()));
    if (is_counted(k)) step = std::min(step, context_.counting[k]->span_rows());
  }
  for (std::size_t k = 0; only_copies && k < run.outputs.size(); ++k) {
    if (is_counted(k)) count_copied(k, plan.inputs()[*plan.copied_from(k)].field, begin, end);
  }
  for (std::size_t row = begin; !only_copies && row < end; row += step) {
    const std::size_t until = std::min(end, row + step);
    for (std::size_t k = 0; k < run.outputs.size(); ++k) {
      if (!is_counted(k)) continue;
      const std::size_t span = context_.counting[k]->span_rows(), row_bytes = plan.outputs()[k].form.row_bytes();
      run.outputs[k] = span_buffer(k, span * row_bytes) + (row - begin) % span * row_bytes;
    }
    run_tiles(run, row, until);
    for (std::size_t k = 0; k < run.outputs.size(); ++k) {
      if (is_counted(k)) count_made(k, span_buffer(k, 0), until);
    }
  }
}

// Takes in the span, or what there is of it at the batch's end.
void BatchBuilder::count_made(std::size_t output, const std::uint8_t* span, std::size_t end) {
  const Moments& counter = *context_.counting[output];
  statistics::CountedRows& to = counted_[output];
  const std::size_t rows = end % counter.span_rows();
  if (rows == 0) {
    counter.count_span({to.dtype, span, counter.span_rows(), counter.width()}, 0, to.spans[end / counter.span_rows() - 1]);
  } else if (end == samples_.size()) {
    to.rest_rows = rows;
    to.rest.assign(span, span + rows * context_.field_plan->outputs()[output].form.row_bytes());
  }
}

void BatchBuilder::count_copied(std::size_t output, std::size_t field, std::size_t begin, std::size_t end) {
  const Moments& counter = *context_.counting[output];
  statistics::CountedRows& to = counted_[output];
  const std::size_t span = counter.span_rows(), row_bytes = batch_.fields[field].row_bytes;
  for (std::size_t row = begin, count = 0; row < end; row += count) {
    const std::uint8_t* const lying = lying_rows(field, row, end, &count);
    if (lying != nullptr && count >= span) {
      count = count / span * span;
      for (std::size_t at = 0; at < count; at += span)
        counter.count_span({to.dtype, lying, count, counter.width()}, at, to.spans[(row + at) / span]);
      continue;
    }
    count = std::min(span, end - row);
    std::uint8_t* const buffer = span_buffer(output, span * row_bytes);
    if (is_read_in_place(field)) {
      gather_field(field, row, row + count, buffer);
    } else {
      std::memcpy(buffer, lying, count * row_bytes);
    }
    count_made(output, buffer, row + count);
  }
}

// Where the rows of slots from `begin` on lie side by side as they are delivered, and how many do, up to `end`; null: nowhere.
const std::uint8_t* BatchBuilder::lying_rows(std::size_t out_field, std::size_t begin, std::size_t end, std::size_t* count) const {
  const FieldOut& out = batch_.fields[out_field];
  *count = end - begin;
  if (!is_read_in_place(out_field)) return batch_.slab->data() + out.values_at + begin * out.row_bytes;
  if (is_changed(out_field) || context_.dataset->view().stride != 1) return nullptr;
  std::size_t straight = 1;
  while (straight < *count && samples_[begin + straight] == samples_[begin] + straight) ++straight;
  const std::uint8_t* from = nullptr;
  std::uint64_t held = 0;
  if (const MemoryTable* table = context_.dataset->table().get()) {
    from = table->find_run(out.field, samples_[begin], straight, &held);
  } else {
    const Location& at = places_[begin];
    held = sources_[at.shard]->shard().samples_in_chunk(at.chunk) - at.row;
    from = address(out.field, at, conversions_[out_field].row_bytes);
  }
  *count = std::min<std::size_t>(straight, held);
  const bool is_aligned = reinterpret_cast<std::uintptr_t>(from) % field_of(out_field).itemsize == 0;
  return is_aligned ? from : nullptr;
}

}  // namespace headrace::pipeline
