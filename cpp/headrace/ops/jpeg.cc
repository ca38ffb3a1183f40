// The one file that knows libjpeg, setjmp and longjmp: between setjmp() and the library's calls live no objects with destructors.
#include "headrace/ops/jpeg.h"

#include <jpeglib.h>

#include <algorithm>
#include <csetjmp>
#include <cstdio>
#include <cstring>
#include <vector>

// After jpeglib.h.
#include <jerror.h>

namespace headrace::ops {
namespace {

constexpr std::uint32_t kMargin = 2;  // pixels decoded around a region, so that smoothing between samples sees its neighbours

// What the library reports lands here. First member: the library's own, so that a pointer to it is a pointer to this.
struct Errors {
  jpeg_error_mgr base;
  std::jmp_buf out;
  Code code;
  char text[JMSG_LENGTH_MAX];
};

[[noreturn]] void leave(j_common_ptr info, Code code) {
  auto* errors = reinterpret_cast<Errors*>(info->err);
  errors->base.format_message(info, errors->text);
  errors->code = code;
  std::longjmp(errors->out, 1);
}

Code code_of(int message) {
  switch (message) {
    case JERR_OUT_OF_MEMORY: return Code::kOutOfMemory;
    case JERR_INPUT_EOF:
    case JERR_INPUT_EMPTY:
    case JWRN_JPEG_EOF: return Code::kTruncated;
    case JERR_BAD_PRECISION:
    case JERR_CONVERSION_NOTIMPL:
    case JERR_NOT_COMPILED:
    case JERR_ARITH_NOTIMPL:
    case JERR_SOF_UNSUPPORTED: return Code::kUnsupported;
    default: return Code::kCorrupt;
  }
}

void on_error(j_common_ptr info) { leave(info, code_of(info->err->msg_code)); }

// Warnings: of damaged pixels they are errors here; stray bytes between segments and odd version numbers are harmless.
void on_message(j_common_ptr info, int level) {
  if (level >= 0) return;
  switch (info->err->msg_code) {
    case JWRN_JPEG_EOF:
    case JWRN_HIT_MARKER:
    case JWRN_HUFF_BAD_CODE:
    case JWRN_MUST_RESYNC:
    case JWRN_BOGUS_PROGRESSION:
    case JWRN_ARITH_BAD_CODE: leave(info, code_of(info->err->msg_code));
    default: break;
  }
}

void on_output(j_common_ptr) {}

// Counts scans: a progressive file of a few kilobytes may hold thousands.
struct Progress {
  jpeg_progress_mgr base;
  std::uint32_t max_scans;
};

void on_progress(j_common_ptr info) {
  const auto* progress = reinterpret_cast<const Progress*>(info->progress);
  const auto* decompress = reinterpret_cast<j_decompress_ptr>(info);
  if (decompress->input_scan_number <= static_cast<int>(progress->max_scans)) return;
  auto* errors = reinterpret_cast<Errors*>(info->err);
  errors->code = Code::kLimitExceeded;
  std::snprintf(errors->text, sizeof(errors->text), "more than %u scans", progress->max_scans);
  std::longjmp(errors->out, 1);
}

// Whether `bytes` holds an end-of-image marker. Looked for from the end: it is the last two bytes of most files.
bool has_end(Bytes bytes) {
  for (std::size_t at = bytes.size(); at >= 2; --at) {
    if (bytes[at - 1] == 0xD9 && bytes[at - 2] == 0xFF) return true;
  }
  return false;
}

std::uint8_t muldiv255(std::uint32_t a, std::uint32_t b) {
  const std::uint32_t t = a * b + 128;
  return static_cast<std::uint8_t>(((t >> 8) + t) >> 8);
}

// Adobe's inverted CMYK to RGB, as Pillow does it; in place, four bytes become three.
void cmyk_to_rgb(std::uint8_t* row, std::uint32_t width) {
  for (std::uint32_t x = 0; x < width; ++x) {
    const std::uint8_t* in = row + x * std::size_t{4};
    std::uint8_t* out = row + x * std::size_t{3};
    const std::uint8_t k = in[3];
    const std::uint8_t rgb[3] = {static_cast<std::uint8_t>(k - muldiv255(255u - in[0], k)),
                                 static_cast<std::uint8_t>(k - muldiv255(255u - in[1], k)),
                                 static_cast<std::uint8_t>(k - muldiv255(255u - in[2], k))};
    std::memcpy(out, rgb, 3);
  }
}

}  // namespace

struct JpegDecoder::State {
  jpeg_decompress_struct info{};
  Errors errors{};
  Progress progress{};
  bool created = false;
  std::uint32_t left = 0;  // first column of `pixels`
  std::vector<std::uint8_t> pixels;

  Status error(const char* action) const { return {errors.code, std::string(action) + ": " + errors.text}; }
  bool start(Bytes encoded);
  bool begin_region(std::uint32_t denominator);
  bool read_rows(const ImageRect& region, std::uint32_t x, std::uint32_t width, bool exact);
};

JpegDecoder::JpegDecoder() : state_(std::make_unique<State>()) {}

JpegDecoder::~JpegDecoder() {
  if (state_->created) jpeg_destroy_decompress(&state_->info);
}

std::uint32_t JpegDecoder::width() const { return state_->info.image_width; }
std::uint32_t JpegDecoder::height() const { return state_->info.image_height; }

// The functions of State that call the library return false where it failed: what it said is in `errors`.
bool JpegDecoder::State::start(Bytes encoded) {
  if (setjmp(errors.out) != 0) return false;
  if (!created) {
    info.err = jpeg_std_error(&errors.base);
    errors.base.error_exit = on_error;
    errors.base.emit_message = on_message;
    errors.base.output_message = on_output;
    jpeg_create_decompress(&info);
    progress.base.progress_monitor = on_progress;
    info.progress = &progress.base;
    created = true;
  }
  jpeg_abort_decompress(&info);
  jpeg_mem_src(&info, encoded.data(), static_cast<unsigned long>(encoded.size()));
  jpeg_read_header(&info, TRUE);
  return true;
}

Status JpegDecoder::open(Bytes encoded, const ImageLimits& limits) {
  State& s = *state_;
  s.progress.max_scans = limits.max_scans;
  if (encoded.size() < 4 || encoded[0] != 0xFF || encoded[1] != 0xD8)
    return {Code::kCorrupt, strf("decode JPEG: %zu bytes that do not begin as a JPEG file does (FF D8)", encoded.size())};
  if (!s.start(encoded)) return s.error("decode JPEG");
  const std::uint64_t pixels = std::uint64_t{width()} * height();
  if (pixels > limits.max_pixels)
    return {Code::kLimitExceeded, strf("decode JPEG: %u x %u is beyond the limit of %llu pixels (max_pixels)", width(), height(),
                                       static_cast<unsigned long long>(limits.max_pixels))};
  // Rows below a region are not looked at, so a file that was cut is told by this.
  const std::size_t rest = s.info.src->bytes_in_buffer;
  if (!has_end(encoded.last(rest)))
    return {Code::kTruncated, strf("decode JPEG: no end-of-image marker in its %zu bytes: the file was cut", encoded.size())};
  return Status::ok();
}

bool JpegDecoder::State::begin_region(std::uint32_t denominator) {
  if (setjmp(errors.out) != 0) return false;
  const bool four = info.jpeg_color_space == JCS_CMYK || info.jpeg_color_space == JCS_YCCK;
  info.out_color_space = four ? JCS_CMYK : JCS_RGB;
  info.scale_num = 1;
  info.scale_denom = denominator;
  // The rougher transform and upsampling save nothing that can be measured: decoding bits takes most of the time.
  info.dct_method = JDCT_ISLOW;
  info.do_fancy_upsampling = TRUE;
  jpeg_start_decompress(&info);
  return true;
}

bool JpegDecoder::State::read_rows(const ImageRect& region, std::uint32_t x, std::uint32_t width, bool exact) {
  if (setjmp(errors.out) != 0) return false;
  JDIMENSION columns = width;
  left = x;
  if (columns < info.output_width) jpeg_crop_scanline(&info, &left, &columns);
  const std::size_t stride = std::size_t{info.output_width} * static_cast<std::size_t>(info.output_components);
  std::uint8_t* const rows = pixels.data() + 64;
  // What a crop or a skip leaves out changes its neighbours a little; an exact decode reads all rows above.
  if (!exact && region.y > 0) jpeg_skip_scanlines(&info, region.y);
  while (info.output_scanline < region.y) {
    JSAMPROW row = rows;
    jpeg_read_scanlines(&info, &row, 1);
  }
  while (info.output_scanline < region.y + region.height) {
    JSAMPROW row = rows + (info.output_scanline - region.y) * stride;
    jpeg_read_scanlines(&info, &row, 1);
  }
  return true;
}

Status JpegDecoder::decode(const ImageRect& region, std::uint32_t denominator, bool exact, PixelView* out) {
  State& s = *state_;
  if (!s.begin_region(denominator)) return s.error("decode JPEG");
  const std::uint32_t x = exact || region.x < kMargin ? 0 : region.x - kMargin;
  const std::uint32_t wanted = exact ? s.info.output_width : std::min(s.info.output_width - x, region.x + region.width + kMargin - x);
  const auto channels = static_cast<std::size_t>(s.info.output_components);
  s.pixels.resize(std::max(s.pixels.size(), std::size_t{s.info.output_width} * channels * region.height + 2 * 64));
  if (!s.read_rows(region, x, wanted, exact)) return s.error("decode JPEG");
  const std::size_t stride = std::size_t{s.info.output_width} * channels;
  std::uint8_t* const first = s.pixels.data() + 64;
  if (channels == 4) {
    for (std::uint32_t row = 0; row < region.height; ++row) cmyk_to_rgb(first + row * stride, s.info.output_width);
  }
  *out = {first + (region.x - s.left) * std::size_t{3}, stride, region.width, region.height};
  return Status::ok();
}

JpegDecoder& decoder_of_thread() {
  thread_local JpegDecoder decoder;
  return decoder;
}

}  // namespace headrace::ops
