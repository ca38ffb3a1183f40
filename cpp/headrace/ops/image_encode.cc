// The second file that knows libjpeg, setjmp and longjmp (jpeg.cc is the first): between setjmp() and the library's calls live no objects
// with destructors.
#include "headrace/ops/image_encode.h"

#include <jpeglib.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <csetjmp>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>

#include "headrace/ops/exif.h"
#include "headrace/ops/image_canvas.h"
#include "headrace/ops/planes.h"
#include "headrace/ops/whole_image.h"

// After jpeglib.h.
#include <jerror.h>

namespace headrace::ops {
namespace {

// First member: the library's own, so that a pointer to it is a pointer to this.
struct Errors {
  jpeg_error_mgr base;
  std::jmp_buf out;
  Code code;
  char text[JMSG_LENGTH_MAX];
};

[[noreturn]] void on_error(j_common_ptr info) {
  auto* errors = reinterpret_cast<Errors*>(info->err);
  errors->base.format_message(info, errors->text);
  errors->code = info->err->msg_code == JERR_OUT_OF_MEMORY ? Code::kOutOfMemory : Code::kInvalidArgument;
  std::longjmp(errors->out, 1);
}

void on_message(j_common_ptr, int) {}

struct Encoding {
  jpeg_compress_struct info{};
  Errors errors{};
  unsigned char* bytes = nullptr;
  unsigned long size = 0;

  ~Encoding() {
    jpeg_destroy_compress(&info);
    std::free(bytes);
  }
  bool run(const PixelView& pixels, int quality, int orientation);
};

// EXIF metadata that says nothing but the orientation.
std::array<JOCTET, 32> exif_of(int orientation) {
  std::array<JOCTET, 32> out{'E', 'x', 'i', 'f', 0, 0, 'I', 'I', 42, 0, 8, 0, 0, 0, 1, 0, 0x12, 0x01, 3, 0, 1, 0, 0, 0};
  out[24] = static_cast<JOCTET>(orientation);
  return out;
}

bool Encoding::run(const PixelView& pixels, int quality, int orientation) {
  info.err = jpeg_std_error(&errors.base);
  errors.base.error_exit = on_error;
  errors.base.emit_message = on_message;
  const std::array<JOCTET, 32> exif = exif_of(orientation);
  if (setjmp(errors.out) != 0) return false;
  jpeg_create_compress(&info);
  jpeg_mem_dest(&info, &bytes, &size);
  info.image_width = pixels.width;
  info.image_height = pixels.height;
  info.input_components = 3;
  info.in_color_space = JCS_RGB;
  jpeg_set_defaults(&info);
  jpeg_set_quality(&info, quality, TRUE);
  // Tables of its own would save a few percent, and each reader would have to prepare them for each image.
  info.optimize_coding = FALSE;
  info.restart_in_rows = 1;
  jpeg_start_compress(&info, TRUE);
  if (orientation != 1) jpeg_write_marker(&info, JPEG_APP0 + 1, exif.data(), static_cast<unsigned>(exif.size()));
  while (info.next_scanline < info.image_height) {
    auto* row = const_cast<JSAMPROW>(pixels.data + info.next_scanline * pixels.stride);
    jpeg_write_scanlines(&info, &row, 1);
  }
  jpeg_finish_compress(&info);
  return true;
}

std::uint32_t reduced(std::uint32_t side, std::uint32_t longer, std::uint32_t max_side) {
  const double exact = static_cast<double>(side) * max_side / longer;
  return std::max<std::uint32_t>(1, static_cast<std::uint32_t>(std::lround(exact)));
}

}  // namespace

Result<std::vector<std::uint8_t>> encode_jpeg(const PixelView& pixels, int quality, int orientation) {
  if (quality < 1 || quality > 100) return Status(Code::kInvalidArgument, strf("encode JPEG: quality is %d; expected 1 to 100", quality));
  Encoding encoding;
  if (!encoding.run(pixels, quality, orientation)) return Status(encoding.errors.code, std::string("encode JPEG: ") + encoding.errors.text);
  return std::vector<std::uint8_t>(encoding.bytes, encoding.bytes + encoding.size);
}

Result<std::vector<std::uint8_t>> encode_image(Bytes encoded, const EncodeOptions& options) {
  const bool turns = options.store == StoreAs::kPixels;
  const ImageOptions decoding{false, turns, 2.0, options.limits};
  ImageCanvas& canvas = canvas_of_thread();
  HR_RETURN_IF_ERROR(canvas.open(encoded, decoding));
  const std::uint32_t longer = std::max(canvas.width(), canvas.height());
  if (options.max_side != 0 && longer > options.max_side)
    HR_RETURN_IF_ERROR(canvas.resize(reduced(canvas.width(), longer, options.max_side), reduced(canvas.height(), longer, options.max_side),
                                     Filter::kBicubic));
  Planes* image = nullptr;
  HR_RETURN_IF_ERROR(canvas.pixels(&image));
  const std::string header = turns ? strf("P6\n%u %u\n255\n", image->width, image->height) : "";
  std::vector<std::uint8_t> out(header.size() + image->plane_bytes() * 3);
  std::copy(header.begin(), header.end(), out.begin());
  std::uint8_t* to = out.data() + header.size();
  for (std::size_t i = 0; i < image->plane_bytes(); ++i) {
    for (std::size_t c = 0; c < 3; ++c) *to++ = image->plane(c)[i];
  }
  if (turns) return out;
  const PixelView view{out.data(), std::size_t{image->width} * 3, image->width, image->height};
  return encode_jpeg(view, options.quality, exif_orientation(encoded));
}

}  // namespace headrace::ops
