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

TEST_CASE("what fits into half of the memory is mapped, warm or cold") {
  TempDir dir;
  const RandomFile file(dir / "a", kFileBytes);
  drop(file.path());
  const ReaderChoice choice = choose_reader({file.path()}, kFileBytes, 2 * kFileBytes);
  CHECK(choice.kind == ReaderKind::kMmap);
  CHECK(has(choice.reason, "fits into memory"));
  CHECK(choose_reader({}, 0, 1).kind == ReaderKind::kMmap);
}

TEST_CASE("what is larger is mapped while it is in the page cache, and read past it when it is cold") {
  TempDir dir;
  const RandomFile file(dir / "a", kFileBytes);
  const std::vector<std::string> paths{file.path()};
  if (share_of(file.path()) < 0) {
    CHECK(has(choose_reader(paths, kFileBytes, kFileBytes).reason, "does not say"));
    return;
  }
  drop(file.path());
  const ReaderChoice cold = choose_reader(paths, kFileBytes, kFileBytes);
  if (share_of(file.path()) == 0) {  // Not so on tmpfs.
    const bool direct = ring_refusal() == 0 && storage::File::open(file.path(), true).is_ok();
    CHECK(cold.kind == (direct ? ReaderKind::kDirect : ReaderKind::kMmap));
    CHECK(has(cold.reason, direct ? "it is cold and larger" : "refuses"));
    CHECK(share_of(file.path()) == 0);  // Looking has read nothing.
  }
  std::vector<std::uint8_t> all(kFileBytes);
  const auto opened = storage::File::open(file.path());
  REQUIRE(opened->read_exact(0, all).is_ok());
  CHECK(share_of(file.path()) == 1);
  const ReaderChoice warm = choose_reader(paths, kFileBytes, kFileBytes);
  CHECK(warm.kind == ReaderKind::kMmap);
  CHECK(has(warm.reason, "100 % of sampled pages are in the page cache"));
}

TEST_CASE("without rings what is cold is mapped, and the reason says so") {
  TempDir dir;
  const RandomFile file(dir / "a", kFileBytes);
  drop(file.path());
  if (share_of(file.path()) != 0) return;
  CHECK(true_in_child([&] {
    refuse_call(SYS_io_uring_setup, EPERM);
    const ReaderChoice choice = choose_reader({file.path()}, kFileBytes, kFileBytes);
    return choice.kind == ReaderKind::kMmap && has(choice.reason, "the system refuses io_uring");
  }));
}

}  // namespace headrace::io
