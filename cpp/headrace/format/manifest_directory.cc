// Manifests as files of a directory: which there are, reading one, publishing one. FORMAT.md section 2.
#include <dirent.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cinttypes>
#include <memory>

#include "headrace/format/manifest.h"
#include "headrace/storage/published_file.h"

namespace headrace::format {
namespace {

// Version of a manifest's file name; 0 if it is none.
std::uint64_t version_of(std::string_view name) {
  constexpr std::string_view kPrefix = "manifest-";
  constexpr std::string_view kSuffix = ".hrm";
  if (!name.starts_with(kPrefix) || !name.ends_with(kSuffix) || name.size() <= kPrefix.size() + kSuffix.size()) return 0;
  const std::string_view digits = name.substr(kPrefix.size(), name.size() - kPrefix.size() - kSuffix.size());
  std::uint64_t version = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), version);
  const bool whole = error == std::errc() && end == digits.data() + digits.size();
  return whole && name == manifest_name(version) ? version : 0;  // One name a version: "manifest-1.hrm" is a stranger's.
}

Status no_version(const std::string& directory, std::uint64_t version, const std::vector<std::uint64_t>& versions) {
  if (versions.empty()) {
    return {Code::kNotFound,
            strf("open dataset %s: no manifest-*.hrm in it; it is no headrace dataset, or its writer never committed", directory.c_str())};
  }
  constexpr std::size_t kListed = 8;
  std::string list;
  for (std::size_t i = versions.size() - std::min(versions.size(), kListed); i < versions.size(); ++i)
    list += strf(" %" PRIu64, versions[i]);
  return {Code::kNotFound, strf("open dataset %s: there is no version %" PRIu64 "; the %s:%s", directory.c_str(), version,
                                versions.size() > kListed ? "newest are" : "versions are", list.c_str())};
}

Result<Manifest> read_file(const std::string& path, const Limits& limits) {
  HR_ASSIGN_OR_RETURN(storage::File file, storage::File::open(path));
  HR_ASSIGN_OR_RETURN(const storage::FileIdentity identity, file.identity());
  if (identity.size > limits.manifest_bytes) {
    return Status(Code::kLimitExceeded, strf("manifest: %" PRIu64 " bytes; the limit is %" PRIu64, identity.size, limits.manifest_bytes));
  }
  std::vector<std::uint8_t> bytes(identity.size);
  HR_RETURN_IF_ERROR(file.read_exact(0, bytes));
  return decode_manifest(bytes, limits);
}

}  // namespace

std::string manifest_name(std::uint64_t version) { return strf("manifest-%010" PRIu64 ".hrm", version); }

Result<std::vector<std::uint64_t>> list_versions(const std::string& directory) {
  const std::unique_ptr<DIR, int (*)(DIR*)> stream(opendir(directory.c_str()), closedir);
  if (stream == nullptr) return Status::from_errno(errno, "open dataset directory " + directory);
  std::vector<std::uint64_t> versions;
  while (true) {
    errno = 0;
    const dirent* const entry = readdir(stream.get());
    if (entry == nullptr) break;
    const std::uint64_t version = version_of(entry->d_name);
    if (version != 0) versions.push_back(version);
  }
  if (errno != 0) return Status::from_errno(errno, "list dataset directory " + directory);
  std::sort(versions.begin(), versions.end());
  return versions;
}

Result<Manifest> read_manifest(const std::string& directory, std::uint64_t version, const Limits& limits) {
  HR_ASSIGN_OR_RETURN(const std::vector<std::uint64_t> versions, list_versions(directory));
  const bool there = version == 0 ? !versions.empty() : std::binary_search(versions.begin(), versions.end(), version);
  if (!there) return no_version(directory, version, versions);
  const std::uint64_t wanted = version == 0 ? versions.back() : version;
  const std::string path = directory + "/" + manifest_name(wanted);
  Result<Manifest> manifest = read_file(path, limits);
  if (!manifest) return manifest.status().with_context("open " + path);
  if (manifest->version != wanted) {
    return Status(Code::kCorrupt, strf("open %s: it says version %" PRIu64 "; expected %" PRIu64
                                       ", as its name does: it was renamed, restore it from a copy",
                                       path.c_str(), manifest->version, wanted));
  }
  return manifest;
}

Status publish_manifest(const std::string& directory, const Manifest& manifest) {
  HR_ASSIGN_OR_RETURN(storage::PublishedFile file, storage::PublishedFile::create(directory + "/" + manifest_name(manifest.version)));
  HR_RETURN_IF_ERROR(file.append(encode_manifest(manifest)));
  return file.publish();
}

}  // namespace headrace::format
