#include "headrace/io/file_table.h"

#include <sys/resource.h>

#include <algorithm>
#include <cerrno>

namespace headrace::io {

FileTable::FileTable() : capacity_(8) {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY) capacity_ = std::max<std::size_t>(8, limit.rlim_cur / 4);
}

Result<std::shared_ptr<const storage::File>> FileTable::get(const std::string& path, bool direct, const storage::FileIdentity& expected) {
  {
    std::lock_guard lock(mutex_);
    const auto found = entries_.find(path);
    if (found != entries_.end()) {
      ages_.splice(ages_.begin(), ages_, found->second.age);
      return found->second.file;
    }
  }
  Result<storage::File> opened = storage::File::open(path, direct);
  if (!opened.is_ok() && (opened.status().sys_errno() == EMFILE || opened.status().sys_errno() == ENFILE)) {
    std::unordered_map<std::string, Entry> closing;
    {
      std::lock_guard lock(mutex_);
      closing.swap(entries_);
      ages_.clear();
    }
    closing.clear();
    opened = storage::File::open(path, direct);
  }
  if (!opened.is_ok()) return opened.status();
  HR_ASSIGN_OR_RETURN(const storage::FileIdentity found, opened->identity());
  if (found.device != expected.device || found.inode != expected.inode) {
    return Status(Code::kChanged, "read " + path + ": the file was replaced since it was opened; open the dataset again");
  }
  const auto close = [open = open_](const storage::File* closing) {
    delete closing;
    open->fetch_sub(1, std::memory_order_relaxed);
  };
  open_->fetch_add(1, std::memory_order_relaxed);
  std::shared_ptr<const storage::File> file(new storage::File(std::move(*opened)), close);
  std::shared_ptr<const storage::File> dropped;  // Closed after the lock is released.
  std::lock_guard lock(mutex_);
  std::list<std::string> age{path};  // Before anything changes: no entry may be left without one.
  const auto [entry, added] = entries_.try_emplace(path);
  if (!added) return entry->second.file;
  ages_.splice(ages_.begin(), age);
  entry->second = {file, ages_.begin()};
  if (entries_.size() > capacity_) {
    const auto oldest = entries_.find(ages_.back());
    dropped = std::move(oldest->second.file);
    entries_.erase(oldest);
    ages_.pop_back();
  }
  return file;
}

}  // namespace headrace::io
