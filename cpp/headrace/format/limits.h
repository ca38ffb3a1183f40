// What a reader accepts before it allocates anything. FORMAT.md section 7 gives the defaults.
#pragma once

#include <cstdint>

namespace headrace::format {

struct Limits {
  std::uint32_t fields = 4096;
  std::uint32_t name_bytes = 1024;
  std::uint32_t metadata_bytes = 16u << 20;
  std::uint32_t dims = 32;
  std::uint32_t dictionary_bytes = 1u << 20;
  std::uint32_t itemsize = 1u << 20;
  std::uint32_t block_bytes = 64u << 20;
  std::uint64_t chunk_bytes = 256ull << 20;  // decoded, if the chunk holds more than one sample
  std::uint64_t sample_bytes = 16ull << 30;  // decoded, if it holds one
  std::uint64_t index_bytes = 1ull << 30;
  std::uint32_t chunk_samples = 1u << 24;
  std::uint64_t manifest_bytes = 256ull << 20;
  std::uint32_t shards = 1u << 20;
};

}  // namespace headrace::format
