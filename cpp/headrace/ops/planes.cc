// Compiled without fused multiply-add (CMakeLists.txt): Pillow's arithmetic rounds after each step.
#include "headrace/ops/planes.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "headrace/base/multiversion.h"

namespace headrace::ops {
namespace {

HR_INLINE std::uint8_t luma(unsigned r, unsigned g, unsigned b) {
  return static_cast<std::uint8_t>((r * 19595 + g * 38470 + b * 7471 + 0x8000) >> 16);
}

HR_MULTIVERSION void luma_of(const std::uint8_t* r, const std::uint8_t* g, const std::uint8_t* b, std::size_t count, std::uint8_t* out) {
  for (std::size_t i = 0; i < count; ++i) out[i] = luma(r[i], g[i], b[i]);
}

// Image.blend(): from `other` to the image. Beyond 1 it may leave the range of a byte.
HR_INLINE std::uint8_t blend(int other, int pixel, float factor) {
  const float value = static_cast<float>(other) + factor * static_cast<float>(pixel - other);
  return static_cast<std::uint8_t>(std::clamp(value, 0.0f, 255.0f));
}

HR_MULTIVERSION void blend_with(std::uint8_t* pixels, const std::uint8_t* other, std::size_t count, float factor) {
  for (std::size_t i = 0; i < count; ++i) pixels[i] = blend(other[i], pixels[i], factor);
}

void blend_with_level(Planes& image, int level, float factor) {
  std::uint8_t table[256];
  for (int i = 0; i < 256; ++i) table[i] = blend(level, i, factor);
  std::uint8_t* const bytes = image.bytes.data();
  for (std::size_t i = 0, end = 3 * image.plane_bytes(); i < end; ++i) bytes[i] = table[bytes[i]];
}

std::vector<std::uint8_t>& grey_of_thread(const Planes& image) {
  thread_local std::vector<std::uint8_t> grey;
  if (grey.size() < image.plane_bytes()) grey.resize(image.plane_bytes());
  luma_of(image.plane(0), image.plane(1), image.plane(2), image.plane_bytes(), grey.data());
  return grey;
}

struct Hsv {
  std::uint8_t h, s, v;
};

std::uint8_t to_byte(double value) { return static_cast<std::uint8_t>(std::clamp(static_cast<int>(value), 0, 255)); }

Hsv to_hsv(int r, int g, int b) {
  const int most = std::max(r, std::max(g, b)), least = std::min(r, std::min(g, b));
  if (most == least) return {0, 0, static_cast<std::uint8_t>(most)};
  const auto range = static_cast<float>(most - least);
  const float s = range / static_cast<float>(most);
  const float rc = static_cast<float>(most - r) / range, gc = static_cast<float>(most - g) / range,
              bc = static_cast<float>(most - b) / range;
  float h = 0;
  if (r == most) {
    h = bc - gc;
  } else if (g == most) {
    h = static_cast<float>(2.0 + rc - bc);
  } else {
    h = static_cast<float>(4.0 + gc - rc);
  }
  h = static_cast<float>(std::fmod(h / 6.0 + 1.0, 1.0));
  return {to_byte(h * 255.0), to_byte(s * 255.0), static_cast<std::uint8_t>(most)};
}

void to_rgb(const Hsv& in, std::uint8_t* r, std::uint8_t* g, std::uint8_t* b) {
  if (in.s == 0) {
    *r = *g = *b = in.v;
    return;
  }
  const int sector = static_cast<int>(std::floor(static_cast<float>(in.h) * 6.0 / 255.0));
  const auto f = static_cast<float>(static_cast<float>(in.h) * 6.0 / 255.0 - static_cast<float>(sector));
  const auto fs = static_cast<float>(static_cast<float>(in.s) / 255.0);
  const auto v = static_cast<float>(in.v);
  const std::uint8_t p = to_byte(std::round(v * (1.0 - fs)));
  const std::uint8_t q = to_byte(std::round(v * (1.0 - fs * f)));
  const std::uint8_t t = to_byte(std::round(v * (1.0 - fs * (1.0 - f))));
  const std::uint8_t choices[6][3] = {{in.v, t, p}, {q, in.v, p}, {p, in.v, t}, {p, q, in.v}, {t, p, in.v}, {in.v, p, q}};
  const std::uint8_t* const chosen = choices[sector % 6];
  *r = chosen[0];
  *g = chosen[1];
  *b = chosen[2];
}

// Which pixel of a line of `size` stands at `at` of the padded one; -1: the fill.
std::int64_t source_of(std::int64_t at, std::int64_t before, std::int64_t size, PadMode mode) {
  const std::int64_t i = at - before;
  if (i >= 0 && i < size) return i;
  switch (mode) {
    case PadMode::kConstant: return -1;
    case PadMode::kEdge: return std::clamp<std::int64_t>(i, 0, size - 1);
    case PadMode::kReflect: return i < 0 ? -i : 2 * (size - 1) - i;
    case PadMode::kSymmetric: return i < 0 ? -i - 1 : 2 * size - 1 - i;
  }
  return -1;
}

}  // namespace

void Planes::resize(std::uint32_t new_width, std::uint32_t new_height) {
  width = new_width;
  height = new_height;
  if (bytes.size() < 3 * plane_bytes()) bytes.resize(3 * plane_bytes());
}

void adjust_brightness(Planes& image, float factor) {
  if (factor != 1.0f) blend_with_level(image, 0, factor);
}

void adjust_contrast(Planes& image, float factor) {
  if (factor == 1.0f) return;
  const std::vector<std::uint8_t>& grey = grey_of_thread(image);
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < image.plane_bytes(); ++i) sum += grey[i];
  const double mean = static_cast<double>(sum) / static_cast<double>(image.plane_bytes());
  blend_with_level(image, static_cast<int>(mean + 0.5), factor);
}

void adjust_saturation(Planes& image, float factor) {
  if (factor == 1.0f) return;
  const std::vector<std::uint8_t>& grey = grey_of_thread(image);
  for (std::size_t c = 0; c < 3; ++c) blend_with(image.plane(c), grey.data(), image.plane_bytes(), factor);
}

void shift_hue(Planes& image, std::uint8_t shift) {
  std::uint8_t *const r = image.plane(0), *const g = image.plane(1), *const b = image.plane(2);
  for (std::size_t i = 0; i < image.plane_bytes(); ++i) {
    Hsv hsv = to_hsv(r[i], g[i], b[i]);
    hsv.h = static_cast<std::uint8_t>(hsv.h + shift);
    to_rgb(hsv, r + i, g + i, b + i);
  }
}

void make_grey(Planes& image) {
  const std::vector<std::uint8_t>& grey = grey_of_thread(image);
  for (std::size_t c = 0; c < 3; ++c) std::memcpy(image.plane(c), grey.data(), image.plane_bytes());
}

void pad(const Planes& image, std::uint32_t left, std::uint32_t top, std::uint32_t right, std::uint32_t bottom, PadMode mode,
         std::span<const std::uint8_t, 3> fill, Planes& out) {
  out.resize(image.width + left + right, image.height + top + bottom);
  for (std::size_t c = 0; c < 3; ++c) {
    for (std::uint32_t y = 0; y < out.height; ++y) {
      std::uint8_t* const to = out.plane(c) + std::size_t{y} * out.width;
      const std::int64_t row = source_of(y, top, image.height, mode);
      const std::uint8_t* const from = row < 0 ? nullptr : image.plane(c) + static_cast<std::size_t>(row) * image.width;
      for (std::uint32_t x = 0; x < out.width; ++x) {
        const std::int64_t column = from == nullptr ? -1 : source_of(x, left, image.width, mode);
        to[x] = column < 0 ? fill[c] : from[column];
      }
    }
  }
}

}  // namespace headrace::ops
