// MixUp and CutMix on a batch of delivered images and their labels: each sample with the one before it, the first with the last.
//
// Arithmetic and distributions are those of torchvision.transforms.v2: the share of a sample's own image is drawn once a batch from
// Beta(alpha, alpha). What is drawn is a function of the key alone.
//
// Owns:     its choices; immutable. Any thread may draw; one thread at a time on a batch.
// Memory:   mixes in place, beside one image of scratch memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "headrace/base/status.h"
#include "headrace/format/schema.h"
#include "headrace/ops/draws.h"
#include "headrace/ops/jpeg.h"

namespace headrace::ops {

enum class MixKind : std::uint8_t { kNone, kMixUp, kCutMix };

struct MixChoice {
  MixKind kind = MixKind::kNone;
  double alpha = 1.0;   // above 0; of Beta(alpha, alpha)
  double weight = 1.0;  // among the choices of a batch
};

// What becomes of one batch. `share` is of a sample's own image and label; `box` is where CutMix puts the other image.
struct Mix {
  MixKind kind = MixKind::kNone;
  double share = 1.0;
  ImageRect box;
};

// How the images of a batch lie in memory, one after the other.
struct ImageShape {
  std::uint32_t height = 0, width = 0, item_bytes = 1;
  bool channels_last = false;
  std::size_t bytes() const { return std::size_t{height} * width * 3 * item_bytes; }
};

class ImageMix {
 public:
  // Errors: kInvalidArgument: no choice, an alpha or weight that is not above 0 and finite, no class.
  static Result<std::shared_ptr<const ImageMix>> create(std::vector<MixChoice> choices, std::uint32_t classes);

  std::uint32_t classes() const { return classes_; }
  bool has(MixKind kind) const;
  Mix draw(const DrawKey& key, std::uint32_t height, std::uint32_t width) const;

 private:
  ImageMix() = default;
  std::vector<MixChoice> choices_;
  std::uint32_t classes_ = 0;
};

// `count` images in place. MixUp is for float16, bfloat16 and float32, and rounds after each operation, as torch's tensors do.
void mix_images(const Mix& mix, format::DType dtype, const ImageShape& shape, std::size_t count, std::uint8_t* images);

// Labels as shares of the classes: out[i] is float32 (classes). REQUIRES: every label < classes.
void mix_labels(const Mix& mix, const std::vector<std::uint32_t>& labels, std::uint32_t classes, float* out);

}  // namespace headrace::ops
