// Page-locking through the CUDA runtime that somebody else has loaded; nothing of CUDA is linked.
//
// Owns:     the functions that were set, for ever: a locked range remembers which ones locked it.
// Threads:  any thread may call anything. No locks are held while the runtime is called.
// Forking:  a device runtime does not survive a fork; what the parent locked must not be unlocked in the child.
#pragma once

#include <cstddef>

namespace headrace::storage {

// cudaHostRegister(ptr, bytes, flags), cudaHostUnregister(ptr), cudaGetLastError(), cudaGetDevice(int*) and cudaSetDevice(int), or null.
// Python finds the addresses and hands them over once.
struct HostRegister {
  int (*lock)(void*, std::size_t, unsigned) = nullptr;
  int (*unlock)(void*) = nullptr;
  // A refused lock leaves an error behind in the runtime, which torch would take for its own: this (optional) fetches it away.
  int (*clear_error)() = nullptr;
  // Optional, both or none. The runtime works for the device that is current on the calling thread, and makes a context there if there is
  // none: hundreds of MB on a device that nobody uses. So a range is unlocked for the device for which it was locked.
  int (*get_device)(int*) = nullptr;
  int (*set_device)(int) = nullptr;
};
void set_host_register(const HostRegister& functions);
bool has_host_register();

// A range of memory that is locked, or not.
class PageLock {
 public:
  bool is_locked() const { return by_ != nullptr; }
  // For the device that is current on this thread. False if there is no runtime, or it refuses: nothing has changed then.
  // REQUIRES: not locked.
  bool lock(void* data, std::size_t bytes);
  // On this thread, or, where another device is current, on one that lives for this alone. Waits for it: milliseconds for 100 MB.
  void unlock(void* data);

 private:
  const HostRegister* by_ = nullptr;
  int device_ = -1;  // not known
};

}  // namespace headrace::storage
