// Images made anew for storing: not larger than wanted, as JPEG or as plain pixels.
//
// Plain function; any thread (it uses this thread's decoder). What is allocated is bounded by the limits.
#pragma once

#include <cstdint>
#include <vector>

#include "headrace/base/bytes.h"
#include "headrace/base/status.h"
#include "headrace/ops/jpeg.h"

namespace headrace::ops {

enum class StoreAs : std::uint8_t { kJpeg, kPixels };

struct EncodeOptions {
  std::uint32_t max_side = 0;  // of the longer side, in proportion (bicubic); 0: as it is
  int quality = 90;            // of JPEG, 1 to 100
  StoreAs store = StoreAs::kJpeg;
  ImageLimits limits;
};

// Any image that can be decoded, as JPEG (4:2:0, the standard's tables, a restart marker after each row of blocks) or binary PPM. Its
// orientation is kept: in JPEG as EXIF metadata, of which nothing else stays; pixels of PPM are turned, since it has none.
// Errors: those of JpegDecoder and WholeImage; kInvalidArgument: a quality that is none.
Result<std::vector<std::uint8_t>> encode_image(Bytes encoded, const EncodeOptions& options);

// Pixels to JPEG; an orientation other than 1 becomes EXIF metadata. Errors: kOutOfMemory, kInvalidArgument.
Result<std::vector<std::uint8_t>> encode_jpeg(const PixelView& pixels, int quality, int orientation);

}  // namespace headrace::ops
