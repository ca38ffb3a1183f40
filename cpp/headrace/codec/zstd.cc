// Zstandard frames, the subset that FORMAT.md section 5 allows: one frame, content size given, no checksum, no dictionary
// id: which dictionary a block needs is said once, in the schema.
#include <zstd.h>

#include <cinttypes>
#include <memory>

#include "headrace/codec/frames.h"

namespace headrace::codec {
namespace {

constexpr std::uint32_t kMagic = 0xFD2FB528;
constexpr std::size_t kMinFrameBytes = 9;  // magic, descriptor, content size, one block header
// The window that every standard decoder accepts. Nothing is allocated for it: frames are decoded in one go into their output.
constexpr std::uint64_t kMaxWindowBytes = std::uint64_t{1} << 27;
constexpr std::uint8_t kSingleSegment = 0x20;
constexpr std::uint8_t kForbidden = 0x0f;  // reserved bit, checksum, dictionary id

struct Freed {
  void operator()(ZSTD_CCtx* context) const { ZSTD_freeCCtx(context); }
  void operator()(ZSTD_DCtx* context) const { ZSTD_freeDCtx(context); }
};

ZSTD_CCtx* compressor() {
  thread_local std::unique_ptr<ZSTD_CCtx, Freed> context;
  if (context == nullptr) context.reset(ZSTD_createCCtx());
  return context.get();
}

ZSTD_DCtx* decompressor() {
  thread_local std::unique_ptr<ZSTD_DCtx, Freed> context;
  if (context == nullptr) context.reset(ZSTD_createDCtx());
  return context.get();
}

Status corrupt(const char* what, std::uint64_t expected, std::uint64_t found) {
  return {Code::kCorrupt, strf("decode a zstd frame: %s: expected %" PRIu64 ", found %" PRIu64, what, expected, found)};
}

// Everything that can be said of the frame before it is decoded.
Status check_header(Bytes frame, std::size_t out_bytes) {
  if (frame.size() < kMinFrameBytes) return corrupt("bytes of the frame (at least)", kMinFrameBytes, frame.size());
  const auto magic = load_le<std::uint32_t>(frame.data());
  if (magic != kMagic) return corrupt("magic at byte 0", kMagic, magic);
  const std::uint8_t descriptor = frame[4];
  if ((descriptor & kForbidden) != 0) {
    return corrupt("descriptor at byte 4 (no checksum, no dictionary id)", descriptor & ~kForbidden, descriptor);
  }
  if ((descriptor & kSingleSegment) == 0) {
    const int exponent = frame[5] >> 3;
    const std::uint64_t base = std::uint64_t{1} << (10 + exponent);
    const std::uint64_t window = base + base / 8 * (frame[5] & 7);
    if (window > kMaxWindowBytes) {
      return {Code::kLimitExceeded,
              strf("decode a zstd frame: its window of %" PRIu64 " bytes is over the limit of %" PRIu64 "; write it with a smaller window",
                   window, kMaxWindowBytes)};
    }
  }
  const unsigned long long content = ZSTD_getFrameContentSize(frame.data(), frame.size());
  if (content == ZSTD_CONTENTSIZE_ERROR || content == ZSTD_CONTENTSIZE_UNKNOWN) {
    return {Code::kCorrupt, strf("decode a zstd frame: expected a content size of %zu bytes, found none", out_bytes)};
  }
  if (content != out_bytes) return corrupt("content size", out_bytes, content);
  const std::size_t size = ZSTD_findFrameCompressedSize(frame.data(), frame.size());
  if (ZSTD_isError(size) != 0) return {Code::kCorrupt, strf("decode a zstd frame: %s", ZSTD_getErrorName(size))};
  if (size != frame.size()) return corrupt("bytes after the frame; frame bytes", size, frame.size());
  return Status::ok();
}

}  // namespace

Status encode_zstd(int level, Bytes raw, std::vector<std::uint8_t>& out, const Dictionary* dictionary) {
  ZSTD_CCtx* context = compressor();
  if (context == nullptr) return {Code::kOutOfMemory, "encode a zstd frame: no memory for the compressor's state"};
  // Content size is on and checksum and dictionary id are off in a fresh or reset context with no dictionary.
  std::size_t code = ZSTD_CCtx_reset(context, ZSTD_reset_session_and_parameters);
  if (ZSTD_isError(code) == 0) code = ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, level);
  if (dictionary != nullptr) {
    const void* const encoder = dictionary->encoder(level);
    if (encoder == nullptr) return {Code::kOutOfMemory, "encode a zstd frame: no memory for the dictionary"};
    if (ZSTD_isError(code) == 0) code = ZSTD_CCtx_setParameter(context, ZSTD_c_dictIDFlag, 0);
    if (ZSTD_isError(code) == 0) code = ZSTD_CCtx_refCDict(context, static_cast<const ZSTD_CDict*>(encoder));
  }
  const std::size_t begin = out.size();
  if (ZSTD_isError(code) == 0) {
    out.resize(begin + ZSTD_compressBound(raw.size()));
    code = ZSTD_compress2(context, out.data() + begin, out.size() - begin, raw.data(), raw.size());
  }
  if (ZSTD_isError(code) != 0) {
    out.resize(begin);
    return {Code::kOutOfMemory, strf("encode a zstd frame of %zu bytes at level %d: %s", raw.size(), level, ZSTD_getErrorName(code))};
  }
  if (dictionary != nullptr) ZSTD_CCtx_reset(context, ZSTD_reset_session_and_parameters);  // The dictionary may go before the thread.
  out.resize(begin + code);
  return Status::ok();
}

Status decode_zstd(Bytes frame, MutableBytes out, const Dictionary* dictionary) {
  HR_RETURN_IF_ERROR(check_header(frame, out.size()));
  ZSTD_DCtx* context = decompressor();
  if (context == nullptr) return {Code::kOutOfMemory, "decode a zstd frame: no memory for the decoder's state"};
  const auto* const digested = dictionary == nullptr ? nullptr : static_cast<const ZSTD_DDict*>(dictionary->decoder());
  const std::size_t got = ZSTD_decompress_usingDDict(context, out.data(), out.size(), frame.data(), frame.size(), digested);
  if (ZSTD_isError(got) != 0) return {Code::kCorrupt, strf("decode a zstd frame of %zu bytes: %s", frame.size(), ZSTD_getErrorName(got))};
  if (got != out.size()) return corrupt("decoded bytes", out.size(), got);
  return Status::ok();
}

}  // namespace headrace::codec
