// Memory shared between processes through a file without a name (memfd), which nobody can change or cut once it is sealed.
//
// Owns:     the descriptor and the mapping. Gone with the last process that holds either: nothing is left behind, however they end.
// Threads:  fill from several between create() and seal(), which is for one thread once they are done; then read from any.
// Forking:  mappings are not inherited; descriptors are closed in the child.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "headrace/base/bytes.h"
#include "headrace/base/status.h"

namespace headrace::storage {

// Closes a descriptor in children of fork() from now until forget_descriptor(). False where too many are kept.
bool close_in_children(int descriptor);
void forget_descriptor(int descriptor);

class SealedMemory {
 public:
  ~SealedMemory();
  SealedMemory(const SealedMemory&) = delete;
  SealedMemory& operator=(const SealedMemory&) = delete;
  // Zeroes, to be filled. Errors: kOutOfMemory, kUnsupported.
  static Result<std::shared_ptr<SealedMemory>> create(std::size_t bytes);
  // What another process sealed. Takes the descriptor over in any case. Errors: kCorrupt (not sealed for good, not `bytes` long),
  // kOutOfMemory.
  static Result<std::shared_ptr<SealedMemory>> adopt(int descriptor, std::size_t bytes);

  // Null once sealed.
  std::uint8_t* writable() const { return writable_; }
  // Cuts it to `bytes` and ends all writing. Errors: kIoError; then it serves nobody.
  Status seal(std::size_t bytes);
  // REQUIRES: sealed or adopted.
  Bytes bytes() const { return {readable_, size_}; }
  int descriptor() const { return descriptor_; }
  // Of the memory, whichever process or descriptor it is seen through.
  std::uint64_t identity() const { return identity_; }

 private:
  SealedMemory() = default;
  Status map_readable();
  int descriptor_ = -1;
  std::size_t size_ = 0;
  std::uint64_t identity_ = 0;
  std::uint8_t* writable_ = nullptr;
  const std::uint8_t* readable_ = nullptr;
};

}  // namespace headrace::storage
