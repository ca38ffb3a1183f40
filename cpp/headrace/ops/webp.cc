// The one file that knows libwebp.
#include "headrace/ops/whole_image.h"

#if defined(HEADRACE_WEBP)

#include <webp/decode.h>

namespace headrace::ops::detail {

Status webp_size(Bytes encoded, std::uint32_t* width, std::uint32_t* height) {
  WebPBitstreamFeatures features;
  const VP8StatusCode code = WebPGetFeatures(encoded.data(), encoded.size(), &features);
  if (code == VP8_STATUS_NOT_ENOUGH_DATA)
    return {Code::kTruncated, strf("decode WebP: %zu bytes end in its header: the file was cut", encoded.size())};
  if (code != VP8_STATUS_OK) return {Code::kCorrupt, strf("decode WebP: a damaged header (VP8 status %d)", static_cast<int>(code))};
  if (features.has_animation != 0) return {Code::kUnsupported, "decode WebP: it is animated; only still images are decoded"};
  *width = static_cast<std::uint32_t>(features.width);
  *height = static_cast<std::uint32_t>(features.height);
  return Status::ok();
}

Status webp_pixels(Bytes encoded, std::uint32_t width, std::uint32_t height, std::uint8_t* rgb) {
  WebPDecoderConfig config;
  if (WebPInitDecoderConfig(&config) == 0)
    return {Code::kUnsupported, "decode WebP: the library is of another version than it was built with"};
  config.output.colorspace = MODE_RGB;
  config.output.is_external_memory = 1;
  config.output.u.RGBA.rgba = rgb;
  config.output.u.RGBA.stride = static_cast<int>(width * 3);
  config.output.u.RGBA.size = std::size_t{width} * height * 3;
  const VP8StatusCode code = WebPDecode(encoded.data(), encoded.size(), &config);
  WebPFreeDecBuffer(&config.output);
  switch (code) {
    case VP8_STATUS_OK: return Status::ok();
    case VP8_STATUS_NOT_ENOUGH_DATA:
    case VP8_STATUS_SUSPENDED:
      return {Code::kTruncated, strf("decode WebP: %zu bytes are not all of it: the file was cut", encoded.size())};
    case VP8_STATUS_OUT_OF_MEMORY: return {Code::kOutOfMemory, "decode WebP: out of memory"};
    default: return {Code::kCorrupt, strf("decode WebP: damaged (VP8 status %d)", static_cast<int>(code))};
  }
}

}  // namespace headrace::ops::detail

#else

namespace headrace::ops::detail {

Status webp_size(Bytes, std::uint32_t*, std::uint32_t*) {
  return {Code::kUnsupported, "decode WebP: this headrace was built without libwebp; install libwebp-dev and build it again"};
}
Status webp_pixels(Bytes, std::uint32_t, std::uint32_t, std::uint8_t*) {
  return {Code::kUnsupported, "decode WebP: built without libwebp"};
}

}  // namespace headrace::ops::detail

#endif
