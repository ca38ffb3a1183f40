// LZ4 frames, the subset that FORMAT.md section 5 allows:
//   frame := u32 magic, u8 0x68, u8 (4..7) << 4, u64 content bytes, u8 header check, block*, u32 0
//   block := u32 size (bit 31: stored as it is), bytes
// 0x68 says version 1, independent blocks, content size given, no checksums, no dictionary. Read here, not by liblz4's frame
// decoder, because that one copies every block through a buffer of its own.
#include <lz4.h>
#include <lz4hc.h>

#include <algorithm>
#include <cinttypes>
#include <cstdlib>
#include <cstring>
#include <memory>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "headrace/codec/frames.h"

namespace headrace::codec {
namespace {

constexpr std::uint32_t kMagic = 0x184D2204;
constexpr std::uint8_t kFlags = 0x68;
constexpr std::size_t kHeaderBytes = 15;
constexpr std::size_t kDescriptorBytes = 10;  // flags, block size id, content size
constexpr std::uint32_t kStoredBit = 0x80000000u;
constexpr int kMinBlockId = 4;
constexpr int kMaxBlockId = 7;
// The codec cannot do better than 255 : 1; a frame that says so lies.
constexpr std::uint64_t kMaxRatio = 255;
constexpr std::uint64_t kRatioSlackBytes = 64u << 10;

constexpr std::size_t block_bytes_of(int id) { return std::size_t{1} << (8 + 2 * id); }  // 64 KiB, 256 KiB, 1 MiB, 4 MiB

std::uint8_t header_check(const std::uint8_t* descriptor) { return static_cast<std::uint8_t>(XXH32(descriptor, kDescriptorBytes, 0) >> 8); }

struct Freed {
  void operator()(void* state) const { std::free(state); }
};

using State = std::unique_ptr<void, Freed>;

// Compresses one block into at most `capacity` bytes; 0 if it does not fit, negative if there is no memory.
int compress_block(bool hc, int level, Bytes raw, std::uint8_t* to, std::size_t capacity) {
  thread_local State fast_state, hc_state;
  State& state = hc ? hc_state : fast_state;
  if (state == nullptr) state.reset(std::malloc(static_cast<std::size_t>(hc ? LZ4_sizeofStateHC() : LZ4_sizeofState())));
  if (state == nullptr) return -1;
  const auto* from = reinterpret_cast<const char*>(raw.data());
  auto* into = reinterpret_cast<char*>(to);
  const int from_bytes = static_cast<int>(raw.size());
  const int to_bytes = static_cast<int>(capacity);
  if (hc) return LZ4_compress_HC_extStateHC(state.get(), from, into, from_bytes, to_bytes, level);
  return LZ4_compress_fast_extState(state.get(), from, into, from_bytes, to_bytes, 1 - level);
}

std::size_t write_header(std::uint8_t* to, int block_id, std::uint64_t content_bytes) {
  store_le(to, kMagic);
  to[4] = kFlags;
  to[5] = static_cast<std::uint8_t>(block_id << 4);
  store_le(to + 6, content_bytes);
  to[14] = header_check(to + 4);
  return kHeaderBytes;
}

Status corrupt(const char* what, std::uint64_t offset, std::uint64_t expected, std::uint64_t found) {
  return {Code::kCorrupt,
          strf("decode an lz4 frame: %s at byte %" PRIu64 ": expected %" PRIu64 ", found %" PRIu64, what, offset, expected, found)};
}

// Checks the 15 bytes of the header and answers the largest block that the frame may hold.
Result<std::size_t> read_header(Bytes frame, std::size_t out_bytes) {
  if (frame.size() < kHeaderBytes + 4) return corrupt("the frame ends, bytes of the frame", 0, kHeaderBytes + 4, frame.size());
  const auto magic = load_le<std::uint32_t>(frame.data());
  if (magic != kMagic) return corrupt("magic", 0, kMagic, magic);
  if (frame[4] != kFlags) return corrupt("flags", 4, kFlags, frame[4]);
  const int id = frame[5] >> 4;
  if ((frame[5] & 0x0f) != 0 || id < kMinBlockId || id > kMaxBlockId) return corrupt("block size (0x40 to 0x70)", 5, 0x70, frame[5]);
  if (frame[14] != header_check(frame.data() + 4)) return corrupt("header check", 14, header_check(frame.data() + 4), frame[14]);
  const auto content = load_le<std::uint64_t>(frame.data() + 6);
  if (content != out_bytes) return corrupt("content size", 6, out_bytes, content);
  return block_bytes_of(id);
}

// Decodes one block's bytes into the front of `to`; answers how many it wrote, at least 1.
Result<std::size_t> read_block(Bytes stored, bool as_is, MutableBytes to, std::size_t offset) {
  if (as_is) {
    if (stored.empty() || stored.size() > to.size()) return corrupt("stored block size", offset, to.size(), stored.size());
    std::memcpy(to.data(), stored.data(), stored.size());
    return stored.size();
  }
  const int got = LZ4_decompress_safe(reinterpret_cast<const char*>(stored.data()), reinterpret_cast<char*>(to.data()),
                                      static_cast<int>(stored.size()), static_cast<int>(to.size()));
  if (got <= 0) {
    return Status(Code::kCorrupt, strf("decode an lz4 frame: the block of %zu bytes at byte %zu is damaged", stored.size(), offset));
  }
  return static_cast<std::size_t>(got);
}

}  // namespace

Status encode_lz4(bool hc, int level, Bytes raw, std::vector<std::uint8_t>& out) {
  int id = kMinBlockId;
  while (id < kMaxBlockId && raw.size() > block_bytes_of(id)) ++id;
  const std::size_t block_bytes = block_bytes_of(id);
  const std::size_t begin = out.size();
  // A block that does not shrink is stored as it is, so this holds every frame.
  out.resize(begin + kHeaderBytes + raw.size() + 4 * ceil_div(raw.size(), block_bytes) + 4);
  std::size_t at = begin + write_header(out.data() + begin, id, raw.size());
  for (std::size_t done = 0; done < raw.size(); done += block_bytes) {
    const Bytes part = raw.subspan(done, std::min(block_bytes, raw.size() - done));
    const int size = compress_block(hc, level, part, out.data() + at + 4, part.size() - 1);
    if (size < 0) {
      out.resize(begin);
      return {Code::kOutOfMemory, "encode an lz4 frame: no memory for the compressor's state"};
    }
    if (size > 0) {
      store_le(out.data() + at, static_cast<std::uint32_t>(size));
      at += 4 + static_cast<std::size_t>(size);
    } else {
      store_le(out.data() + at, static_cast<std::uint32_t>(part.size()) | kStoredBit);
      std::memcpy(out.data() + at + 4, part.data(), part.size());
      at += 4 + part.size();
    }
  }
  store_le(out.data() + at, std::uint32_t{0});
  out.resize(at + 4);
  return Status::ok();
}

Status decode_lz4(Bytes frame, MutableBytes out) {
  if (out.size() > kRatioSlackBytes && ceil_div(out.size() - kRatioSlackBytes, kMaxRatio) > frame.size()) {
    return {Code::kLimitExceeded,
            strf("decode an lz4 frame: %zu bytes cannot hold %zu (at most 255 times as many + 64 KiB)", frame.size(), out.size())};
  }
  HR_ASSIGN_OR_RETURN(const std::size_t block_bytes, read_header(frame, out.size()));
  std::size_t at = kHeaderBytes;
  std::size_t done = 0;
  while (true) {
    if (frame.size() - at < 4) return corrupt("the frame ends before its end mark, bytes left", at, 4, frame.size() - at);
    const auto word = load_le<std::uint32_t>(frame.data() + at);
    at += 4;
    if (word == 0) break;
    const std::size_t size = word & ~kStoredBit;
    if (size > block_bytes || size > frame.size() - at) {
      return corrupt("block size (at most)", at - 4, std::min(block_bytes, frame.size() - at), size);
    }
    const MutableBytes to = out.subspan(done, std::min(block_bytes, out.size() - done));
    HR_ASSIGN_OR_RETURN(const std::size_t got, read_block(frame.subspan(at, size), (word & kStoredBit) != 0, to, at - 4));
    at += size;
    done += got;
  }
  if (done != out.size()) return corrupt("end mark; decoded bytes", at - 4, out.size(), done);
  if (at != frame.size()) return corrupt("bytes after the frame; frame bytes", at, at, frame.size());
  return Status::ok();
}

}  // namespace headrace::codec
