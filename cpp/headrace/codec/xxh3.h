// XXH3-64 for the vectors of this machine: the same hash, up to twice as fast as for those that every x86-64 has.
//
// xxhash.h chooses its vectors when it is compiled, so each file xxh3_*.cc compiles it once more with other flags; they include nothing
// else, so that no shared inline function is compiled for a processor that may not be there.
// Owns nothing; any thread.
#pragma once

#include <cstddef>
#include <cstdint>

namespace headrace::codec {

using Xxh3 = std::uint64_t (*)(const void* bytes, std::size_t size, std::uint64_t seed);

std::uint64_t xxh3_baseline(const void* bytes, std::size_t size, std::uint64_t seed);
#if defined(HEADRACE_XXH3_X86)
std::uint64_t xxh3_avx2(const void* bytes, std::size_t size, std::uint64_t seed);
std::uint64_t xxh3_avx512(const void* bytes, std::size_t size, std::uint64_t seed);
#endif

// All that this processor can run, the best last.
std::size_t xxh3_versions(Xxh3 (&out)[3]);

}  // namespace headrace::codec
