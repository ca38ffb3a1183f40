// How a field is stored, where the user leaves it open: block size and dictionary. Codec and filter: codec_choice.h.
//
// Owns nothing; any thread. Depends on the bytes alone, so that the same data gives the same file.
#pragma once

#include <cstdint>

#include "headrace/base/status.h"
#include "headrace/format/schema.h"
#include "headrace/format/shard_writer.h"

namespace headrace::format {

// Block size for a field whose codec and filter are known.
std::uint32_t default_block_bytes(const Field& field);

// The dictionary of a field that says it has one, trained on some of its values; else null. Where they are too few to learn from (less
// than 8 blocks, or 64 KiB), the field says so no more.
Result<std::shared_ptr<const codec::Dictionary>> train_dictionary(const ColumnChunk& column, Field& field);

}  // namespace headrace::format
