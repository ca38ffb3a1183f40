// A whole file mapped for reading. The descriptor is not kept: a mapping costs no file handle.
//
// Owns:     the mapping. Bytes live as long as this object.
// Threads:  any thread may call anything at the same time.
// Forking:  safe: the child shares the mapping and there is no lock.
#pragma once

#include <cstdint>
#include <string>

#include "headrace/base/bytes.h"
#include "headrace/base/status.h"
#include "headrace/storage/file.h"

namespace headrace::storage {

class Mapping {
 public:
  Mapping() = default;
  ~Mapping();
  Mapping(Mapping&& other) noexcept;
  Mapping& operator=(Mapping&& other) noexcept;
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  // Maps the whole of `file`, which may be closed afterwards. An empty file maps to no bytes.
  static Result<Mapping> map(const File& file);

  Bytes bytes() const { return {data_, size_}; }
  const std::uint8_t* data() const { return data_; }
  std::uint64_t size() const { return size_; }

  // Reads [offset, offset + length) into memory (MADV_POPULATE_READ), so that touching it cannot kill the process.
  // Errors: kTruncated (the file was cut), kIoError (the device failed). Falls back to preading a byte of each page
  // through a fresh descriptor where the kernel lacks the call.
  Status populate(std::uint64_t offset, std::uint64_t length) const;
  // Starts reading a range without waiting for it (MADV_WILLNEED). Best effort.
  void will_need(std::uint64_t offset, std::uint64_t length) const;
  // Says that accesses come at random, so that a fault reads no more than it needs. Best effort.
  void advise_random() const;

 private:
  const std::uint8_t* data_ = nullptr;
  std::uint64_t size_ = 0;
  std::string path_;
};

}  // namespace headrace::storage
