// An image on its way through a plan: crops, flips and one resize are put together, and done at once when the pixels are wanted.
//
// Owns:     buffers, kept between images; borrows the encoded bytes and the decoder until pixels() was called.
// Threads:  one at a time; canvas_of_thread() is this thread's own.
#pragma once

#include <cstdint>

#include "headrace/base/bytes.h"
#include "headrace/base/status.h"
#include "headrace/ops/image_plan.h"
#include "headrace/ops/planes.h"
#include "headrace/ops/resample.h"
#include "headrace/ops/whole_image.h"

namespace headrace::ops {

class ImageCanvas {
 public:
  // Errors: those of JpegDecoder::open() and WholeImage::open().
  Status open(Bytes encoded, const ImageOptions& options);
  // Of the image as it is by now.
  std::uint32_t width() const { return window_.width; }
  std::uint32_t height() const { return window_.height; }

  // REQUIRES: a rectangle inside the image that is not empty.
  void crop(const ImageRect& part);
  void flip(bool horizontal);
  // Errors: those of pixels(); kLimitExceeded.
  Status resize(std::uint32_t width, std::uint32_t height, Filter filter);
  // Errors: those of pixels(); kInvalidArgument (more pixels reflected than there are), kLimitExceeded.
  Status pad(const Pad& pad);
  // The image, to be changed in place. Errors: those of JpegDecoder::decode(), kLimitExceeded.
  Status pixels(Planes** out);

 private:
  void show_all(std::uint32_t width, std::uint32_t height);
  bool is_plain() const;
  std::uint32_t choose_denominator() const;
  Status decode(std::uint32_t denominator);
  Status decode_part(const ImageRect& part, std::uint32_t denominator, PixelView* view);
  Status decode_stored(const ImageRect& part, std::uint32_t denominator, PixelView* view);
  Status decode_turned(const ImageRect& part, std::uint32_t denominator, PixelView* view);
  void resample_planes();

  const ImageOptions* options_ = nullptr;
  bool encoded_ = false;  // else the source is image_
  bool is_jpeg_ = true;
  WholeImage whole_;
  int orientation_ = 1;
  std::uint32_t source_width_ = 0, source_height_ = 0;  // turned as it is to be
  ImageRect region_;                                    // of the source
  bool resized_ = false;
  std::uint32_t target_width_ = 0, target_height_ = 0;  // that the region is resized to
  Filter filter_ = Filter::kNearest;
  ImageRect window_;  // of the target, before flips
  bool flip_x_ = false, flip_y_ = false;
  Axis columns_, rows_;
  Planes image_, spare_;
  std::vector<std::uint8_t> turned_;
};

ImageCanvas& canvas_of_thread();

}  // namespace headrace::ops
