// Turns one block of bytes into one standard frame and back. Ids and frames: FORMAT.md section 5.
//
// Owns:     per-thread compression contexts (thread-local, freed at thread exit).
// Threads:  any thread may call anything.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "headrace/base/bytes.h"
#include "headrace/base/status.h"
#include "headrace/codec/dictionary.h"

namespace headrace::codec {

enum class Codec : std::uint8_t { kNone = 0, kLz4 = 1, kLz4Hc = 2, kZstd = 3 };

Result<Codec> codec_from_name(std::string_view name);  // "none" "lz4" "lz4hc" "zstd"
const char* codec_name(Codec codec);
// Level used where none is given: lz4 0, lz4hc 9, zstd 3.
int default_level(Codec codec);
// Errors: kInvalidArgument, naming the range: lz4 is 0 to -32768 (acceleration 1 - level; more would not fit the schema), lz4hc 1 to 12,
// zstd -7 to 22.
Status check_level(Codec codec, int level);

// Appends to `out` one frame that holds `raw`. kNone appends nothing and is never called by the writer.
// `out` may end up longer than `raw`; the caller then stores the block as it is.
// With a dictionary (zstd only), decoding takes the same one.
Status encode(Codec codec, int level, Bytes raw, std::vector<std::uint8_t>& out, const Dictionary* dictionary = nullptr);

// Decodes one frame into exactly out.size() bytes.
// Errors: kCorrupt (not such a frame, wrong content size, bytes after the frame, damage), kLimitExceeded (lz4 ratio beyond
// FORMAT.md section 7; zstd window over 128 MiB, what standard decoders accept). Never reads or writes out of bounds, allocates nothing
// that the input chooses.
Status decode(Codec codec, Bytes frame, MutableBytes out, const Dictionary* dictionary = nullptr);

}  // namespace headrace::codec
