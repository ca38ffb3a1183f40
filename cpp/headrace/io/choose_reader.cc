#include "headrace/io/choose_reader.h"

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <system_error>

#include "headrace/io/residency.h"
#include "headrace/io/transfer.h"
#include "headrace/io/uring.h"
#include "headrace/storage/file.h"

namespace headrace::io {
namespace {

constexpr unsigned kSamples = 64;  // of all files together
// Shares of the files.
constexpr double kWarmShare = 0.95;         // in memory, whoever it is that pays for it
constexpr double kShareThatCounts = 0.125;  // in memory, or could be: what the page cache then saves is more than what filling it costs
// Of the memory: the rest is for what else this process will take.
constexpr double kFits = 0.75;
constexpr double kStillFits = 0.95;
constexpr double kGibibyte = 1 << 30;

// Of some of the files; -1 where the system does not tell.
double cached_share_of(const std::vector<std::string>& paths) {
  const std::size_t files = std::min(kMostFilesLookedAt, paths.size());
  double sum = 0;
  unsigned counted = 0;
  for (std::size_t i = 0; i < files; ++i) {
    const auto file = storage::File::open(paths[i * paths.size() / files]);
    if (!file.is_ok()) continue;
    const auto identity = file->identity();
    if (!identity.is_ok() || identity->size == 0) continue;
    const double share = cached_share(file->descriptor(), identity->size, std::max(1u, kSamples / static_cast<unsigned>(files)));
    if (share < 0) return -1;
    sum += share;
    ++counted;
  }
  return counted == 0 ? -1 : sum / counted;
}

// Empty, or why files like this one cannot be read past the page cache by a ring.
std::string direct_refusal(const std::string& path) {
  if (const int error = ring_refusal(); error != 0) return "the system refuses io_uring: " + std::generic_category().message(error);
  const auto file = storage::File::open(path, true);
  if (!file.is_ok()) return "the file system refuses O_DIRECT";
  struct Free {
    void operator()(std::uint8_t* memory) const { std::free(memory); }
  };
  const std::unique_ptr<std::uint8_t, Free> page(static_cast<std::uint8_t*>(std::aligned_alloc(kDirectAlign, kDirectAlign)));
  if (page == nullptr) return "there is no memory to try O_DIRECT";
  Transfer transfer{file->descriptor(), 0, page.get(), kDirectAlign, kDirectAlign};
  read_blocking({&transfer, 1});
  return transfer.error == 0 ? "" : "the file system refuses O_DIRECT reads";
}

}  // namespace

ReaderChoice choose_reader(const std::vector<std::string>& paths, std::uint64_t total_bytes, std::uint64_t memory_bytes,
                           std::optional<ReaderKind> now) {
  const double size = static_cast<double>(total_bytes) / kGibibyte, memory = static_cast<double>(memory_bytes) / kGibibyte;
  const std::string sizes = strf("%.1f GiB on disk, %.1f GiB of free memory", size, memory);
  if (paths.empty() || size <= memory * (now == ReaderKind::kMmap ? kStillFits : kFits))
    return {ReaderKind::kMmap, "it fits into memory, so that later passes need no device: " + sizes};
  const double cached = cached_share_of(paths);
  const std::string share = cached < 0 ? "the system does not say what is in the page cache; "
                                       : strf("%.0f %% of sampled pages are in the page cache; ", cached * 100);
  if (cached >= kWarmShare) return {ReaderKind::kMmap, share + sizes};
  if (std::max(cached, memory / size) >= kShareThatCounts)
    return {ReaderKind::kPread, "it is larger than the page cache can hold, which serves a part of it: " + share + sizes};
  const std::string refusal = direct_refusal(paths.front());
  if (!refusal.empty()) return {ReaderKind::kPread, refusal + "; " + share + sizes};
  return {ReaderKind::kDirect, "it is cold and much larger than the page cache can hold: " + share + sizes};
}

}  // namespace headrace::io
