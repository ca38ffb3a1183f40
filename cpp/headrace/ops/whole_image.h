// PNG, WebP and PPM files, which are decoded whole; those of PPM are pixels already. The libraries are optional at build.
//
// Owns:     the pixels of the last decode.
// Threads:  one at a time; ImageCanvas has its own.
// Memory:   what is decoded is bounded by ImageLimits before anything of its size is allocated.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "headrace/base/bytes.h"
#include "headrace/base/status.h"
#include "headrace/ops/jpeg.h"

namespace headrace::ops {

enum class ImageKind : std::uint8_t { kUnknown, kJpeg, kPng, kWebp, kPpm };
// By the first bytes.
ImageKind image_kind(Bytes encoded);
// "jpeg ppm png webp", less what this build lacks.
std::string image_formats();

class WholeImage {
 public:
  // Reads the header; `encoded` must stay until pixels(). Errors: kUnsupported (not built in, or animated), kCorrupt, kTruncated,
  // kLimitExceeded.
  Status open(ImageKind kind, Bytes encoded, const ImageLimits& limits);
  std::uint32_t width() const { return width_; }
  std::uint32_t height() const { return height_; }
  // All of them, as RGB; of PPM in `encoded` itself: 16 bits are cut to 8, transparency is dropped, as Pillow's convert("RGB") does. Valid
  // until the next call. Errors: kCorrupt, kOutOfMemory.
  Result<PixelView> pixels();

 private:
  ImageKind kind_ = ImageKind::kUnknown;
  Bytes encoded_;
  std::uint32_t width_ = 0, height_ = 0;
  std::size_t pixels_at_ = 0;  // of PPM
  std::vector<std::uint8_t> rgb_;
};

namespace detail {
// Binary PPM (P6) of 8 bits, without comments: where the pixels begin, and that they are all there.
Status ppm_size(Bytes encoded, std::uint32_t* width, std::uint32_t* height, std::size_t* pixels_at);
// Each in a file of its own. `rgb` holds width * height * 3 bytes.
Status png_size(Bytes encoded, std::uint32_t* width, std::uint32_t* height);
Status png_pixels(Bytes encoded, std::uint32_t width, std::uint32_t height, std::uint8_t* rgb);
Status webp_size(Bytes encoded, std::uint32_t* width, std::uint32_t* height);
Status webp_pixels(Bytes encoded, std::uint32_t width, std::uint32_t height, std::uint8_t* rgb);
}  // namespace detail

}  // namespace headrace::ops
