#include "headrace/pipeline/file_list.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>

#include "headrace/codec/checksum.h"
#include "headrace/storage/file.h"

namespace headrace::pipeline {

FileList::FileList(std::string folder, const std::vector<std::string>& names) : folder_(std::move(folder)) {
  ends_.reserve(names.size() + 1);
  for (const std::string& name : names) {
    names_ += name;
    ends_.push_back(names_.size());
  }
}

std::string FileList::path(std::uint64_t row) const { return folder_ + "/" + names_.substr(ends_[row], ends_[row + 1] - ends_[row]); }

Result<std::uint64_t> FileList::ask_for(std::uint64_t row) const {
  HR_ASSIGN_OR_RETURN(const storage::File file, storage::File::open(path(row)));
  struct stat found{};
  if (::fstat(file.descriptor(), &found) != 0) return Status::from_errno(errno, "look at " + file.path());
  if (!S_ISREG(found.st_mode)) return Status(Code::kInvalidArgument, "read " + file.path() + ": it is no file");
#ifdef POSIX_FADV_WILLNEED
  (void)::posix_fadvise(file.descriptor(), 0, 0, POSIX_FADV_WILLNEED);  // Advice: what it cannot do, the read does.
#endif
  return static_cast<std::uint64_t>(found.st_size);
}

Status FileList::read(std::uint64_t row, MutableBytes out) const {
  HR_ASSIGN_OR_RETURN(const storage::File file, storage::File::open(path(row)));
  HR_ASSIGN_OR_RETURN(const storage::FileIdentity identity, file.identity());
  if (identity.size != out.size()) {
    return {Code::kChanged, "read " + file.path() +
                                strf(": it has %llu bytes, and had %zu a moment ago; it must not change while it is read",
                                     static_cast<unsigned long long>(identity.size), out.size())};
  }
  return file.read_exact(0, out);
}

std::uint64_t FileList::fingerprint() const {
  const std::uint64_t names = codec::hash({reinterpret_cast<const std::uint8_t*>(names_.data()), names_.size()}, ends_.size());
  return codec::hash({reinterpret_cast<const std::uint8_t*>(ends_.data()), ends_.size() * sizeof(ends_[0])}, names);
}

}  // namespace headrace::pipeline
