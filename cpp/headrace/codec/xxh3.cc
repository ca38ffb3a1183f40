#include "headrace/codec/xxh3.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace headrace::codec {

std::uint64_t xxh3_baseline(const void* bytes, std::size_t size, std::uint64_t seed) { return XXH3_64bits_withSeed(bytes, size, seed); }

std::size_t xxh3_versions(Xxh3 (&out)[3]) {
  std::size_t count = 0;
  out[count++] = &xxh3_baseline;
#if defined(HEADRACE_XXH3_X86)
  if (__builtin_cpu_supports("avx2") != 0) out[count++] = &xxh3_avx2;
  if (__builtin_cpu_supports("avx512f") != 0) out[count++] = &xxh3_avx512;
#endif
  return count;
}

}  // namespace headrace::codec
