// Keeps the process alive where a mapped page can no longer be read: its file was cut, or its device failed, after it was populated.
//
// Touching such a page raises SIGBUS, which ends a process. With a guard, the page becomes one of zeros, the access goes on, and the guard
// counts: whoever reads guarded bytes in place looks at the count afterwards, and throws away what was read if it grew.
//
// The handler is put in place when the first range is guarded, never at import. It answers for guarded ranges alone; any other SIGBUS goes
// on to whoever handled it before (faulthandler, or the default), and no other signal is touched.
//
// Owns:     nothing of the mapping. REQUIRES: it outlives the guard.
// Threads:  any. No locks: the handler runs on whatever thread touched the page.
// Forking:  a child inherits handler and guards.
#pragma once

#include <cstddef>
#include <cstdint>

namespace headrace::storage {

class FaultGuard {
 public:
  FaultGuard() = default;
  FaultGuard(const void* begin, std::size_t bytes);
  ~FaultGuard();
  FaultGuard(FaultGuard&& other) noexcept;
  FaultGuard& operator=(FaultGuard&& other) noexcept;
  FaultGuard(const FaultGuard&) = delete;
  FaultGuard& operator=(const FaultGuard&) = delete;

  // Pages of the range that were replaced by zeros so far.
  std::uint64_t faults() const;

 private:
  struct Range;
  struct Signal;
  Range* range_ = nullptr;
};

}  // namespace headrace::storage
