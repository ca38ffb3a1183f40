// Functions compiled for several generations of a processor, the best one chosen when the program is loaded.
//
// Put HR_MULTIVERSION before a function whose loops the compiler can vectorise: all versions compute the same bits (integers, copies). What
// it calls is compiled along with each version only if it is HR_INLINE. Elsewhere than GCC on x86-64 with glibc the plain version is the
// only one.
#pragma once

#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_THREAD__) && \
    !defined(__SANITIZE_ADDRESS__)
#define HR_MULTIVERSION __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default"), optimize("O3")))
#else
#define HR_MULTIVERSION
#endif

#define HR_INLINE inline __attribute__((always_inline))
