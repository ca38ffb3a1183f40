#if defined(HEADRACE_XXH3_X86)
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "headrace/codec/xxh3.h"

namespace headrace::codec {

std::uint64_t xxh3_avx2(const void* bytes, std::size_t size, std::uint64_t seed) { return XXH3_64bits_withSeed(bytes, size, seed); }

}  // namespace headrace::codec
#endif
