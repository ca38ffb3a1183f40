// Compiled without fused multiply-add (CMakeLists.txt).
#include "headrace/ops/augment.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numbers>
#include <utility>

namespace headrace::ops {
namespace {

using Table = std::array<std::uint8_t, 256>;

std::uint8_t to_byte(double value) { return static_cast<std::uint8_t>(std::clamp(value, 0.0, 255.0)); }

void apply(std::uint8_t* plane, std::size_t count, const Table& table) {
  for (std::size_t i = 0; i < count; ++i) plane[i] = table[plane[i]];
}

template <typename Level>
void apply_to_all(Planes& image, const Level& level) {
  Table table;
  for (int i = 0; i < 256; ++i) table[static_cast<std::size_t>(i)] = level(i);
  apply(image.bytes.data(), 3 * image.plane_bytes(), table);
}

// Where pixel (x, y) comes from: (a x + b y + c, d x + e y + f), in pixels, of their corners.
struct Affine {
  double a = 1, b = 0, c = 0, d = 0, e = 1, f = 0;
};

std::int64_t fixed(double value) { return static_cast<std::int64_t>(std::floor(value * 65536.0 + 0.5)); }

// In 16.16 fixed point, as Pillow does it.
void transform(Planes& image, const Affine& m, const std::array<std::uint8_t, 3>& fill, Planes& spare) {
  spare.resize(image.width, image.height);
  const std::int64_t a = fixed(m.a), b = fixed(m.b), d = fixed(m.d), e = fixed(m.e);
  std::int64_t row_x = fixed(m.c + m.a * 0.5 + m.b * 0.5), row_y = fixed(m.f + m.d * 0.5 + m.e * 0.5);
  for (std::uint32_t y = 0; y < image.height; ++y, row_x += b, row_y += e) {
    std::int64_t at_x = row_x, at_y = row_y;
    for (std::uint32_t x = 0; x < image.width; ++x, at_x += a, at_y += d) {
      const std::int64_t from_x = at_x >> 16, from_y = at_y >> 16;
      const bool inside = from_x >= 0 && from_x < image.width && from_y >= 0 && from_y < image.height;
      for (std::size_t c = 0; c < 3; ++c) {
        const std::uint8_t level =
            inside ? image.plane(c)[static_cast<std::size_t>(from_y) * image.width + static_cast<std::size_t>(from_x)] : fill[c];
        spare.plane(c)[std::size_t{y} * image.width + x] = level;
      }
    }
  }
  std::swap(image, spare);
}

double round_15(double value) { return std::nearbyint(value * 1e15) / 1e15; }

// Image.rotate(): counter-clockwise about the middle.
void rotate(Planes& image, double degrees, const std::array<std::uint8_t, 3>& fill, Planes& spare) {
  double turn = std::fmod(degrees, 360.0);
  if (turn < 0) turn += 360.0;
  if (turn == 0) return;
  const double angle = -turn * std::numbers::pi / 180.0;
  Affine m{round_15(std::cos(angle)), round_15(std::sin(angle)), 0, round_15(-std::sin(angle)), round_15(std::cos(angle)), 0};
  const double x = image.width / 2.0, y = image.height / 2.0;
  m.c = m.a * -x + m.b * -y + x;
  m.f = m.d * -x + m.e * -y + y;
  transform(image, m, fill, spare);
}

// ImageFilter.SMOOTH, whose border pixels stay as they are; then ImageEnhance.Sharpness.
void sharpen(Planes& image, float factor, Planes& spare) {
  if (factor == 1.0f) return;
  spare = image;
  const std::size_t width = image.width;
  constexpr float kNear = 1.0f / 13.0f, kSelf = 5.0f / 13.0f;
  for (std::size_t c = 0; c < 3; ++c) {
    const std::uint8_t* const in = spare.plane(c);
    std::uint8_t* const out = image.plane(c);
    for (std::size_t y = 1; y + 1 < image.height; ++y) {
      for (std::size_t x = 1; x + 1 < width; ++x) {
        const std::uint8_t* const p = in + y * width + x;
        const auto three = [](const std::uint8_t* row, float middle) {
          return static_cast<float>(row[-1]) * kNear + static_cast<float>(row[0]) * middle + static_cast<float>(row[1]) * kNear;
        };
        const float sum = 0.5f + three(p + width, kNear) + three(p, kSelf) + three(p - width, kNear);
        const auto smooth = static_cast<int>(to_byte(sum));
        const float value = static_cast<float>(smooth) + factor * static_cast<float>(p[0] - smooth);
        out[y * width + x] = to_byte(value);
      }
    }
  }
}

std::array<std::uint64_t, 256> histogram(const std::uint8_t* plane, std::size_t count) {
  std::array<std::uint64_t, 256> out{};
  for (std::size_t i = 0; i < count; ++i) ++out[plane[i]];
  return out;
}

void auto_contrast(std::uint8_t* plane, std::size_t count) {
  const auto levels = histogram(plane, count);
  int low = 0, high = 255;
  while (low < 255 && levels[static_cast<std::size_t>(low)] == 0) ++low;
  while (high > 0 && levels[static_cast<std::size_t>(high)] == 0) --high;
  if (high <= low) return;
  const double scale = 255.0 / (high - low), offset = -low * scale;
  Table table;
  for (int i = 0; i < 256; ++i) table[static_cast<std::size_t>(i)] = to_byte(std::trunc(i * scale + offset));
  apply(plane, count, table);
}

void equalize(std::uint8_t* plane, std::size_t count) {
  const auto levels = histogram(plane, count);
  std::size_t used = 0, last = 0;
  for (std::size_t i = 0; i < 256; ++i) {
    if (levels[i] == 0) continue;
    ++used;
    last = i;
  }
  const std::uint64_t step = (count - levels[last]) / 255;
  if (used <= 1 || step == 0) return;
  Table table;
  std::uint64_t sum = step / 2;
  for (std::size_t i = 0; i < 256; ++i) {
    table[i] = static_cast<std::uint8_t>(std::min<std::uint64_t>(255, sum / step));
    sum += levels[i];
  }
  apply(plane, count, table);
}

double linear(double first, double last, std::uint32_t bin, std::uint32_t bins) { return first + (last - first) * bin / (bins - 1); }

}  // namespace

void augment(Planes& image, Augmentation operation, double magnitude, const std::array<std::uint8_t, 3>& fill, Planes& spare) {
  const std::size_t count = image.plane_bytes();
  const auto factor = static_cast<float>(1.0 + magnitude);
  switch (operation) {
    case Augmentation::kIdentity: return;
    case Augmentation::kShearX: return transform(image, {1, magnitude, 0, 0, 1, 0}, fill, spare);
    case Augmentation::kShearY: return transform(image, {1, 0, 0, magnitude, 1, 0}, fill, spare);
    case Augmentation::kTranslateX: return transform(image, {1, 0, -std::trunc(magnitude), 0, 1, 0}, fill, spare);
    case Augmentation::kTranslateY: return transform(image, {1, 0, 0, 0, 1, -std::trunc(magnitude)}, fill, spare);
    case Augmentation::kRotate: return rotate(image, magnitude, fill, spare);
    case Augmentation::kBrightness: return adjust_brightness(image, factor);
    case Augmentation::kColor: return adjust_saturation(image, factor);
    case Augmentation::kContrast: return adjust_contrast(image, factor);
    case Augmentation::kSharpness: return sharpen(image, factor, spare);
    case Augmentation::kPosterize: {
      const int mask = ~((1 << (8 - static_cast<int>(magnitude))) - 1);
      return apply_to_all(image, [mask](int level) { return static_cast<std::uint8_t>(level & mask); });
    }
    case Augmentation::kSolarize:
      return apply_to_all(image, [magnitude](int level) { return static_cast<std::uint8_t>(level < magnitude ? level : 255 - level); });
    case Augmentation::kAutoContrast:
      for (std::size_t c = 0; c < 3; ++c) auto_contrast(image.plane(c), count);
      return;
    case Augmentation::kEqualize:
      for (std::size_t c = 0; c < 3; ++c) equalize(image.plane(c), count);
      return;
  }
}

Magnitude magnitude_of(Augmentation operation, bool wide, std::uint32_t bin, std::uint32_t bins, std::uint32_t width,
                       std::uint32_t height) {
  switch (operation) {
    case Augmentation::kShearX:
    case Augmentation::kShearY: return {linear(0, wide ? 0.99 : 0.3, bin, bins), true};
    case Augmentation::kTranslateX: return {linear(0, wide ? 32.0 : 150.0 / 331.0 * width, bin, bins), true};
    case Augmentation::kTranslateY: return {linear(0, wide ? 32.0 : 150.0 / 331.0 * height, bin, bins), true};
    case Augmentation::kRotate: return {linear(0, wide ? 135.0 : 30.0, bin, bins), true};
    case Augmentation::kBrightness:
    case Augmentation::kColor:
    case Augmentation::kContrast:
    case Augmentation::kSharpness: return {linear(0, wide ? 0.99 : 0.9, bin, bins), true};
    case Augmentation::kPosterize: return {8.0 - std::nearbyint(bin / ((bins - 1) / (wide ? 6.0 : 4.0))), false};
    case Augmentation::kSolarize: return {linear(255, 0, bin, bins), false};
    case Augmentation::kIdentity:
    case Augmentation::kAutoContrast:
    case Augmentation::kEqualize: break;
  }
  return {};
}

}  // namespace headrace::ops
