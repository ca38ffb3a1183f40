// An RGB image as three planes of bytes, and the colour operations on it: Pillow's arithmetic, bit for bit.
//
// Owns its pixels. One thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace headrace::ops {

struct Planes {
  std::uint32_t width = 0, height = 0;
  std::vector<std::uint8_t> bytes;  // [channel][row][column]; may be longer

  std::size_t plane_bytes() const { return std::size_t{width} * height; }
  void resize(std::uint32_t new_width, std::uint32_t new_height);
  std::uint8_t* plane(std::size_t channel) { return bytes.data() + channel * plane_bytes(); }
  const std::uint8_t* plane(std::size_t channel) const { return bytes.data() + channel * plane_bytes(); }
};

// ImageEnhance.Brightness, Contrast and Color (saturation); factor >= 0, 1 leaves the image as it is.
void adjust_brightness(Planes& image, float factor);
void adjust_contrast(Planes& image, float factor);
void adjust_saturation(Planes& image, float factor);
// Turns the hue by `shift` 255ths of a circle, in 8-bit HSV.
void shift_hue(Planes& image, std::uint8_t shift);
// The luma (ITU-R 601) in all three channels.
void make_grey(Planes& image);

enum class PadMode : std::uint8_t { kConstant, kEdge, kReflect, kSymmetric };
// out = `image` with so many pixels on each side. REQUIRES: reflect: fewer than the image has, symmetric: at most as many.
void pad(const Planes& image, std::uint32_t left, std::uint32_t top, std::uint32_t right, std::uint32_t bottom, PadMode mode,
         std::span<const std::uint8_t, 3> fill, Planes& out);

}  // namespace headrace::ops
