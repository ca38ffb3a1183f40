// Counts readings of the clock: LD_PRELOAD=count_clock.so, then clock_calls() says how many there were, coarse_calls() how many of the kernel's
// latest tick, which cost a third.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdatomic.h>
#include <stddef.h>
#include <time.h>

static _Atomic long calls = 0, coarse = 0;
static _Atomic(int (*)(clockid_t, struct timespec*)) next = NULL;

int clock_gettime(clockid_t clock, struct timespec* now) {
  int (*real)(clockid_t, struct timespec*) = atomic_load_explicit(&next, memory_order_relaxed);
  if (real == NULL) {
    real = (int (*)(clockid_t, struct timespec*))dlsym(RTLD_NEXT, "clock_gettime");
    atomic_store_explicit(&next, real, memory_order_relaxed);
  }
  atomic_fetch_add_explicit(clock == CLOCK_MONOTONIC_COARSE ? &coarse : &calls, 1, memory_order_relaxed);
  return real(clock, now);
}

long clock_calls(void) { return atomic_load_explicit(&calls, memory_order_relaxed); }
long coarse_calls(void) { return atomic_load_explicit(&coarse, memory_order_relaxed); }
