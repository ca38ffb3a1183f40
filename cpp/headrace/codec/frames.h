// The frames of each codec. Internal to the codec layer: everyone else calls codec.h, which checks the arguments.
//
// Owns:     thread-local contexts. Threads: any thread may call anything.
// Encoders append one frame to `out`; decoders fill `out` exactly. Errors: as in codec.h.
#pragma once

#include <cstdint>
#include <vector>

#include "headrace/base/bytes.h"
#include "headrace/base/status.h"
#include "headrace/codec/dictionary.h"

namespace headrace::codec {

// `hc` picks the HC compressor; the frame is the same.
Status encode_lz4(bool hc, int level, Bytes raw, std::vector<std::uint8_t>& out);
Status decode_lz4(Bytes frame, MutableBytes out);

Status encode_zstd(int level, Bytes raw, std::vector<std::uint8_t>& out, const Dictionary* dictionary);
Status decode_zstd(Bytes frame, MutableBytes out, const Dictionary* dictionary);

}  // namespace headrace::codec
