// The list of extensions that ends a schema and a manifest. FORMAT.md section 6.
#pragma once

#include "headrace/base/bytes.h"
#include "headrace/base/status.h"

namespace headrace::format {

inline Status check_unknown_extension(std::uint16_t tag, std::uint16_t flags) {
  if ((flags & 1u) == 0) return Status::ok();
  return {Code::kUnsupported, strf("extension %u is critical and this version of headrace does not know it; install a newer one", tag)};
}

// Reads past the list. Errors: kTruncated (it ends early; the caller knows of what), kUnsupported (a critical one).
inline Status skip_extensions(ByteReader& reader) {
  const auto count = reader.read<std::uint32_t>();
  for (std::uint32_t i = 0; i < count && reader.ok(); ++i) {
    const auto tag = reader.read<std::uint16_t>();
    const auto flags = reader.read<std::uint16_t>();
    reader.read_bytes(reader.read<std::uint32_t>());
    if (reader.ok()) HR_RETURN_IF_ERROR(check_unknown_extension(tag, flags));
  }
  return reader.ok() ? Status::ok() : Status(Code::kTruncated, "the list of extensions is cut");
}

}  // namespace headrace::format
