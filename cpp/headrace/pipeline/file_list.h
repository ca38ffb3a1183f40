// Files that are read in place, one a row: their paths below a folder.
//
// Owns the paths, not the files: nothing is open between reads. Immutable: any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "headrace/base/bytes.h"
#include "headrace/base/status.h"

namespace headrace::pipeline {

class FileList {
 public:
  FileList(std::string folder, const std::vector<std::string>& names);

  std::uint64_t size() const { return ends_.size() - 1; }
  // REQUIRES: row < size(), for all.
  std::string path(std::uint64_t row) const;
  // Bytes of the file; asks the kernel to bring it into memory meanwhile. Errors: kNotFound, kIoError, kInvalidArgument (no file).
  Result<std::uint64_t> ask_for(std::uint64_t row) const;
  // Fills `out` with all of the file. Errors: those of storage::File; kChanged: it has another size by now.
  Status read(std::uint64_t row, MutableBytes out) const;
  // Hash of the names, in order.
  std::uint64_t fingerprint() const;

 private:
  std::string folder_, names_;
  std::vector<std::uint64_t> ends_{0};  // of each name in names_
};

}  // namespace headrace::pipeline
