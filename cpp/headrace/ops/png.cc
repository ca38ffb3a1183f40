// The one file that knows libpng; setjmp and longjmp stay in it: between setjmp() and the library's calls live no objects with destructors.
#include "headrace/ops/whole_image.h"

#if defined(HEADRACE_PNG)

#include <png.h>

#include <algorithm>
#include <csetjmp>
#include <cstdio>
#include <cstring>

namespace headrace::ops::detail {
namespace {

struct Reading {
  Bytes left;
  char text[160];
  bool cut;
};

void read(png_structp png, png_bytep out, std::size_t size) {
  auto* reading = static_cast<Reading*>(png_get_io_ptr(png));
  if (reading->left.size() < size) {
    reading->cut = true;
    png_error(png, "the file was cut");
  }
  std::memcpy(out, reading->left.data(), size);
  reading->left = reading->left.subspan(size);
}

[[noreturn]] void on_error(png_structp png, png_const_charp text) {
  auto* reading = static_cast<Reading*>(png_get_error_ptr(png));
  std::snprintf(reading->text, sizeof(reading->text), "%s", text);
  png_longjmp(png, 1);
}

void on_warning(png_structp, png_const_charp) {}

// 16-bit grey, which stands at the beginning of each row, as Pillow's convert("RGB") makes it 8-bit: cut off at 255, not scaled.
void cut_deep_grey(std::uint8_t* row, std::uint32_t width) {
  for (std::size_t x = width; x-- > 0;) {  // From the right: a pixel grows from two bytes to three.
    const std::uint8_t value = row[2 * x] != 0 ? 255 : row[2 * x + 1];
    row[3 * x] = row[3 * x + 1] = row[3 * x + 2] = value;
  }
}

// False where the library failed: what it said is in `reading`.
bool decode(png_structp png, png_infop info, Reading* reading, std::uint32_t width, std::uint32_t height, std::uint8_t* rgb) {
  if (setjmp(png_jmpbuf(png)) != 0) return false;
  png_set_read_fn(png, reading, read);
  png_read_info(png, info);
  const bool is_deep_grey = png_get_color_type(png, info) == PNG_COLOR_TYPE_GRAY && png_get_bit_depth(png, info) == 16;
  png_set_expand(png);
  png_set_strip_alpha(png);
  if (!is_deep_grey) {
    png_set_strip_16(png);
    png_set_gray_to_rgb(png);
  }
  const int passes = png_set_interlace_handling(png);
  png_read_update_info(png, info);
  if (png_get_image_width(png, info) != width || png_get_image_height(png, info) != height ||
      png_get_rowbytes(png, info) != width * std::size_t{is_deep_grey ? 2u : 3u})
    png_error(png, "the header changed");
  for (int pass = 0; pass < passes; ++pass) {
    for (std::size_t y = 0; y < height; ++y) png_read_row(png, rgb + y * width * 3, nullptr);
  }
  png_read_end(png, nullptr);
  for (std::size_t y = 0; is_deep_grey && y < height; ++y) cut_deep_grey(rgb + y * width * 3, width);
  return true;
}

}  // namespace

Status png_size(Bytes encoded, std::uint32_t* width, std::uint32_t* height) {
  if (encoded.size() < 33) return {Code::kTruncated, strf("decode PNG: %zu bytes end in its header: the file was cut", encoded.size())};
  const auto number = [&](std::size_t at) {
    return std::uint32_t{encoded[at]} << 24 | std::uint32_t{encoded[at + 1]} << 16 | std::uint32_t{encoded[at + 2]} << 8 | encoded[at + 3];
  };
  *width = number(16);
  *height = number(20);
  const bool good =
      std::memcmp(encoded.data() + 12, "IHDR", 4) == 0 && *width >= 1 && *height >= 1 && *width < 1u << 31 && *height < 1u << 31;
  return good ? Status::ok() : Status(Code::kCorrupt, strf("decode PNG: a header of %u x %u pixels", *width, *height));
}

Status png_pixels(Bytes encoded, std::uint32_t width, std::uint32_t height, std::uint8_t* rgb) {
  Reading reading{encoded, {}, false};
  png_structp png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &reading, on_error, on_warning);
  png_infop info = png == nullptr ? nullptr : png_create_info_struct(png);
  if (info == nullptr) {
    png_destroy_read_struct(&png, nullptr, nullptr);
    return {Code::kOutOfMemory, "decode PNG: out of memory"};
  }
  png_set_user_limits(png, width, height);
  const bool decoded = decode(png, info, &reading, width, height, rgb);
  png_destroy_read_struct(&png, &info, nullptr);
  return decoded ? Status::ok() : Status(reading.cut ? Code::kTruncated : Code::kCorrupt, std::string("decode PNG: ") + reading.text);
}

}  // namespace headrace::ops::detail

#else

namespace headrace::ops::detail {

Status png_size(Bytes, std::uint32_t*, std::uint32_t*) {
  return {Code::kUnsupported, "decode PNG: this headrace was built without libpng; install libpng-dev and build it again"};
}
Status png_pixels(Bytes, std::uint32_t, std::uint32_t, std::uint8_t*) { return {Code::kUnsupported, "decode PNG: built without libpng"}; }

}  // namespace headrace::ops::detail

#endif
