// A plan's sizes and tables, and its steps on a canvas. Compiled without fused multiply-add (CMakeLists.txt).
#include "headrace/ops/image_plan.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <optional>
#include <utility>

#include "headrace/ops/augment.h"
#include "headrace/ops/cast.h"
#include "headrace/ops/image_canvas.h"

namespace headrace::ops {
namespace {

using format::DType;

constexpr std::uint32_t kMaxSide = 1u << 16;  // of what is delivered
constexpr int kTries = 10;                    // as torchvision's

// Python's round(): halves to even.
std::uint32_t round_even(double value) { return static_cast<std::uint32_t>(std::nearbyint(value)); }

struct Size {
  std::uint32_t height = 0, width = 0;
};

// The size after each step where it does not depend on the image.
struct SizeAfter {
  std::optional<Size> size;
  void operator()(const Resize& s) { size = s.shorter > 0 ? std::nullopt : std::optional<Size>({s.height, s.width}); }
  void operator()(const CenterCrop& s) { size = {s.height, s.width}; }
  void operator()(const RandomCrop& s) { size = {s.height, s.width}; }
  void operator()(const RandomResizedCrop& s) { size = {s.height, s.width}; }
  void operator()(const Pad& s) {
    if (size.has_value()) size = {size->height + s.top + s.bottom, size->width + s.left + s.right};
  }
  template <typename Step>
  void operator()(const Step&) {}
};

Status no_room(const ImageCanvas& canvas, std::uint32_t height, std::uint32_t width) {
  return {Code::kInvalidArgument,
          strf("crop %u x %u (height x width) of an image of %u x %u: it is smaller; resize it first, or pad_if_needed", height, width,
               canvas.height(), canvas.width())};
}

// One step on the canvas.
struct Apply {
  ImageCanvas& canvas;
  Draws& draws;

  Status operator()(const Resize& s) {
    if (s.shorter == 0) return canvas.resize(s.width, s.height, s.filter);
    const bool tall = canvas.width() <= canvas.height();
    const double shorter = tall ? canvas.width() : canvas.height(), longer = tall ? canvas.height() : canvas.width();
    double short_side = s.shorter, long_side = std::floor(short_side * longer / shorter);
    if (s.longest > 0 && long_side > s.longest) {
      short_side = std::floor(s.longest * short_side / long_side);
      long_side = s.longest;
    }
    if (long_side > 0x7FFFFFFF || short_side < 1)
      return {Code::kLimitExceeded, strf("resize an image of %u x %u: its sides would be %.0f and %.0f pixels", canvas.height(),
                                         canvas.width(), short_side, long_side)};
    const auto a = static_cast<std::uint32_t>(short_side), b = static_cast<std::uint32_t>(long_side);
    return canvas.resize(tall ? a : b, tall ? b : a, s.filter);
  }

  Status operator()(const CenterCrop& s) {
    const std::uint32_t missing_x = s.width > canvas.width() ? s.width - canvas.width() : 0;
    const std::uint32_t missing_y = s.height > canvas.height() ? s.height - canvas.height() : 0;
    if (missing_x > 0 || missing_y > 0)
      HR_RETURN_IF_ERROR(canvas.pad({missing_x / 2, missing_y / 2, (missing_x + 1) / 2, (missing_y + 1) / 2}));
    canvas.crop({round_even((canvas.width() - s.width) / 2.0), round_even((canvas.height() - s.height) / 2.0), s.width, s.height});
    return Status::ok();
  }

  Status operator()(const Pad& s) { return canvas.pad(s); }

  Status operator()(const RandomCrop& s) {
    if (s.if_needed && canvas.width() < s.width)
      HR_RETURN_IF_ERROR(canvas.pad({s.width - canvas.width(), 0, s.width - canvas.width(), 0, s.mode, s.fill}));
    if (s.if_needed && canvas.height() < s.height)
      HR_RETURN_IF_ERROR(canvas.pad({0, s.height - canvas.height(), 0, s.height - canvas.height(), s.mode, s.fill}));
    if (canvas.width() < s.width || canvas.height() < s.height) return no_room(canvas, s.height, s.width);
    const std::uint32_t y = draws.below(canvas.height() - s.height + 1);
    canvas.crop({draws.below(canvas.width() - s.width + 1), y, s.width, s.height});
    return Status::ok();
  }

  Status operator()(const RandomResizedCrop& s) {
    canvas.crop(random_part(s.scale, s.ratio));
    return canvas.resize(s.width, s.height, s.filter);
  }

  ImageRect random_part(const Range& scale, const Range& ratio) {
    const double width = canvas.width(), height = canvas.height();
    for (int i = 0; i < kTries; ++i) {
      const double area = width * height * draws.uniform(scale.low, scale.high);
      const double aspect = std::exp(draws.uniform(std::log(ratio.low), std::log(ratio.high)));
      const double w = std::nearbyint(std::sqrt(area * aspect)), h = std::nearbyint(std::sqrt(area / aspect));
      if (w < 1 || h < 1 || w > width || h > height) continue;
      const auto part_width = static_cast<std::uint32_t>(w), part_height = static_cast<std::uint32_t>(h);
      const std::uint32_t y = draws.below(canvas.height() - part_height + 1);
      return {draws.below(canvas.width() - part_width + 1), y, part_width, part_height};
    }
    // The largest centred part whose aspect is allowed.
    std::uint32_t w = canvas.width(), h = canvas.height();
    if (width / height < ratio.low) {
      h = std::max(1u, round_even(width / ratio.low));
    } else if (width / height > ratio.high) {
      w = std::max(1u, round_even(height * ratio.high));
    }
    return {(canvas.width() - w) / 2, (canvas.height() - h) / 2, w, h};
  }

  Status operator()(const RandomFlip& s) {
    if (draws.unit() < s.probability) canvas.flip(s.horizontal);
    return Status::ok();
  }

  Status operator()(const ColorJitter& s) {
    std::array<int, 4> order{0, 1, 2, 3};
    for (std::uint32_t i = 3; i > 0; --i) std::swap(order[i], order[draws.below(i + 1)]);
    std::array<double, 4> factors{};
    for (std::size_t i = 0; i < 4; ++i) factors[i] = s.present[i] ? draws.uniform(s.ranges[i].low, s.ranges[i].high) : 0;
    Planes* image = nullptr;
    HR_RETURN_IF_ERROR(canvas.pixels(&image));
    for (const int which : order) {
      if (!s.present[static_cast<std::size_t>(which)]) continue;
      const double factor = factors[static_cast<std::size_t>(which)];
      switch (which) {
        case 0: adjust_brightness(*image, static_cast<float>(factor)); break;
        case 1: adjust_contrast(*image, static_cast<float>(factor)); break;
        case 2: adjust_saturation(*image, static_cast<float>(factor)); break;
        default: shift_hue(*image, static_cast<std::uint8_t>(static_cast<int>(factor * 255.0)));
      }
    }
    return Status::ok();
  }

  Status operator()(const RandomGrayscale& s) {
    if (draws.unit() >= s.probability) return Status::ok();
    Planes* image = nullptr;
    HR_RETURN_IF_ERROR(canvas.pixels(&image));
    make_grey(*image);
    return Status::ok();
  }

  Status operator()(const AutoAugment& s) {
    Planes* image = nullptr;
    HR_RETURN_IF_ERROR(canvas.pixels(&image));
    thread_local Planes spare;
    for (std::uint32_t i = 0; i < s.operations; ++i) {
      const auto operation = static_cast<Augmentation>(draws.below(kAugmentations));
      const std::uint32_t bin = s.wide ? draws.below(s.bins) : s.magnitude;
      const Magnitude magnitude = magnitude_of(operation, s.wide, bin, s.bins, image->width, image->height);
      const bool negative = magnitude.is_signed && draws.below(2) == 1;
      augment(*image, operation, negative ? -magnitude.value : magnitude.value, s.fill, spare);
    }
    return Status::ok();
  }

  Status operator()(const RandomErasing&) { return Status::ok(); }  // Of what is delivered: ImagePlan::erase().
};

// `kStep` items lie between two that are written. Eight pixels are read at once, for as many loads are what it waits for.
template <typename Item, std::size_t kStep>
void look_up(const std::uint8_t* pixels, std::size_t count, const std::uint8_t* table, std::uint8_t* out) {
  const Item* const items = reinterpret_cast<const Item*>(table);
  Item* const to = reinterpret_cast<Item*>(out);
  std::size_t i = 0;
  for (; i + 8 <= count; i += 8) {
    std::uint64_t eight;
    std::memcpy(&eight, pixels + i, 8);
    if constexpr (std::endian::native == std::endian::big) eight = __builtin_bswap64(eight);
    for (std::size_t j = 0; j < 8; ++j) to[(i + j) * kStep] = items[eight >> (8 * j) & 255];
  }
  for (; i < count; ++i) to[i * kStep] = items[pixels[i]];
}

template <typename Item>
void look_up(const std::uint8_t* pixels, std::size_t count, const std::uint8_t* table, bool channels_last, std::uint8_t* out) {
  channels_last ? look_up<Item, 3>(pixels, count, table, out) : look_up<Item, 1>(pixels, count, table, out);
}

}  // namespace

Result<std::shared_ptr<const ImagePlan>> ImagePlan::create(std::vector<ImageStep> steps, const ImageOutput& output,
                                                           const ImageOptions& options) {
  std::shared_ptr<ImagePlan> plan(new ImagePlan());
  SizeAfter after;
  for (const ImageStep& step : steps) {
    std::visit(after, step);
    if (!after.size.has_value()) continue;
    if (after.size->height < 1 || after.size->width < 1 || after.size->height > kMaxSide || after.size->width > kMaxSide)
      return Status(Code::kInvalidArgument,
                    strf("a size of %u x %u; expected 1 to %u pixels a side", after.size->height, after.size->width, kMaxSide));
  }
  if (!after.size.has_value()) {
    return Status(Code::kInvalidArgument,
                  "the images would differ in size, and a batch is one tensor; end with a crop, or a resize to (height, width)");
  }
  if (output.dtype != DType::kUInt8 && output.dtype != DType::kFloat16 && output.dtype != DType::kBFloat16 &&
      output.dtype != DType::kFloat32)
    return Status(Code::kInvalidArgument, "images are delivered as uint8, float16, bfloat16 or float32");
  for (const float deviation : output.deviation) {
    if (!(deviation > 0)) return Status(Code::kInvalidArgument, strf("a standard deviation of %g; expected more than 0", deviation));
  }
  plan->steps_ = std::move(steps);
  plan->output_ = output;
  plan->options_ = options;
  plan->height_ = after.size->height;
  plan->width_ = after.size->width;
  plan->fill_table();
  return std::shared_ptr<const ImagePlan>(std::move(plan));
}

// The delivered value of each of 256 levels in each channel, by the arithmetic of torchvision's float32 tensors.
void ImagePlan::fill_table() {
  item_bytes_ = output_.dtype == DType::kUInt8 ? 1 : output_.dtype == DType::kFloat32 ? 4 : 2;
  table_.resize(std::size_t{3} * 256 * item_bytes_);
  for (std::size_t c = 0; c < 3; ++c) {
    for (std::size_t level = 0; level < 256; ++level) {
      float value = static_cast<float>(level);
      if (output_.scaled) value = value / 255.0f;
      value = (value - output_.mean[c]) / output_.deviation[c];
      std::uint8_t* const to = table_.data() + (c * 256 + level) * item_bytes_;
      if (output_.dtype == DType::kUInt8) {
        *to = static_cast<std::uint8_t>(level);
      } else {
        cast(DType::kFloat32, output_.dtype, reinterpret_cast<const std::uint8_t*>(&value), 1, to);
      }
    }
  }
}

format::Field ImagePlan::field_of(const format::Field& field) const {
  format::Field out;
  out.name = field.name;
  out.dtype = output_.dtype;
  out.itemsize = item_bytes_;
  out.shape = output_.channels_last ? std::vector<std::uint64_t>{height_, width_, 3} : std::vector<std::uint64_t>{3, height_, width_};
  out.nullable = field.nullable;
  return out;
}

void ImagePlan::write(const Planes& image, std::uint8_t* out) const {
  const std::size_t count = image.plane_bytes(), item = item_bytes_;
  for (std::size_t c = 0; c < 3; ++c) {
    const std::uint8_t* const table = table_.data() + c * 256 * item;
    std::uint8_t* const to = out + (output_.channels_last ? c : c * count) * item;
    if (item == 1 && !output_.channels_last) {
      std::memcpy(to, image.plane(c), count);
    } else if (item == 1) {
      look_up<std::uint8_t>(image.plane(c), count, table, output_.channels_last, to);
    } else if (item == 2) {
      look_up<std::uint16_t>(image.plane(c), count, table, output_.channels_last, to);
    } else {
      look_up<std::uint32_t>(image.plane(c), count, table, output_.channels_last, to);
    }
  }
}

void ImagePlan::erase(const RandomErasing& step, Draws& draws, std::uint8_t* out) const {
  if (draws.unit() >= step.probability) return;
  const double height = height_, width = width_;
  for (int i = 0; i < kTries; ++i) {
    const double area = height * width * draws.uniform(step.scale.low, step.scale.high);
    const double aspect = std::exp(draws.uniform(std::log(step.ratio.low), std::log(step.ratio.high)));
    const auto h = round_even(std::sqrt(area * aspect)), w = round_even(std::sqrt(area / aspect));
    if (!(h < height_ && w < width_)) continue;
    const std::uint32_t top = draws.below(height_ - h + 1), left = draws.below(width_ - w + 1);
    for (std::size_t c = 0; c < 3; ++c) {
      for (std::size_t y = top; y < top + h; ++y) {
        for (std::size_t x = left; x < left + w; ++x) {
          const float noise = step.noise[c] == 0 ? 0.0f : step.noise[c] * static_cast<float>(draws.normal());
          const float value = step.value[c] + noise;
          const std::size_t at = output_.channels_last ? (y * width_ + x) * 3 + c : (c * height_ + y) * width_ + x;
          if (output_.dtype == DType::kUInt8) {
            out[at] = static_cast<std::uint8_t>(std::clamp(value, 0.0f, 255.0f));
          } else {
            cast(DType::kFloat32, output_.dtype, reinterpret_cast<const std::uint8_t*>(&value), 1, out + at * item_bytes_);
          }
        }
      }
    }
    return;
  }
}

Status ImagePlan::run(Bytes encoded, const DrawKey& key, std::uint8_t* out) const {
  ImageCanvas& canvas = canvas_of_thread();
  HR_RETURN_IF_ERROR(canvas.open(encoded, options_));
  for (std::uint32_t i = 0; i < steps_.size(); ++i) {
    Draws draws(key, i);
    HR_RETURN_IF_ERROR(std::visit(Apply{canvas, draws}, steps_[i]));
  }
  Planes* image = nullptr;
  HR_RETURN_IF_ERROR(canvas.pixels(&image));
  write(*image, out);
  for (std::uint32_t i = 0; i < steps_.size(); ++i) {
    const auto* erasing = std::get_if<RandomErasing>(&steps_[i]);
    if (erasing == nullptr) continue;
    Draws draws(key, i);
    erase(*erasing, draws, out);
  }
  return Status::ok();
}

}  // namespace headrace::ops
