#include "headrace/pipeline/batch_parts.h"

#include <algorithm>

namespace headrace::pipeline {

std::vector<PartPlan> plan_parts(const BuildContext& context) {
  std::vector<PartPlan> out;
  if (context.dataset->parts().empty()) {
    out.emplace_back().context = context;
    return out;
  }
  std::uint32_t first = 0;
  for (const std::shared_ptr<const Dataset>& dataset : context.dataset->parts()) {
    PartPlan part;
    part.first_field = first;
    const auto end = first + static_cast<std::uint32_t>(dataset->schema().fields.size());
    std::vector<std::uint32_t> fields;
    for (std::size_t i = 0; i < context.fields.size(); ++i) {
      if (context.fields[i] < first || context.fields[i] >= end) continue;
      part.places.push_back(i);
      fields.push_back(context.fields[i] - first);
    }
    first = end;
    if (fields.empty()) continue;
    part.context = context;
    part.context.schema = std::shared_ptr<const format::Schema>(dataset, &dataset->schema());
    part.context.dataset = dataset;
    part.context.fields = std::move(fields);
    out.push_back(std::move(part));
  }
  return out;
}

BatchParts::BatchParts(const BuildContext& whole, const std::vector<PartPlan>& plans, const std::vector<std::uint64_t>& samples)
    : whole_(whole), plans_(plans), image_pieces_(plans.size()) {
  builders_.reserve(plans.size());
  for (const PartPlan& plan : plans) builders_.push_back(std::make_unique<BatchBuilder>(plan.context, samples));
}

template <typename Step>
Status BatchParts::each(const Step& step) {
  for (const auto& builder : builders_) HR_RETURN_IF_ERROR(step(*builder));
  return Status::ok();
}

std::pair<BatchBuilder&, std::size_t> BatchParts::piece(std::size_t number) {
  std::size_t part = 0;
  for (; number >= builders_[part]->num_pieces(); ++part) number -= builders_[part]->num_pieces();
  return {*builders_[part], number};
}

void BatchParts::set_revisits(bool revisits) {
  for (const auto& builder : builders_) builder->set_revisits(revisits);
}

void BatchParts::set_epoch(std::uint64_t epoch) {
  for (const auto& builder : builders_) builder->set_epoch(epoch);
}

void BatchParts::set_weight(std::uint32_t weight) {
  for (const auto& builder : builders_) builder->set_weight(weight);
}

void BatchParts::reuse_images(const BatchParts& before) {
  for (std::size_t i = 0; i < builders_.size(); ++i) builders_[i]->reuse_images(*before.builders_[i]);
}

Status BatchParts::prepare() {
  return each([](BatchBuilder& builder) { return builder.prepare(); });
}

Status BatchParts::prepare(io::StageTime& planning) {
  return each([&planning](BatchBuilder& builder) { return builder.prepare(planning); });
}

Status BatchParts::begin(ChunkAhead* ahead) {
  return each([ahead](BatchBuilder& builder) { return builder.begin(ahead); });
}

Status BatchParts::measure() {
  return each([](BatchBuilder& builder) { return builder.measure(); });
}

Status BatchParts::finish_plan() {
  return each([](BatchBuilder& builder) { return builder.finish_plan(); });
}

std::size_t BatchParts::slab_bytes() const {
  std::size_t bytes = 0;
  for (const auto& builder : builders_) bytes += builder->slab_bytes();
  return bytes;
}

std::uint64_t BatchParts::read_bytes() const {
  std::uint64_t bytes = 0;
  for (const auto& builder : builders_) bytes += builder->read_bytes();
  return bytes;
}

std::size_t BatchParts::num_pieces() const {
  std::size_t pieces = 0;
  for (const auto& builder : builders_) pieces += builder->num_pieces();
  return pieces;
}

void BatchParts::run_piece(std::size_t number, std::int64_t now) {
  const auto [builder, own] = piece(number);
  builder.run_piece(own, now);
}

std::size_t BatchParts::begin_images() {
  std::size_t pieces = 0;
  for (std::size_t i = 0; i < builders_.size(); ++i) pieces += image_pieces_[i] = builders_[i]->begin_images();
  return pieces;
}

void BatchParts::run_images(std::size_t number) {
  std::size_t part = 0;
  for (; number >= image_pieces_[part]; ++part) number -= image_pieces_[part];
  builders_[part]->run_images(number);
}

bool BatchParts::is_outdated() {
  bool outdated = false;
  for (const auto& builder : builders_) outdated = builder->is_outdated() || outdated;
  return outdated;
}

std::vector<SampleError> BatchParts::errors() {
  std::vector<SampleError> out = builders_[0]->errors();
  for (std::size_t i = 1; i < builders_.size(); ++i) {
    for (SampleError& error : builders_[i]->errors()) {
      const auto is_later = [](const SampleError& one, const SampleError& other) { return one.slot < other.slot; };
      const auto at = std::lower_bound(out.begin(), out.end(), error, is_later);
      if (at == out.end() || at->slot != error.slot) out.insert(at, std::move(error));
    }
  }
  return out;
}

Result<Batch> BatchParts::take() {
  HR_ASSIGN_OR_RETURN(Batch batch, builders_[0]->take());
  if (whole_.dataset->parts().empty()) return batch;
  const std::vector<FieldOut> first = std::move(batch.fields);
  batch.schema = whole_.schema;
  batch.fields.assign(whole_.fields.size(), {});
  const auto deliver = [&](std::size_t part, const std::vector<FieldOut>& fields) {
    for (std::size_t i = 0; i < fields.size(); ++i) {
      FieldOut& out = batch.fields[plans_[part].places[i]];
      out = fields[i];
      out.field += plans_[part].first_field;
      out.slab = static_cast<std::uint32_t>(part);
    }
  };
  deliver(0, first);
  for (std::size_t part = 1; part < builders_.size(); ++part) {
    HR_ASSIGN_OR_RETURN(Batch more, builders_[part]->take());
    deliver(part, more.fields);
    batch.more_slabs.push_back(std::move(more.slab));
  }
  return batch;
}

}  // namespace headrace::pipeline
