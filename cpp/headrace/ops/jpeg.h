// JPEG files decoded with libjpeg-turbo, and no more of them than is wanted: rows below a region are never decoded, those above and the
// columns beside it not transformed, and an image that is to be made smaller is decoded at 1/2, 1/4 or 1/8.
//
// Owns:     the library's decompressor, kept between images; the pixels of the last decode().
// Threads:  one at a time; decoder_of_thread() is this thread's own.
// Memory:   pixels stay until the next open() or decode(). What is decoded is bounded by ImageLimits before anything of its size is
// allocated. Errors of the library come back as Status with its message (setjmp and longjmp stay inside jpeg.cc).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "headrace/base/bytes.h"
#include "headrace/base/status.h"

namespace headrace::ops {

struct ImageLimits {
  std::uint64_t max_pixels = 1u << 28;
  std::uint32_t max_scans = 64;  // of a progressive file: each costs as much as an image
};

struct ImageRect {
  std::uint32_t x = 0, y = 0, width = 0, height = 0;
  bool operator==(const ImageRect&) const = default;
};

// RGB, three bytes a pixel, row after row.
struct PixelView {
  const std::uint8_t* data = nullptr;
  std::size_t stride = 0;  // bytes from a row to the next
  std::uint32_t width = 0, height = 0;
};

class JpegDecoder {
 public:
  JpegDecoder();
  ~JpegDecoder();
  JpegDecoder(const JpegDecoder&) = delete;
  JpegDecoder& operator=(const JpegDecoder&) = delete;

  // Reads the header; `encoded` must stay until decode() is done. Errors: kCorrupt, kTruncated (no end-of-image marker, or the file ends in
  // its header), kLimitExceeded, kUnsupported (lossless, 12 bits, two components).
  Status open(Bytes encoded, const ImageLimits& limits);
  // As stored, in whole pixels of the file.
  std::uint32_t width() const;
  std::uint32_t height() const;
  // Size at 1/denominator.
  static std::uint32_t scaled(std::uint32_t size, std::uint32_t denominator) { return (size + denominator - 1) / denominator; }

  // The pixels of `region`, which counts in pixels of the scaled image. `exact`: every pixel equals that of a full decode with the accurate
  // transform; else pixels may differ by a few levels. A file with a restart marker at the end of rows of blocks (repack_jpeg()) is decoded
  // from there on. Grey becomes RGB; CMYK and YCCK as Pillow converts them.
  // Once after each open(). REQUIRES: denominator 1, 2, 4 or 8; a region inside the image that is not empty.
  // Errors: kCorrupt, kTruncated, kLimitExceeded, with the library's message.
  Status decode(const ImageRect& region, std::uint32_t denominator, bool exact, PixelView* pixels);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// The same coefficients, so the same pixels, in a file that decodes faster: the standard's tables, a restart marker after each row of
// blocks, one scan. Colour profile and EXIF are kept, comments and thumbnails beside them are not. Errors: those of JpegDecoder.
Result<std::vector<std::uint8_t>> repack_jpeg(Bytes encoded, const ImageLimits& limits);

JpegDecoder& decoder_of_thread();

}  // namespace headrace::ops
