// reader="auto": by size, by what is in memory, by what the storage can do.
#include "headrace/io/choose_reader.h"

#include "headrace/io/residency.h"
#include "headrace/io/uring.h"
#include "io/read_fixture.h"
#include "temp_dir.h"

namespace headrace::io {
namespace {

constexpr std::size_t kFileBytes = 4 << 20;

void drop(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY);
  REQUIRE(fd >= 0);
  ::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
  ::close(fd);
}

double share_of(const std::string& path) {
  const auto file = storage::File::open(path);
  REQUIRE(file.is_ok());
  return cached_share(file->descriptor(), kFileBytes, 16);
}

bool has(const std::string& text, const char* part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("what fits into three quarters of the memory is mapped, warm or cold") {
  TempDir dir;
  const RandomFile file(dir / "a", kFileBytes);
  drop(file.path());
  const ReaderChoice choice = choose_reader({file.path()}, kFileBytes, kFileBytes / 3 * 4 + 4);
  CHECK(choice.kind == ReaderKind::kMmap);
  CHECK(has(choice.reason, "fits into memory"));
  CHECK(choose_reader({}, 0, 1).kind == ReaderKind::kMmap);
}

TEST_CASE("what is mapped stays so until it no longer fits at all") {
  TempDir dir;
  const RandomFile file(dir / "a", kFileBytes);
  drop(file.path());
  if (share_of(file.path()) != 0) return;  // tmpfs, or a system that does not say
  const std::vector<std::string> paths{file.path()};
  const std::uint64_t tight = kFileBytes / 10 * 11;
  CHECK(choose_reader(paths, kFileBytes, tight).kind == ReaderKind::kPread);
  CHECK(choose_reader(paths, kFileBytes, tight, ReaderKind::kDirect).kind == ReaderKind::kPread);
  CHECK(choose_reader(paths, kFileBytes, tight, ReaderKind::kMmap).kind == ReaderKind::kMmap);
  CHECK(choose_reader(paths, kFileBytes, kFileBytes, ReaderKind::kMmap).kind == ReaderKind::kPread);
}

TEST_CASE("what is larger is mapped while all of it is in the page cache") {
  TempDir dir;
  const RandomFile file(dir / "a", kFileBytes);
  if (share_of(file.path()) < 0) return;
  std::vector<std::uint8_t> all(kFileBytes);
  const auto opened = storage::File::open(file.path());
  REQUIRE(opened->read_exact(0, all).is_ok());
  CHECK(share_of(file.path()) == 1);
  const ReaderChoice warm = choose_reader({file.path()}, kFileBytes, kFileBytes / 100);
  CHECK(warm.kind == ReaderKind::kMmap);
  CHECK(has(warm.reason, "100 % of sampled pages are in the page cache"));
}

TEST_CASE("what is larger and cold goes through the page cache where that can hold an eighth, past it where not") {
  TempDir dir;
  const RandomFile file(dir / "a", kFileBytes);
  drop(file.path());
  if (share_of(file.path()) != 0) return;
  const ReaderChoice part = choose_reader({file.path()}, kFileBytes, kFileBytes / 8);
  CHECK(part.kind == ReaderKind::kPread);
  CHECK(has(part.reason, "serves a part of it"));
  const ReaderChoice little = choose_reader({file.path()}, kFileBytes, kFileBytes / 9);
  const bool direct = ring_refusal() == 0 && storage::File::open(file.path(), true).is_ok();
  CHECK(little.kind == (direct ? ReaderKind::kDirect : ReaderKind::kPread));
  CHECK(has(little.reason, direct ? "it is cold and much larger" : "refuses"));
  CHECK(share_of(file.path()) == 0);  // Looking has read nothing.
}

TEST_CASE("without rings what is cold goes through the page cache, and the reason says so") {
  TempDir dir;
  const RandomFile file(dir / "a", kFileBytes);
  drop(file.path());
  if (share_of(file.path()) != 0) return;
  CHECK(true_in_child([&] {
    refuse_call(SYS_io_uring_setup, EPERM);
    const ReaderChoice choice = choose_reader({file.path()}, kFileBytes, kFileBytes / 9);
    return choice.kind == ReaderKind::kPread && has(choice.reason, "the system refuses io_uring");
  }));
}

}  // namespace headrace::io
