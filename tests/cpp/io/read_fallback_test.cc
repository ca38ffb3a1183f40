// What the engines do where the kernel refuses: io_uring by a seccomp filter (as containers do), O_DIRECT at read time; and after fork().
#include <thread>

#include "headrace/io/uring.h"
#include "io/read_fixture.h"
#include "temp_dir.h"

namespace headrace::io {
namespace {

constexpr std::size_t kFileBytes = 700'001;

std::vector<Range> some_ranges(unsigned seed) { return random_ranges(100, kFileBytes, 9'001, seed); }

TEST_CASE("a child of fork() reads again, and so does its parent") {
  TempDir dir;
  const RandomFile content(dir / "f", kFileBytes);
  for (const ReaderKind kind : kEngines) {
    CAPTURE(reader_name(kind));
    auto engine = engine_of(kind);
    const ReaderKind at_first = engine->kind();
    const storage::File file = content.open(*engine);
    REQUIRE(reads_right(*engine, file, content.bytes(), some_ranges(1)));  // The ring is made.
    for (int generation = 0; generation < 3; ++generation) {
      CHECK(true_in_child([&] {
        return reads_right(*engine, file, content.bytes(), some_ranges(2)) && engine->kind() == at_first &&
               true_in_child([&] { return reads_right(*engine, file, content.bytes(), some_ranges(3)) && engine->kind() == at_first; });
      }));
      CHECK(reads_right(*engine, file, content.bytes(), some_ranges(4)));
    }
    CHECK(engine->kind() == at_first);
  }
}

TEST_CASE("a ring lives as long as its thread, and a child holds one of its own") {
  if (ring_refusal() != 0) return;
  TempDir dir;
  const RandomFile content(dir / "f", kFileBytes);
  auto engine = engine_of(ReaderKind::kUring);
  const storage::File file = content.open(*engine);
  CHECK(reads_right(*engine, file, content.bytes(), some_ranges(1)));
  const int here = open_rings();
  CHECK(here == 1);
  int inside = 0;
  std::thread([&] {
    CHECK(reads_right(*engine, file, content.bytes(), some_ranges(2)));
    inside = open_rings();
  }).join();
  CHECK(inside == here + 1);
  CHECK(open_rings() == here);
  CHECK(true_in_child([&] { return reads_right(*engine, file, content.bytes(), some_ranges(3)) && open_rings() == 1; }));
}

TEST_CASE("giving up O_DIRECT reads files that were opened for it") {
  TempDir dir;
  const RandomFile content(dir / "f", kFileBytes);
  auto engine = engine_of(ReaderKind::kDirect);
  const storage::File file = content.open(*engine);
  CHECK(reads_right(*engine, file, content.bytes(), some_ranges(1)));
  engine->give_up_direct();
  CHECK(engine->kind() == ReaderKind::kPread);
  CHECK_FALSE(engine->wants_direct_files());
  CHECK(reads_right(*engine, file, content.bytes(), some_ranges(2)));
  CHECK((::fcntl(file.descriptor(), F_GETFL) & O_DIRECT) == 0);
}

#if !defined(__SANITIZE_THREAD__)  // Its runtime needs calls that the filters refuse.

TEST_CASE("refused rings become pread, for good") {
  TempDir dir;
  const RandomFile content(dir / "f", kFileBytes);
  for (const unsigned error : {EPERM, ENOSYS, ENOMEM}) {
    CHECK(true_in_child([&] {  // Refused from the beginning.
      refuse_call(__NR_io_uring_setup, error);
      auto engine = engine_of(ReaderKind::kUring);
      const storage::File file = content.open(*engine);
      return engine->kind() == ReaderKind::kPread &&
             engine->fallback_reason().find(std::strerror(static_cast<int>(error))) != std::string::npos &&
             reads_right(*engine, file, content.bytes(), some_ranges(1));
    }));
    CHECK(true_in_child([&] {  // Refused to a thread that has no ring yet.
      auto engine = engine_of(ReaderKind::kUring);
      const storage::File file = content.open(*engine);
      if (engine->kind() != ReaderKind::kUring || !engine->fallback_reason().empty()) return false;
      refuse_call(__NR_io_uring_setup, error);
      return reads_right(*engine, file, content.bytes(), some_ranges(2)) && !engine->fallback_reason().empty() &&
             engine->kind() == ReaderKind::kPread && reads_right(*engine, file, content.bytes(), some_ranges(3));
    }));
    CHECK(true_in_child([&] {  // A ring that works no more.
      auto engine = engine_of(ReaderKind::kUring);
      const storage::File file = content.open(*engine);
      if (!reads_right(*engine, file, content.bytes(), some_ranges(4)) || open_rings() != 1) return false;
      refuse_call(__NR_io_uring_enter, error);
      return reads_right(*engine, file, content.bytes(), some_ranges(5)) && engine->kind() == ReaderKind::kPread && open_rings() == 0;
    }));
  }
}

TEST_CASE("direct reads need no ring") {
  TempDir dir;
  const RandomFile content(dir / "f", kFileBytes);
  CHECK(true_in_child([&] {
    refuse_call(__NR_io_uring_setup, EPERM);
    auto engine = engine_of(ReaderKind::kDirect);
    const storage::File file = content.open(*engine);
    return reads_right(*engine, file, content.bytes(), some_ranges(1)) && engine->kind() == ReaderKind::kDirect;
  }));
}

TEST_CASE("O_DIRECT refused at read time becomes pread, for good") {
  TempDir dir;
  const RandomFile content(dir / "f", kFileBytes);
  CHECK(true_in_child([&] {
    refuse_call(__NR_io_uring_setup, EPERM);
    refuse_call(__NR_pread64, EINVAL, 4096);  // Third argument: the length. Direct reads are whole blocks, the ranges below are not.
    auto engine = engine_of(ReaderKind::kDirect);
    const storage::File file = content.open(*engine);
    const storage::File later = content.open(*engine);
    const std::vector<Range> ranges = {{0, 1}, {5000, 4097}, {600'000, 100'001}};
    if (engine->kind() != ReaderKind::kDirect || !engine->fallback_reason().empty()) return false;
    return reads_right(*engine, file, content.bytes(), ranges) && engine->kind() == ReaderKind::kPread && !engine->wants_direct_files() &&
           engine->fallback_reason().find("O_DIRECT reads") != std::string::npos && reads_right(*engine, later, content.bytes(), ranges) &&
           (::fcntl(later.descriptor(), F_GETFL) & O_DIRECT) == 0;
  }));
}

#endif

}  // namespace
}  // namespace headrace::io
