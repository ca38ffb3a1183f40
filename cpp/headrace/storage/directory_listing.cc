#include "headrace/storage/directory_listing.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <memory>
#include <utility>

#include "headrace/base/parallel.h"
#include "headrace/storage/kernel.h"

namespace headrace::storage {
namespace {

// Times are those of the last tick (4 ms), on some file systems of the last two seconds: a directory that changed again within one looks as
// it did before.
constexpr std::int64_t kCoarsestClockNs = 3'000'000'000;

struct CloseDirectory {
  void operator()(DIR* directory) const { ::closedir(directory); }
};
using Directory = std::unique_ptr<DIR, CloseDirectory>;

std::int64_t to_ns(const timespec& time) { return std::int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec; }

DirectoryIdentity identity_of(const struct stat& status) {
#if defined(__APPLE__)
  const timespec &changed = status.st_mtimespec, &touched = status.st_ctimespec;
#else
  const timespec &changed = status.st_mtim, &touched = status.st_ctim;
#endif
  return {static_cast<std::uint64_t>(status.st_dev), static_cast<std::uint64_t>(status.st_ino), to_ns(changed), to_ns(touched)};
}

Status failed(const std::string& path) { return Status::from_errno(errno, strf("list directory '%s'", path.c_str())); }

bool is_folder(int descriptor, const dirent& entry, bool* is_link) {
  *is_link = entry.d_type == DT_LNK;
  if (entry.d_type != DT_LNK && entry.d_type != DT_UNKNOWN) return entry.d_type == DT_DIR;
  struct stat status;
  if (entry.d_type == DT_UNKNOWN && ::fstatat(descriptor, entry.d_name, &status, AT_SYMLINK_NOFOLLOW) == 0)
    *is_link = S_ISLNK(status.st_mode);
  return ::fstatat(descriptor, entry.d_name, &status, 0) == 0 && S_ISDIR(status.st_mode);
}

Status read_names(DIR* directory, const std::string& path, DirectoryListing* listing) {
  const int descriptor = ::dirfd(directory);
  for (;;) {
    errno = 0;
    const dirent* const entry = ::readdir(directory);
    if (entry == nullptr) return errno == 0 ? Status::ok() : failed(path);
    if (std::strcmp(entry->d_name, ".") == 0 || std::strcmp(entry->d_name, "..") == 0) continue;
    bool is_link = false;
    (is_folder(descriptor, *entry, &is_link) ? listing->folders : listing->files).emplace_back(entry->d_name);
    listing->has_links |= is_link;
  }
}

Status list(const ListedDirectory& wanted, std::optional<DirectoryListing>* out) {
  const std::int64_t now_ns = std::chrono::nanoseconds(std::chrono::system_clock::now().time_since_epoch()).count();
  struct stat before, after;
  if (::stat(wanted.path.c_str(), &before) != 0) return failed(wanted.path);
  if (wanted.known.has_value() && *wanted.known == identity_of(before)) return Status::ok();
  const Directory directory(::opendir(wanted.path.c_str()));
  if (directory == nullptr) return failed(wanted.path);
  const int descriptor = ::dirfd(directory.get());
  if (::fstat(descriptor, &before) != 0) return failed(wanted.path);
  DirectoryListing listing;
  listing.identity = identity_of(before);
  HR_RETURN_IF_ERROR(read_names(directory.get(), wanted.path, &listing));
  if (::fstat(descriptor, &after) != 0) return failed(wanted.path);
  const std::int64_t changed_ns = std::max(listing.identity.mtime_ns, listing.identity.ctime_ns);
  listing.can_be_kept = !listing.has_links && listing.identity == identity_of(after) && changed_ns + kCoarsestClockNs < now_ns &&
                        is_local_file_system(descriptor);
  *out = std::move(listing);
  return Status::ok();
}

}  // namespace

Result<std::vector<std::optional<DirectoryListing>>> list_directories(std::span<const ListedDirectory> directories, int threads) {
  std::vector<std::optional<DirectoryListing>> out(directories.size());
  HR_RETURN_IF_ERROR(parallel_for(directories.size(), threads, [&](std::size_t i) { return list(directories[i], &out[i]); }));
  return out;
}

}  // namespace headrace::storage
