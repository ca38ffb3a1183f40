// codec="auto": the codec, filter and level of a field, chosen by trying them on some of its values.
//
// What is weighed is the time that a delivered GB takes a loader: its stored bytes from storage of kStorageBytesPerSecond, and its decoding
// by kThreads threads, at the rate that was measured here. A third must be saved at least, else the field stays as it is.
// Sizes depend on the bytes alone; rates do not, so near ties (within kTie) go to the simpler choice, and files that must be identical
// wherever they are written should name their codec.
//
// Owns nothing; any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "headrace/base/status.h"
#include "headrace/format/schema.h"
#include "headrace/format/shard_writer.h"

namespace headrace::format {

struct CodecTrial {
  codec::Codec codec = codec::Codec::kNone;
  codec::Filter filter = codec::Filter::kNone;
  int level = 0;
  bool dictionary = false;
  std::uint32_t block_bytes = 0;
  double ratio = 1;                    // raw / stored bytes of the values tried
  double decode_bytes_per_second = 0;  // decoded, by one thread, filter included; 0 for kNone
  double seconds_per_gb = 0;           // the weight: less is better
};

struct CodecChoice {
  std::string field;
  std::vector<CodecTrial> trials;  // what was tried, kNone first; only that where there was nothing to try
  std::size_t chosen = 0;
  std::string reason;  // in words, with the figures of the choice and of the next best
};

constexpr double kStorageBytesPerSecond = 1e9;
constexpr double kThreads = 4;
constexpr double kTie = 1.1;

// Sets codec, filter, level and dictionary of `field` from some of its values. Errors: kOutOfMemory, and those of the codecs.
Result<CodecChoice> choose_codec(const ColumnChunk& column, Field& field);

}  // namespace headrace::format
