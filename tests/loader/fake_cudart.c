/* A stand-in for libcudart: knows what is locked, refuses on demand, counts what must never happen. */
#include <pthread.h>
#include <stddef.h>

enum { kMost = 4096, kOutOfMemory = 2, kAlreadyRegistered = 712, kNotRegistered = 713 };

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static void* held[kMost];
static long counts[6]; /* locks, unlocks, locked now, refused, wrong calls, bytes locked now */
static size_t sizes[kMost];
static int refusals; /* how many locks to refuse; -1: all */
static __thread int last_error;
static __thread int device;

static int find(void* at) {
  for (int i = 0; i < kMost; ++i)
    if (held[i] == at) return i;
  return -1;
}

int cudaHostRegister(void* at, size_t bytes, unsigned flags) {
  pthread_mutex_lock(&mutex);
  int error = 0;
  if (refusals != 0) {
    if (refusals > 0) --refusals;
    ++counts[3];
    error = kOutOfMemory;
  } else if (at == NULL || bytes == 0 || flags != 1 || find(at) >= 0) {
    ++counts[4];
    error = kAlreadyRegistered;
  } else {
    const int free = find(NULL);
    held[free] = at;
    sizes[free] = bytes;
    ++counts[0];
    ++counts[2];
    counts[5] += (long)bytes;
  }
  if (error != 0) last_error = error;
  pthread_mutex_unlock(&mutex);
  return error;
}

int cudaHostUnregister(void* at) {
  pthread_mutex_lock(&mutex);
  const int place = at == NULL ? -1 : find(at);
  if (place < 0) {
    ++counts[4];
  } else {
    held[place] = NULL;
    counts[5] -= (long)sizes[place];
    ++counts[1];
    --counts[2];
  }
  pthread_mutex_unlock(&mutex);
  return place < 0 ? kNotRegistered : 0;
}

int cudaGetLastError(void) {
  const int error = last_error;
  last_error = 0;
  return error;
}

int cudaGetDevice(int* out) { return *out = device, 0; }
int cudaSetDevice(int to) { return device = to, 0; }

void fake_refuse(int count) { refusals = count; }
int fake_last_error(void) { return last_error; }
long fake_count(int which) { return counts[which]; }
int fake_is_locked(void* at) {
  pthread_mutex_lock(&mutex);
  int inside = 0;
  for (int i = 0; i < kMost; ++i)
    if (held[i] != NULL && (char*)at >= (char*)held[i] && (char*)at < (char*)held[i] + sizes[i]) inside = 1;
  pthread_mutex_unlock(&mutex);
  return inside;
}
