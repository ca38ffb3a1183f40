// Constants of FORMAT.md; nothing executable.
#pragma once

#include <array>
#include <cstdint>

namespace headrace::format {

inline constexpr std::array<std::uint8_t, 8> kShardMagic = {0x89, 'H', 'R', 'S', 0x0D, 0x0A, 0x1A, 0x0A};
inline constexpr std::array<std::uint8_t, 8> kFooterMagic = {'H', 'R', 'S', 'F', 'O', 'O', 'T', '\n'};
inline constexpr std::array<std::uint8_t, 8> kEndMagic = {0x89, 'H', 'R', 'S', 'E', 'N', 'D', 0x0A};
inline constexpr std::array<std::uint8_t, 8> kManifestMagic = {0x89, 'H', 'R', 'M', 0x0D, 0x0A, 0x1A, 0x0A};

inline constexpr std::uint16_t kMajor = 1;
inline constexpr std::uint16_t kMinor = 1;

inline constexpr std::uint64_t kHeaderBytes = 4096;
inline constexpr std::uint64_t kFooterBytes = 128;
inline constexpr std::uint64_t kChunkAlignment = 4096;
inline constexpr std::uint64_t kPageAlignment = 64;
inline constexpr std::uint64_t kChunkEntryBytes = 24;
inline constexpr std::uint64_t kPageEntryBytes = 72;
inline constexpr std::uint64_t kBlockEntryBytes = 24;
inline constexpr std::uint64_t kSideBlockBytes = 16384;  // blocks of validity and offsets

inline constexpr std::uint16_t kDictionariesTag = 1;  // of the extension of a shard's schema
inline constexpr std::uint16_t kCriticalExtension = 1;

}  // namespace headrace::format
