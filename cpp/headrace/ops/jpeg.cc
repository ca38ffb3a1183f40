// The file that knows how libjpeg decodes, setjmp and longjmp, hence its length: between setjmp() and the library's calls live no objects
// with destructors.
#include "headrace/ops/jpeg.h"

#include <jpeglib.h>

#include <algorithm>
#include <array>
#include <csetjmp>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <span>
#include <vector>

// After jpeglib.h.
#include <jerror.h>
#include <jpegint.h>

#include "headrace/ops/jpeg_scan.h"

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

// Our decoder of bits, where the library has its own. Columns count units (MCUs) of a row.
struct Scanning {
  std::array<HuffmanTable, NUM_HUFF_TBLS> dc, ac;
  JpegScan scan;
  std::uint32_t column = 0, columns = 1;
  std::uint32_t first = 0, last = 0;  // those that are wanted
  bool failed = false;
};

boolean decode_unit(j_decompress_ptr info, JBLOCKROW* blocks) {
  auto& scanning = *static_cast<Scanning*>(info->client_data);
  const std::uint32_t column = scanning.column;
  scanning.column = column + 1 == scanning.columns ? 0 : column + 1;
  const bool is_wanted = blocks != nullptr && column >= scanning.first && column <= scanning.last;
  if (!is_wanted) {
    scanning.scan.skip();
    return TRUE;
  }
  if (scanning.scan.decode(blocks)) return TRUE;
  scanning.failed = true;
  std::longjmp(reinterpret_cast<Errors*>(info->err)->out, 1);
}

HuffmanTable* table_of(const JHUFF_TBL* codes, bool is_ac, HuffmanTable* table) {
  HuffmanCodes copied;
  std::copy(std::begin(codes->bits), std::end(codes->bits), copied.counts.begin());
  std::copy(std::begin(codes->huffval), std::end(codes->huffval), copied.symbols.begin());
  return table->set(copied, is_ac) ? table : nullptr;
}

bool is_dc_alone(const jpeg_component_info& component) {
#if JPEG_LIB_VERSION >= 70
  return component.DCT_h_scaled_size == 1 && component.DCT_v_scaled_size == 1;
#else
  return component.DCT_scaled_size == 1;
#endif
}

// The bits of a file that was begun are ours to decode, where it has one scan with Huffman codes.
void take_over(jpeg_decompress_struct& info, Scanning& scanning) {
  scanning.column = 0;
  scanning.columns = info.MCUs_per_row;
  if (jpeg_has_multiple_scans(&info) != FALSE || info.arith_code != FALSE || info.data_precision != 8) return;
  std::array<JpegScan::Block, JpegScan::kMaxBlocks> blocks;
  const auto count = static_cast<std::size_t>(info.blocks_in_MCU);
  for (std::size_t i = 0; i < count; ++i) {
    const auto member = static_cast<std::size_t>(info.MCU_membership[i]);
    const jpeg_component_info& component = *info.cur_comp_info[member];
    const auto dc = static_cast<std::size_t>(component.dc_tbl_no), ac = static_cast<std::size_t>(component.ac_tbl_no);
    JpegScan::Block& block = blocks[i];
    block.component = static_cast<std::uint8_t>(member);
    block.dc = table_of(info.dc_huff_tbl_ptrs[dc], false, &scanning.dc[dc]);
    block.ac = table_of(info.ac_huff_tbl_ptrs[ac], true, &scanning.ac[ac]);
    block.dc_alone = is_dc_alone(component);
    if (block.dc == nullptr || block.ac == nullptr) return;
  }
  scanning.scan.begin({info.src->next_input_byte, info.src->bytes_in_buffer}, std::span(blocks).first(count), info.restart_interval,
                      static_cast<std::uint32_t>(info.marker->next_restart_num));
  info.client_data = &scanning;
  info.entropy->decode_mcu = &decode_unit;
}

}  // namespace

struct JpegDecoder::State {
  jpeg_decompress_struct info{};
  Errors errors{};
  Progress progress{};
  bool created = false;
  std::uint32_t left = 0;  // first column of `pixels`
  std::vector<std::uint8_t> pixels;
  Bytes encoded;
  Scanning scanning;

  Status error(const char* action) const { return {errors.code, std::string(action) + ": " + errors.text}; }
  bool start();
  bool begin_region(std::uint32_t denominator);
  bool read_rows(const ImageRect& region, std::uint32_t x, std::uint32_t width, bool exact);
  bool run(const ImageRect& region, std::uint32_t denominator, bool exact, bool ours);
};

JpegDecoder::JpegDecoder() : state_(std::make_unique<State>()) {}

JpegDecoder::~JpegDecoder() {
  if (state_->created) jpeg_destroy_decompress(&state_->info);
}

std::uint32_t JpegDecoder::width() const { return state_->info.image_width; }
std::uint32_t JpegDecoder::height() const { return state_->info.image_height; }

// The functions of State that call the library return false where it failed: what it said is in `errors`.
bool JpegDecoder::State::start() {
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
  s.encoded = encoded;
  if (encoded.size() < 4 || encoded[0] != 0xFF || encoded[1] != 0xD8)
    return {Code::kCorrupt, strf("decode JPEG: %zu bytes that do not begin as a JPEG file does (FF D8)", encoded.size())};
  if (!s.start()) return s.error("decode JPEG");
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
  const std::uint32_t full_width = info.output_width;
  left = x;
  if (columns < info.output_width) jpeg_crop_scanline(&info, &left, &columns);
  // Beside the columns that are wanted, one unit each, for smoothing.
  const std::uint64_t first_unit = std::uint64_t{left} * scanning.columns / full_width;
  scanning.first = static_cast<std::uint32_t>(first_unit - std::min<std::uint64_t>(first_unit, 1));
  scanning.last = static_cast<std::uint32_t>((std::uint64_t{left} + columns) * scanning.columns / full_width + 1);
  const std::size_t stride = std::size_t{info.output_width} * static_cast<std::size_t>(info.output_components);
  std::uint8_t* const rows = pixels.data() + 64;
  // Of a scaled image, what a crop or a skip leaves out changes its neighbours a little; an exact decode reads all rows above.
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

// `ours`: bits are decoded by JpegScan, where it can.
bool JpegDecoder::State::run(const ImageRect& region, std::uint32_t denominator, bool exact, bool ours) {
  if (!begin_region(denominator)) return false;
  const std::uint32_t x = exact || region.x < kMargin ? 0 : region.x - kMargin;
  const std::uint32_t wanted = exact ? info.output_width : std::min(info.output_width - x, region.x + region.width + kMargin - x);
  const auto channels = static_cast<std::size_t>(info.output_components);
  pixels.resize(std::max(pixels.size(), std::size_t{info.output_width} * channels * region.height + 2 * 64));
  if (ours) take_over(info, scanning);
  return read_rows(region, x, wanted, exact);
}

Status JpegDecoder::decode(const ImageRect& region, std::uint32_t denominator, bool exact, PixelView* out) {
  State& s = *state_;
  // At full size the margin is enough that nothing changes.
  exact = exact && denominator > 1;
  // Bits that ours cannot read are read again by the library, which says what is wrong with them.
  s.scanning.failed = false;
  if (!s.run(region, denominator, exact, true)) {
    if (!s.scanning.failed || !s.start()) return s.error("decode JPEG");
    if (!s.run(region, denominator, exact, false)) return s.error("decode JPEG");
  }
  const auto channels = static_cast<std::size_t>(s.info.output_components);
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

namespace {

// A compressor beside the decompressor that it takes coefficients from; the output is the library's until `done`.
struct Repacking {
  jpeg_decompress_struct in{};
  jpeg_compress_struct out{};
  Errors errors{};
  Progress progress{};
  unsigned char* bytes = nullptr;
  unsigned long size = 0;
  bool has_in = false, has_out = false;

  ~Repacking() {
    if (has_out) jpeg_destroy_compress(&out);
    if (has_in) jpeg_destroy_decompress(&in);
    std::free(bytes);
  }
  bool begin(Bytes encoded, const ImageLimits& limits);
  bool finish();
};

constexpr int kExif = JPEG_APP0 + 1, kProfile = JPEG_APP0 + 2;
// Between two restart markers: fewer would cost more bytes (a percent here), more would leave more to be passed over beside a crop.
constexpr unsigned kRestartBlocks = 48;

unsigned blocks_of_unit(const jpeg_decompress_struct& info) {
  unsigned count = 0;
  for (int i = 0; i < info.num_components; ++i) {
    const jpeg_component_info& component = info.comp_info[i];
    count += static_cast<unsigned>(component.h_samp_factor * component.v_samp_factor);
  }
  return info.num_components == 1 ? 1 : count;
}

bool Repacking::begin(Bytes encoded, const ImageLimits& limits) {
  if (setjmp(errors.out) != 0) return false;
  in.err = out.err = jpeg_std_error(&errors.base);
  errors.base.error_exit = on_error;
  errors.base.emit_message = on_message;
  errors.base.output_message = on_output;
  jpeg_create_decompress(&in);
  has_in = true;
  progress.base.progress_monitor = on_progress;
  progress.max_scans = limits.max_scans;
  in.progress = &progress.base;
  jpeg_create_compress(&out);
  has_out = true;
  jpeg_save_markers(&in, kExif, 0xFFFF);
  jpeg_save_markers(&in, kProfile, 0xFFFF);
  jpeg_mem_src(&in, encoded.data(), static_cast<unsigned long>(encoded.size()));
  jpeg_read_header(&in, TRUE);
  return true;
}

bool Repacking::finish() {
  if (setjmp(errors.out) != 0) return false;
  jvirt_barray_ptr* const coefficients = jpeg_read_coefficients(&in);
  jpeg_copy_critical_parameters(&in, &out);
  // Tables of its own would be smaller by a few percent, and each reader would have to prepare its look-ups for each image.
  out.optimize_coding = FALSE;
  out.restart_in_rows = 0;
  out.restart_interval = kRestartBlocks / blocks_of_unit(in);
  jpeg_mem_dest(&out, &bytes, &size);
  jpeg_write_coefficients(&out, coefficients);
  for (jpeg_saved_marker_ptr marker = in.marker_list; marker != nullptr; marker = marker->next) {
    jpeg_write_marker(&out, marker->marker, marker->data, marker->data_length);
  }
  jpeg_finish_compress(&out);
  jpeg_finish_decompress(&in);
  return true;
}

}  // namespace

Result<std::vector<std::uint8_t>> repack_jpeg(Bytes encoded, const ImageLimits& limits) {
  HR_RETURN_IF_ERROR(decoder_of_thread().open(encoded, limits));  // Checks what decode() does: size, and that it is whole.
  Repacking repacking;
  if (!repacking.begin(encoded, limits) || !repacking.finish())
    return Status(repacking.errors.code, std::string("repack JPEG: ") + repacking.errors.text);
  return std::vector<std::uint8_t>(repacking.bytes, repacking.bytes + repacking.size);
}

}  // namespace headrace::ops
