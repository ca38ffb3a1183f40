// Open descriptors of shards, least recently used closed first, so that any number of shards fits the process's limit.
//
// Owns:     the open files; a handle keeps its file open after it left the table.
// Threads:  any. Locks: one mutex, not held while a file is opened.
// Forking:  must not be used in a child (see pipeline/dataset.h).
#pragma once

#include <atomic>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>

#include "headrace/base/status.h"
#include "headrace/storage/file.h"

namespace headrace::io {

class FileTable {
 public:
  // A quarter of RLIMIT_NOFILE, at least 8: the rest belongs to the user's program.
  FileTable();

  // The file at `path`, opened if it is not open. It must be the one `expected` (else kChanged: it was replaced); whether it was rewritten
  // since is for checksums to say.
  // Errors: storage::File::open's; with EMFILE every idle descriptor is closed first and opening tried again.
  Result<std::shared_ptr<const storage::File>> get(const std::string& path, bool direct, const storage::FileIdentity& expected);
  std::size_t capacity() const { return capacity_; }
  // Whether handles keep so many files open (twice the capacity, half of RLIMIT_NOFILE) that more reads should not be queued: a queued read
  // holds its file until it is done.
  bool is_crowded() const { return open_->load(std::memory_order_relaxed) >= 2 * capacity_; }

 private:
  struct Entry {
    std::shared_ptr<const storage::File> file;
    std::list<std::string>::iterator age;
  };
  std::size_t capacity_;
  std::shared_ptr<std::atomic<std::size_t>> open_ = std::make_shared<std::atomic<std::size_t>>(0);  // files, in the table or not
  std::mutex mutex_;
  std::unordered_map<std::string, Entry> entries_;
  std::list<std::string> ages_;  // most recently used first
};

}  // namespace headrace::io
