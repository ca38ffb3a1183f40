// A whole file mapped for reading. The descriptor is not kept: a mapping costs no file handle.
//
// Owns:     the mapping. Bytes live as long as this object.
// Threads:  any thread may call anything at the same time.
// Forking:  safe: the child shares the mapping and there is no lock.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "headrace/base/bytes.h"
#include "headrace/base/status.h"
#include "headrace/storage/fault_guard.h"
#include "headrace/storage/file.h"

namespace headrace::storage {

class Mapping {
 public:
  Mapping();
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

  // Reads [offset, offset + length) into memory (MADV_POPULATE_READ), so that touching it cannot kill the process. A device that fails is
  // asked once more: `retries` (if given) counts that.
  // Errors: kTruncated (the file was cut), kIoError (the device failed). Where the kernel lacks the call,
  // populate_by_reading() serves, and a file that lost its name answers kNotFound or kChanged. A file cut within its last page reads as
  // zeros there: checksums find that.
  Status populate(std::uint64_t offset, std::uint64_t length, unsigned* retries = nullptr) const;
  // Pages that could no longer be read when they were touched, and read as zeros since (fault_guard.h). Populated ones may be among them: a
  // page can be evicted, or its file be cut, at any time.
  std::uint64_t faults() const { return guard_.faults(); }
  // Starts reading a range without waiting for it (MADV_WILLNEED). Best effort.
  void will_need(std::uint64_t offset, std::uint64_t length) const;
  // Says that accesses come at random, so that a fault reads no more than it needs. Best effort.
  void advise_random() const;
  // Says that all of the file will be used, in any order, and fits into memory: from now on populate() reads whole huge-page ranges once
  // they were asked for often, and asks the kernel to keep them as huge pages (a random row then misses the TLB a hundred times less
  // often). Any thread, at any time.
  void expect_whole() const;
  bool is_whole() const;
  // For who populates ahead on a thread of his own: true to one caller, once, for a huge-page range that is neither in memory nor
  // populated. REQUIRES: is_whole().
  bool claim_region(std::uint64_t region) const;
  static constexpr std::uint64_t kRegionBytes = std::uint64_t{2} << 20;

 private:
  Status populate_exactly(std::uint64_t offset, std::uint64_t length, unsigned* retries) const;
  struct Regions;
  const std::uint8_t* data_ = nullptr;
  std::uint64_t size_ = 0;
  FileIdentity identity_;
  std::string path_;
  std::unique_ptr<Regions> regions_;  // null where the file is smaller than a huge page
  FaultGuard guard_;                  // gone before the mapping is
};

// Brings pages of a mapped file into the page cache by reading a byte of each through a fresh descriptor.
// Errors: as populate(); kChanged if the path now names another file than `mapped`. REQUIRES: offset + length does not overflow.
Status populate_by_reading(const std::string& path, const FileIdentity& mapped, std::uint64_t offset, std::uint64_t length,
                           unsigned* retries = nullptr);

}  // namespace headrace::storage
