// The operations of RandAugment and TrivialAugment on an image: Pillow's arithmetic, with the nearest pixel where it is turned or slanted.
//
// Plain functions; `spare` is scratch memory. One thread at a time on an image.
#pragma once

#include <array>
#include <cstdint>

#include "headrace/ops/planes.h"

namespace headrace::ops {

enum class Augmentation : std::uint8_t {
  kIdentity,
  kShearX,
  kShearY,
  kTranslateX,
  kTranslateY,
  kRotate,
  kBrightness,
  kColor,
  kContrast,
  kSharpness,
  kPosterize,
  kSolarize,
  kAutoContrast,
  kEqualize,
};
constexpr std::uint32_t kAugmentations = 14;

// `magnitude`, as torchvision's _apply_op() takes it: a slope, pixels, degrees, a factor less 1, bits, or a level. `fill` is for pixels that
// come from outside.
void augment(Planes& image, Augmentation operation, double magnitude, const std::array<std::uint8_t, 3>& fill, Planes& spare);

// The magnitude of bin `bin` of `bins` in torchvision's tables, and whether its sign is drawn. `wide`: TrivialAugmentWide's, else
// RandAugment's. REQUIRES: bin < bins, bins > 1.
struct Magnitude {
  double value = 0;
  bool is_signed = false;
};
Magnitude magnitude_of(Augmentation operation, bool wide, std::uint32_t bin, std::uint32_t bins, std::uint32_t width, std::uint32_t height);

}  // namespace headrace::ops
