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
  if (begins(0, "P6", 2)) return ImageKind::kPpm;
  return ImageKind::kUnknown;
}

Status detail::ppm_size(Bytes encoded, std::uint32_t* width, std::uint32_t* height, std::size_t* pixels_at) {
  constexpr std::uint64_t kMost = 1u << 30;
  std::size_t at = 2;
  std::uint64_t numbers[3] = {};
  const auto is_space = [](std::uint8_t byte) { return byte == ' ' || (byte >= '\t' && byte <= '\r'); };
  for (std::uint64_t& number : numbers) {
    const std::size_t begin = at;
    while (at < encoded.size() && is_space(encoded[at])) ++at;
    const std::size_t digits = at;
    while (at < encoded.size() && encoded[at] >= '0' && encoded[at] <= '9' && number < kMost) number = number * 10 + (encoded[at++] - '0');
    if (digits == begin || at == digits) return {Code::kCorrupt, "decode PPM: its header is not 'P6 width height 255'"};
  }
  if (at == encoded.size()) return {Code::kTruncated, "decode PPM: it ends in its header: the file was cut"};
  if (!is_space(encoded[at]) || numbers[2] != 255)
    return {Code::kUnsupported, strf("decode PPM: levels up to %llu; expected 255", static_cast<unsigned long long>(numbers[2]))};
  std::uint64_t bytes = 0;
  if (numbers[0] < 1 || numbers[1] < 1 || numbers[0] >= kMost || numbers[1] >= kMost || !checked_mul(numbers[0] * 3, numbers[1], &bytes))
    return {Code::kCorrupt, "decode PPM: a header without a size"};
  if (encoded.size() - at - 1 < bytes)
    return {Code::kTruncated,
            strf("decode PPM: %llu x %llu pixels in %zu bytes: the file was cut", static_cast<unsigned long long>(numbers[0]),
                 static_cast<unsigned long long>(numbers[1]), encoded.size())};
  *width = static_cast<std::uint32_t>(numbers[0]);
  *height = static_cast<std::uint32_t>(numbers[1]);
  *pixels_at = at + 1;
  return Status::ok();
}

std::string image_formats() {
  std::string out = "jpeg ppm";
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
  } else if (kind == ImageKind::kPpm) {
    HR_RETURN_IF_ERROR(detail::ppm_size(encoded, &width_, &height_, &pixels_at_));
  } else {
    return {Code::kCorrupt,
            strf("decode an image: %zu bytes that begin neither as a JPEG, a PNG, a WebP nor a PPM file does", encoded.size())};
  }
  if (std::uint64_t{width_} * height_ > limits.max_pixels)
    return {Code::kLimitExceeded, strf("decode an image: %u x %u is beyond the limit of %llu pixels (max_pixels)", width_, height_,
                                       static_cast<unsigned long long>(limits.max_pixels))};
  return Status::ok();
}

Result<PixelView> WholeImage::pixels() {
  if (kind_ == ImageKind::kPpm) return PixelView{encoded_.data() + pixels_at_, std::size_t{width_} * 3, width_, height_};
  rgb_.resize(std::max(rgb_.size(), std::size_t{width_} * height_ * 3));
  HR_RETURN_IF_ERROR((kind_ == ImageKind::kPng ? detail::png_pixels : detail::webp_pixels)(encoded_, width_, height_, rgb_.data()));
  return PixelView{rgb_.data(), std::size_t{width_} * 3, width_, height_};
}

}  // namespace headrace::ops
