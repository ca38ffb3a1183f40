#include "headrace/codec/codec.h"

#include <array>
#include <string>

#include "headrace/codec/frames.h"

namespace headrace::codec {
namespace {

struct Traits {
  Codec codec;
  const char* name;
  int default_level;
  int min_level;
  int max_level;
};

constexpr std::array<Traits, 4> kTraits = {{
    {Codec::kNone, "none", 0, 0, 0},
    {Codec::kLz4, "lz4", 0, -32768, 0},
    {Codec::kLz4Hc, "lz4hc", 9, 1, 12},
    {Codec::kZstd, "zstd", 3, -7, 22},
}};

const Traits* find(Codec codec) {
  const auto at = static_cast<std::size_t>(codec);
  return at < kTraits.size() ? &kTraits[at] : nullptr;
}

Status unknown(Codec codec) {
  return {Code::kUnsupported, strf("codec %d is unknown; expected 0 (none) to 3 (zstd)", static_cast<int>(codec))};
}

}  // namespace

Result<Codec> codec_from_name(std::string_view name) {
  for (const Traits& traits : kTraits) {
    if (name == traits.name) return traits.codec;
  }
  return Status(Code::kInvalidArgument, "codec '" + std::string(name) + "' is unknown; expected none, lz4, lz4hc or zstd");
}

const char* codec_name(Codec codec) {
  const Traits* traits = find(codec);
  return traits != nullptr ? traits->name : "unknown";
}

int default_level(Codec codec) {
  const Traits* traits = find(codec);
  return traits != nullptr ? traits->default_level : 0;
}

Status check_level(Codec codec, int level) {
  const Traits* traits = find(codec);
  if (traits == nullptr) return unknown(codec);
  if (level >= traits->min_level && level <= traits->max_level) return Status::ok();
  return {Code::kInvalidArgument,
          strf("level of codec %s: expected %d to %d, found %d", traits->name, traits->min_level, traits->max_level, level)};
}

Status encode(Codec codec, int level, Bytes raw, std::vector<std::uint8_t>& out, const Dictionary* dictionary) {
  HR_RETURN_IF_ERROR(check_level(codec, level));
  switch (codec) {
    case Codec::kNone: return Status::ok();
    case Codec::kLz4: return encode_lz4(false, level, raw, out);
    case Codec::kLz4Hc: return encode_lz4(true, level, raw, out);
    case Codec::kZstd: return encode_zstd(level, raw, out, dictionary);
  }
  return unknown(codec);
}

Status decode(Codec codec, Bytes frame, MutableBytes out, const Dictionary* dictionary) {
  switch (codec) {
    case Codec::kNone:
      return {Code::kCorrupt, strf("decode a block: codec none stores %zu bytes as they are, found %zu bytes", out.size(), frame.size())};
    case Codec::kLz4:
    case Codec::kLz4Hc: return decode_lz4(frame, out);
    case Codec::kZstd: return decode_zstd(frame, out, dictionary);
  }
  return unknown(codec);
}

}  // namespace headrace::codec
