#include "headrace/ops/image_canvas.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "headrace/ops/exif.h"

namespace headrace::ops {
namespace {

Status too_large(std::uint64_t width, std::uint64_t height, const ImageLimits& limits) {
  return {Code::kLimitExceeded,
          strf("resize or pad to %llu x %llu: beyond the limit of %llu pixels (max_pixels)", static_cast<unsigned long long>(width),
               static_cast<unsigned long long>(height), static_cast<unsigned long long>(limits.max_pixels))};
}

bool is_too_large(std::uint64_t width, std::uint64_t height, const ImageLimits& limits) {
  std::uint64_t pixels = 0;
  return !checked_mul(width, height, &pixels) || pixels > limits.max_pixels;
}

// EXIF 5 to 8: rows of what is stored are columns of what is seen.
bool swaps(int orientation) { return orientation >= 5; }
bool mirrors_x(int orientation) { return orientation == 2 || orientation == 3 || orientation == 6 || orientation == 7; }
bool mirrors_y(int orientation) { return orientation == 3 || orientation == 4 || orientation == 7 || orientation == 8; }

}  // namespace

void ImageCanvas::show_all(std::uint32_t width, std::uint32_t height) {
  source_width_ = target_width_ = width;
  source_height_ = target_height_ = height;
  region_ = window_ = {0, 0, width, height};
  resized_ = flip_x_ = flip_y_ = false;
}

Status ImageCanvas::open(Bytes encoded, const ImageOptions& options) {
  options_ = &options;
  encoded_ = true;
  const ImageKind kind = image_kind(encoded);
  is_jpeg_ = kind == ImageKind::kJpeg;
  JpegDecoder& decoder = decoder_of_thread();
  HR_RETURN_IF_ERROR(is_jpeg_ ? decoder.open(encoded, options.limits) : whole_.open(kind, encoded, options.limits));
  const std::uint32_t width = is_jpeg_ ? decoder.width() : whole_.width(), height = is_jpeg_ ? decoder.height() : whole_.height();
  orientation_ = options.exif ? exif_orientation(encoded) : 1;
  const bool swapped = swaps(orientation_);
  show_all(swapped ? height : width, swapped ? width : height);
  return Status::ok();
}

void ImageCanvas::crop(const ImageRect& part) {
  const std::uint32_t x = flip_x_ ? window_.width - part.x - part.width : part.x;
  const std::uint32_t y = flip_y_ ? window_.height - part.y - part.height : part.y;
  window_ = {window_.x + x, window_.y + y, part.width, part.height};
}

void ImageCanvas::flip(bool horizontal) {
  if (horizontal) {
    flip_x_ = !flip_x_;
  } else {
    flip_y_ = !flip_y_;
  }
}

Status ImageCanvas::resize(std::uint32_t width, std::uint32_t height, Filter filter) {
  if (resized_) {
    Planes* image = nullptr;
    HR_RETURN_IF_ERROR(pixels(&image));
  }
  region_ = {region_.x + window_.x, region_.y + window_.y, window_.width, window_.height};
  target_width_ = width;
  target_height_ = height;
  window_ = {0, 0, width, height};
  filter_ = filter;
  resized_ = true;
  return Status::ok();
}

Status ImageCanvas::pad(const Pad& pad) {
  const std::uint64_t width = std::uint64_t{window_.width} + pad.left + pad.right;
  const std::uint64_t height = std::uint64_t{window_.height} + pad.top + pad.bottom;
  if (is_too_large(width, height, options_->limits)) return too_large(width, height, options_->limits);
  const std::uint32_t spare = pad.mode == PadMode::kReflect ? 1 : 0;
  const bool mirrored = pad.mode == PadMode::kReflect || pad.mode == PadMode::kSymmetric;
  if (mirrored && (std::max(pad.left, pad.right) + spare > window_.width || std::max(pad.top, pad.bottom) + spare > window_.height))
    return {Code::kInvalidArgument,
            strf("pad an image of %u x %u: more pixels are to be mirrored than there are", window_.width, window_.height)};
  Planes* image = nullptr;
  HR_RETURN_IF_ERROR(pixels(&image));
  ops::pad(*image, pad.left, pad.top, pad.right, pad.bottom, pad.mode, pad.fill, spare_);
  std::swap(image_, spare_);
  show_all(image_.width, image_.height);
  return Status::ok();
}

bool ImageCanvas::is_plain() const {
  return !resized_ && !flip_x_ && !flip_y_ && window_ == ImageRect{0, 0, source_width_, source_height_};
}

std::uint32_t ImageCanvas::choose_denominator() const {
  if (options_->exact || !encoded_ || !is_jpeg_ || !resized_ || filter_ == Filter::kNearest) return 1;
  for (std::uint32_t denominator = 8; denominator > 1; denominator /= 2) {
    const double least = denominator * options_->reducing;
    if (region_.width >= least * target_width_ && region_.height >= least * target_height_) return denominator;
  }
  return 1;
}

Status ImageCanvas::pixels(Planes** out) {
  if (is_too_large(window_.width, window_.height, options_->limits)) return too_large(window_.width, window_.height, options_->limits);
  if (encoded_) {
    HR_RETURN_IF_ERROR(decode(choose_denominator()));
    encoded_ = false;
  } else if (!is_plain()) {
    resample_planes();
  }
  show_all(image_.width, image_.height);
  *out = &image_;
  return Status::ok();
}

Status ImageCanvas::decode(std::uint32_t denominator) {
  // The region in pixels of the scaled image: whole ones around it, and where in them it begins and ends.
  const std::uint32_t left = region_.x / denominator, top = region_.y / denominator;
  const std::uint32_t right = JpegDecoder::scaled(region_.x + region_.width, denominator);
  const std::uint32_t bottom = JpegDecoder::scaled(region_.y + region_.height, denominator);
  const double d = denominator;
  const Filter filter = resized_ ? filter_ : Filter::kNearest;
  make_axis(filter, right - left, region_.x / d - left, (region_.x + region_.width) / d - left, target_width_, window_.x, window_.width,
            flip_x_, &columns_);
  make_axis(filter, bottom - top, region_.y / d - top, (region_.y + region_.height) / d - top, target_height_, window_.y, window_.height,
            flip_y_, &rows_);
  const ImageRect part{left + columns_.begin, top + rows_.begin, columns_.end - columns_.begin, rows_.end - rows_.begin};
  PixelView view;
  HR_RETURN_IF_ERROR(decode_part(part, denominator, &view));
  image_.resize(window_.width, window_.height);
  resample(view.data, view.stride, 3, columns_, rows_, image_.bytes.data());
  return Status::ok();
}

Status ImageCanvas::decode_part(const ImageRect& part, std::uint32_t denominator, PixelView* view) {
  return orientation_ == 1 ? decode_stored(part, denominator, view) : decode_turned(part, denominator, view);
}

Status ImageCanvas::decode_stored(const ImageRect& part, std::uint32_t denominator, PixelView* view) {
  if (is_jpeg_) return decoder_of_thread().decode(part, denominator, options_->exact, view);
  HR_ASSIGN_OR_RETURN(const PixelView all, whole_.pixels());
  *view = {all.data + part.y * all.stride + part.x * std::size_t{3}, all.stride, part.width, part.height};
  return Status::ok();
}

// Decodes what is stored where `part` will be seen, and turns it.
Status ImageCanvas::decode_turned(const ImageRect& part, std::uint32_t denominator, PixelView* view) {
  const std::uint32_t width = JpegDecoder::scaled(source_width_, denominator), height = JpegDecoder::scaled(source_height_, denominator);
  ImageRect stored = part;
  // Seen right to left, columns count from the other end.
  if (mirrors_x(orientation_)) stored.x = width - part.x - part.width;
  if (mirrors_y(orientation_)) stored.y = height - part.y - part.height;
  const bool swapped = swaps(orientation_);
  if (swapped) stored = {stored.y, stored.x, stored.height, stored.width};
  PixelView from;
  HR_RETURN_IF_ERROR(decode_stored(stored, denominator, &from));
  turned_.resize(std::max(turned_.size(), std::size_t{part.width} * part.height * 3));
  for (std::uint32_t y = 0; y < part.height; ++y) {
    const std::uint32_t row = mirrors_y(orientation_) ? part.height - 1 - y : y;
    for (std::uint32_t x = 0; x < part.width; ++x) {
      const std::uint32_t column = mirrors_x(orientation_) ? part.width - 1 - x : x;
      const std::size_t at = swapped ? column * from.stride + row * std::size_t{3} : row * from.stride + column * std::size_t{3};
      std::memcpy(turned_.data() + (std::size_t{y} * part.width + x) * 3, from.data + at, 3);
    }
  }
  *view = {turned_.data(), std::size_t{part.width} * 3, part.width, part.height};
  return Status::ok();
}

void ImageCanvas::resample_planes() {
  const Filter filter = resized_ ? filter_ : Filter::kNearest;
  make_axis(filter, region_.width, 0, region_.width, target_width_, window_.x, window_.width, flip_x_, &columns_);
  make_axis(filter, region_.height, 0, region_.height, target_height_, window_.y, window_.height, flip_y_, &rows_);
  spare_.resize(window_.width, window_.height);
  const std::size_t first = std::size_t{region_.y + rows_.begin} * image_.width + region_.x + columns_.begin;
  for (std::size_t c = 0; c < 3; ++c) resample(image_.plane(c) + first, image_.width, 1, columns_, rows_, spare_.plane(c));
  std::swap(image_, spare_);
}

ImageCanvas& canvas_of_thread() {
  thread_local ImageCanvas canvas;
  return canvas;
}

}  // namespace headrace::ops
