#include "headrace/format/abandoned_files.h"

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <set>
#include <string_view>

#include "headrace/format/manifest.h"
#include "headrace/storage/directory_lock.h"
#include "headrace/storage/published_file.h"

namespace headrace::format {
namespace {

bool is_shard_name(std::string_view name) {
  constexpr std::string_view kPrefix = "shard-", kSuffix = ".hrs";
  constexpr std::size_t kDigits = 32;
  if (name.size() != kPrefix.size() + kDigits + kSuffix.size() || !name.starts_with(kPrefix) || !name.ends_with(kSuffix)) return false;
  return name.substr(kPrefix.size(), kDigits).find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

bool is_temporary_name(std::string_view name) {
  const std::string_view published = storage::final_name_of(name);
  return is_shard_name(published) || (published.starts_with("manifest-") && published.ends_with(".hrm"));
}

Result<std::vector<std::string>> names_in(const std::string& directory, bool (*wanted)(std::string_view)) {
  const std::unique_ptr<DIR, int (*)(DIR*)> stream(opendir(directory.c_str()), closedir);
  if (stream == nullptr) return Status::from_errno(errno, "open dataset directory " + directory);
  std::vector<std::string> names;
  errno = 0;
  while (const dirent* const entry = readdir(stream.get())) {
    if (wanted(entry->d_name)) names.emplace_back(entry->d_name);
  }
  if (errno != 0) return Status::from_errno(errno, "list dataset directory " + directory);
  std::sort(names.begin(), names.end());
  return names;
}

AbandonedFile file_of(const std::string& directory, const std::string& name) {
  struct stat found = {};
  const bool there = ::lstat((directory + "/" + name).c_str(), &found) == 0;
  return {name, there ? static_cast<std::uint64_t>(found.st_size) : 0};
}

Status find_temporaries(const std::string& directory, bool remove, AbandonedFiles* out) {
  HR_ASSIGN_OR_RETURN(const std::vector<std::string> names, names_in(directory, is_temporary_name));
  for (const std::string& name : names) {
    const AbandonedFile file = file_of(directory, name);
    HR_ASSIGN_OR_RETURN(const storage::Maker maker, storage::maker_of(directory + "/" + name, remove));
    if (maker == storage::Maker::kGone) out->files.push_back(file);
    if (maker == storage::Maker::kUnknown) out->uncertain.push_back(file);
  }
  return {};
}

// REQUIRES: no writer is in the directory, nor can one come.
Result<std::vector<std::string>> unnamed_shards(const std::string& directory, const Limits& limits) {
  HR_ASSIGN_OR_RETURN(const std::vector<std::uint64_t> versions, list_versions(directory));
  std::set<std::string> named;
  for (const std::uint64_t version : versions) {
    HR_ASSIGN_OR_RETURN(const Manifest manifest, read_manifest(directory, version, limits));
    for (const ShardEntry& entry : manifest.shards) named.insert(entry.file_name);
  }
  HR_ASSIGN_OR_RETURN(std::vector<std::string> names, names_in(directory, is_shard_name));
  std::erase_if(names, [&](const std::string& name) { return named.contains(name); });
  return names;
}

}  // namespace

Result<AbandonedFiles> find_abandoned_files(const std::string& directory, bool remove, const Limits& limits) {
  AbandonedFiles found;
  HR_ASSIGN_OR_RETURN(storage::DirectoryLock lock, storage::DirectoryLock::share(directory));
  HR_RETURN_IF_ERROR(find_temporaries(directory, remove, &found));
  const bool alone = lock.try_alone();
  if (!alone) {
    found.writers = true;
    return found;
  }
  HR_ASSIGN_OR_RETURN(const std::vector<std::string> shards, unnamed_shards(directory, limits));
  for (const std::string& name : shards) {
    found.files.push_back(file_of(directory, name));
    const std::string path = directory + "/" + name;
    if (remove && ::unlink(path.c_str()) != 0 && errno != ENOENT) return Status::from_errno(errno, "remove " + path);
  }
  std::sort(found.files.begin(), found.files.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  return found;
}

void remove_abandoned_temporaries(const std::string& directory) {
  AbandonedFiles ignored;
  static_cast<void>(find_temporaries(directory, true, &ignored));
}

}  // namespace headrace::format
