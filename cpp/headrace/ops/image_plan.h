// What becomes of an encoded image on its way into a batch: decode, crop, resize, flip, colours, normalise, as one plan.
//
// Crops, flips and a resize are not done one by one: they are put together, and only what is left at the end is decoded and resampled,
// once. Names, arguments, order of draws and distributions are torchvision's; pixels are Pillow's.
//
// Owns nothing but its steps and tables. Immutable: any thread; buffers are the thread's own.
// Result:  run() is a function of (bytes, key) alone.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <variant>
#include <vector>

#include "headrace/base/bytes.h"
#include "headrace/base/status.h"
#include "headrace/format/schema.h"
#include "headrace/ops/draws.h"
#include "headrace/ops/jpeg.h"
#include "headrace/ops/planes.h"
#include "headrace/ops/resample.h"

namespace headrace::ops {

struct Range {
  double low = 0, high = 0;
};

// To height x width; or, with `shorter` > 0, so that the shorter side has that size, and the longer one at most `longest` (0: any).
struct Resize {
  std::uint32_t height = 0, width = 0, shorter = 0, longest = 0;
  Filter filter = Filter::kBilinear;
};
// Of what is smaller, zeros around it.
struct CenterCrop {
  std::uint32_t height = 0, width = 0;
};
struct Pad {
  std::uint32_t left = 0, top = 0, right = 0, bottom = 0;
  PadMode mode = PadMode::kConstant;
  std::array<std::uint8_t, 3> fill{};
};
// `if_needed`: what is smaller is padded on both sides first.
struct RandomCrop {
  std::uint32_t height = 0, width = 0;
  bool if_needed = false;
  PadMode mode = PadMode::kConstant;
  std::array<std::uint8_t, 3> fill{};
};
struct RandomResizedCrop {
  std::uint32_t height = 0, width = 0;
  Range scale, ratio;
  Filter filter = Filter::kBilinear;
};
struct RandomFlip {
  bool horizontal = true;
  double probability = 0.5;
};
// In an order that is drawn; an absent one is not applied.
struct ColorJitter {
  std::array<bool, 4> present{};  // brightness, contrast, saturation, hue
  std::array<Range, 4> ranges;
};
struct RandomGrayscale {
  double probability = 0.1;
};
// In the delivered image: value[c] + noise[c] * (a normal draw each).
struct RandomErasing {
  double probability = 0.5;
  Range scale, ratio;
  std::array<float, 3> value{}, noise{};
};
// RandAugment (`wide` false: `operations` of them at one magnitude) and TrivialAugmentWide (one, at any).
struct AutoAugment {
  bool wide = false;
  std::uint32_t operations = 2, magnitude = 9, bins = 31;
  std::array<std::uint8_t, 3> fill{};
};
using ImageStep = std::variant<AutoAugment, Resize, CenterCrop, Pad, RandomCrop, RandomResizedCrop, RandomFlip, ColorJitter,
                               RandomGrayscale, RandomErasing>;

// (pixel / 255 if `scaled`, - mean) / deviation, in float32, then rounded to the dtype.
struct ImageOutput {
  format::DType dtype = format::DType::kUInt8;  // or float16, bfloat16, float32
  bool channels_last = false;
  bool scaled = false;
  std::array<float, 3> mean{0, 0, 0}, deviation{1, 1, 1};
};

struct ImageOptions {
  bool exact = false;     // decode in full with the accurate transform: pixels equal Pillow's
  bool exif = true;       // turn images as their metadata says
  double reducing = 1.0;  // decode at a fraction of the size where that leaves at least so many times the pixels of the resized image
  ImageLimits limits;
};

class ImagePlan {
 public:
  // Errors: kInvalidArgument: a size that differs from image to image (a crop or a resize to height x width must come last), a dtype.
  static Result<std::shared_ptr<const ImagePlan>> create(std::vector<ImageStep> steps, const ImageOutput& output,
                                                         const ImageOptions& options);

  std::uint32_t height() const { return height_; }
  std::uint32_t width() const { return width_; }
  bool channels_last() const { return output_.channels_last; }
  std::uint64_t bytes() const { return std::uint64_t{height_} * width_ * 3 * item_bytes_; }
  // A field of such images, named as `field`.
  format::Field field_of(const format::Field& field) const;

  // Writes bytes() to `out`. Errors: those of JpegDecoder; kInvalidArgument: an image too small for a crop or a padding; kLimitExceeded.
  Status run(Bytes encoded, const DrawKey& key, std::uint8_t* out) const;

 private:
  ImagePlan() = default;
  void fill_table();
  void write(const Planes& image, std::uint8_t* out) const;
  void erase(const RandomErasing& step, Draws& draws, std::uint8_t* out) const;

  std::vector<ImageStep> steps_;
  ImageOutput output_;
  ImageOptions options_;
  std::uint32_t height_ = 0, width_ = 0, item_bytes_ = 1;
  std::vector<std::uint8_t> table_;  // [channel][pixel] delivered
};

}  // namespace headrace::ops
