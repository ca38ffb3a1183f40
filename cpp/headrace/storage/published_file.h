// A file that appears under its name whole and durable, or not at all.
//
// Written as `.<name>.<random>.tmp` in the same directory, under an flock() that ends with its maker, whatever ends that: this tells
// an unfinished file from an abandoned one. publish() syncs it, renames it without replacing anything, and syncs the directory. A failed
// write, fsync, close or rename kills the temporary file: after a failed fsync the kernel may have dropped the pages, so nothing is ever
// synced again. Destroying an unpublished file removes it.
//
// Owns:     the descriptor and the temporary file. Threads: one at a time.
// Forking:  a child that inherits it neither removes nor publishes (publish() answers kForked).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "headrace/base/bytes.h"
#include "headrace/base/status.h"

namespace headrace::storage {

class PublishedFile {
 public:
  PublishedFile() = default;
  ~PublishedFile();
  PublishedFile(PublishedFile&& other) noexcept;
  PublishedFile& operator=(PublishedFile&& other) noexcept;
  PublishedFile(const PublishedFile&) = delete;
  PublishedFile& operator=(const PublishedFile&) = delete;

  // `path` is the final name; nothing may be there when publish() is called.
  static Result<PublishedFile> create(const std::string& path);

  // Errors: kIoError (the temporary file is gone afterwards), kForked, kClosed (published, discarded or failed before).
  Status append(Bytes bytes);
  std::uint64_t size() const { return size_; }
  // Errors: kAlreadyExists (another writer was first), kIoError, kForked, kClosed. The temporary file is gone afterwards either way.
  // If only the directory's sync fails, the file stands under its name, since others may have opened it; the message says so.
  Status publish();
  // Drops the file; the destructor does the same.
  void discard();
  const std::string& path() const { return path_; }

 private:
  int fd_ = -1;
  std::uint64_t size_ = 0;
  std::uint64_t generation_ = 0;  // fork generation of the maker
  std::string path_;
  std::string temporary_;
};

// The name that a temporary file would have been published under; empty if `temporary` is no such file's name.
std::string_view final_name_of(std::string_view temporary);

enum class Maker { kAlive, kGone, kUnknown };
// Whether the maker of a temporary file still lives (or a child that was forked meanwhile); with `remove`, a file whose maker is gone is
// removed, and no other. kUnknown: the file cannot be opened, or its file system may not show the locks of other machines.
// Any thread or process may call, at any moment of the maker's. Errors: kIoError (it cannot be removed).
Result<Maker> maker_of(const std::string& temporary, bool remove);

// fsync of a directory, so that a rename in it survives a power cut. File systems that cannot sync directories answer ok.
Status sync_directory(const std::string& path);
// Moves `from` to the unused name `to` by hard link and unlink, for file systems that cannot rename without replacing.
// Errors: kAlreadyExists, kIoError.
Status move_by_link(const std::string& from, const std::string& to);

}  // namespace headrace::storage
