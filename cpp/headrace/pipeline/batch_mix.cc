// The last stage of a batch of images: mixed with each other, labels become shares of classes.
#include <algorithm>
#include <cstring>

#include "headrace/ops/cast.h"
#include "headrace/ops/image_mix.h"
#include "headrace/pipeline/batch_builder.h"
#include "headrace/pipeline/permutation.h"

namespace headrace::pipeline {
namespace {

bool is_integer(format::DType dtype) {
  using format::DType;
  return dtype == DType::kUInt8 || dtype == DType::kUInt16 || dtype == DType::kUInt32 || dtype == DType::kInt8 || dtype == DType::kInt16 ||
         dtype == DType::kInt32 || dtype == DType::kInt64;
}

}  // namespace

std::size_t BatchMix::image_slot(const std::vector<std::uint32_t>& fields) const {
  return static_cast<std::size_t>(std::find(fields.begin(), fields.end(), image_field) - fields.begin());
}

std::size_t BatchMix::label_slot(const std::vector<std::uint32_t>& fields) const {
  return static_cast<std::size_t>(std::find(fields.begin(), fields.end(), label_field) - fields.begin());
}

Status check_mix(const Dataset& dataset, const std::vector<std::uint32_t>& fields,
                 const std::vector<std::pair<std::uint32_t, std::shared_ptr<const ops::ImagePlan>>>& images, const BatchMix& mix) {
  const auto plan = std::find_if(images.begin(), images.end(), [&](const auto& image) { return image.first == mix.image_field; });
  if (plan == images.end() || mix.label_slot(fields) == fields.size())
    return {Code::kInvalidArgument,
            strf("mix images of field number %u, labels of %u: they are not delivered, or not prepared", mix.image_field, mix.label_field)};
  const format::Field& label = dataset.schema().fields[mix.label_field];
  if (label.kind != format::Kind::kTensor || !label.shape.empty() || label.nullable || !is_integer(label.dtype))
    return {Code::kInvalidArgument, "mix images: labels in field '" + label.name + "' are " +
                                        (label.nullable        ? "nullable "
                                         : label.shape.empty() ? ""
                                                               : "several ") +
                                        format::dtype_name(label) + "; expected one integer a sample, never null"};
  if (mix.mix->has(ops::MixKind::kMixUp) && plan->second->field_of({}).dtype == format::DType::kUInt8)
    return {Code::kInvalidArgument, "mix images: MixUp adds parts of images, which uint8 cannot hold; put a ToDtype('float32') before it"};
  return Status::ok();
}

void set_mix(const std::optional<BatchMix>& mix, BuildContext& context) {
  context.mix = mix;
  if (!mix.has_value()) return;
  auto prepared = std::make_shared<format::Schema>(*context.prepared);
  format::Field& label = prepared->fields[mix->label_field];
  label.dtype = format::DType::kFloat32;
  label.itemsize = 4;
  label.shape = {mix->mix->classes()};
  context.prepared = std::move(prepared);
}

// Labels as they were stored, and an error for each that is none.
void BatchBuilder::read_labels() {
  const BatchMix& mix = *context_.mix;
  const std::size_t out_field = mix.label_slot(context_.fields);
  const FieldOut& from = batch_.fields[out_field];
  convert_staged();
  std::vector<std::int64_t> values(samples_.size());
  const std::uint8_t* const stored = batch_.slab->data() + from.values_at;
  const format::DType dtype = field_of(out_field).dtype;
  if (dtype == format::DType::kInt64) {
    std::memcpy(values.data(), stored, values.size() * 8);
  } else {
    ops::cast(dtype, format::DType::kInt64, stored, values.size(), reinterpret_cast<std::uint8_t*>(values.data()));
  }
  labels_.assign(values.size(), 0);
  for (std::uint32_t slot = 0; slot < values.size(); ++slot) {
    if (values[slot] >= 0 && values[slot] < mix.mix->classes()) {
      labels_[slot] = static_cast<std::uint32_t>(values[slot]);
    } else if (!failed_slots_[slot]) {
      failed_slots_[slot] = true;
      add_error(slot, {Code::kInvalidArgument,
                       strf("mix images: label %lld in field '%s'; expected 0 to %u (num_classes - 1)",
                            static_cast<long long>(values[slot]), field_of(out_field).name.c_str(), mix.mix->classes() - 1)});
    }
  }
}

// What is drawn depends on seed, epoch and the batch's samples, and so on its position; not on who counts batches since when.
void BatchBuilder::deliver_mixed() {
  const BatchMix& mix = *context_.mix;
  const std::size_t image = mix.image_slot(context_.fields), label = mix.label_slot(context_.fields);
  const ops::ImagePlan& plan = *context_.plans[image];
  const format::Field made = plan.field_of({});
  const ops::ImageShape shape{plan.height(), plan.width(), static_cast<std::uint32_t>(made.itemsize), plan.channels_last()};
  std::uint64_t key = samples_.size();
  for (const std::uint64_t sample : samples_) key = mix_key(key, sample);
  const ops::Mix drawn = mix.mix->draw({draws_, key}, plan.height(), plan.width());
  std::uint8_t* const slab = batch_.slab->data();
  ops::mix_images(drawn, made.dtype, shape, samples_.size(), slab + batch_.fields[image].values_at);
  ops::mix_labels(drawn, labels_, mix.mix->classes(), reinterpret_cast<float*>(slab + mixed_at_));
  FieldOut out;
  out.field = batch_.fields[label].field;
  out.row_bytes = std::uint64_t{mix.mix->classes()} * 4;
  out.values_at = mixed_at_;
  out.values_bytes = out.row_bytes * samples_.size();
  batch_.fields[label] = out;
}

}  // namespace headrace::pipeline
