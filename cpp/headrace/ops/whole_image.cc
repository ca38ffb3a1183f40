#include "headrace/ops/whole_image.h"

#include <algorithm>
#include <cstring>

namespace headrace::ops {

ImageKind image_kind(Bytes encoded) {
  const auto begins = [&](std::size_t at, const char* text, std::size_t size) {
    return encoded.size() >= at + size && std::memcmp(encoded.data() + at, text, size) == 0;
  };
  if (begins(0, "\xFF\xD8", 2)) return ImageKind::kJpeg;
  if (begins(0, "\x89PNG\r\n\x1A\n", 8)) return ImageKind::kPng;
  if (begins(0, "RIFF", 4) && begins(8, "WEBP", 4)) return ImageKind::kWebp;
  return ImageKind::kUnknown;
}

std::string image_formats() {
  std::string out = "jpeg";
#if defined(HEADRACE_PNG)
  out += " png";
#endif
#if defined(HEADRACE_WEBP)
  out += " webp";
#endif
  return out;
}

Status WholeImage::open(ImageKind kind, Bytes encoded, const ImageLimits& limits) {
  kind_ = kind;
  encoded_ = encoded;
  if (kind == ImageKind::kPng) {
    HR_RETURN_IF_ERROR(detail::png_size(encoded, &width_, &height_));
  } else if (kind == ImageKind::kWebp) {
    HR_RETURN_IF_ERROR(detail::webp_size(encoded, &width_, &height_));
  } else {
    return {Code::kCorrupt, strf("decode an image: %zu bytes that begin neither as a JPEG, a PNG nor a WebP file does", encoded.size())};
  }
  if (std::uint64_t{width_} * height_ > limits.max_pixels)
    return {Code::kLimitExceeded, strf("decode an image: %u x %u is beyond the limit of %llu pixels (max_pixels)", width_, height_,
                                       static_cast<unsigned long long>(limits.max_pixels))};
  return Status::ok();
}

Result<PixelView> WholeImage::pixels() {
  rgb_.resize(std::max(rgb_.size(), std::size_t{width_} * height_ * 3));
  HR_RETURN_IF_ERROR((kind_ == ImageKind::kPng ? detail::png_pixels : detail::webp_pixels)(encoded_, width_, height_, rgb_.data()));
  return PixelView{rgb_.data(), std::size_t{width_} * 3, width_, height_};
}

}  // namespace headrace::ops
