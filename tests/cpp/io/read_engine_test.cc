// One battery for every read engine. Fallbacks and forks: read_fallback_test.cc.
#include "headrace/io/read_engine.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/time.h>

#include <atomic>
#include <cerrno>
#include <filesystem>
#include <thread>

#include "headrace/io/transfer.h"
#include "headrace/io/uring.h"
#include "io/read_fixture.h"
#include "temp_dir.h"

namespace headrace::io {
namespace {

// More than two bounce buffers, with a tail that no alignment divides.
constexpr std::size_t kFileBytes = 9 * 1024 * 1024 + 777;

const RandomFile& big_file() {
  static const TempDir dir;
  static const RandomFile file(dir / "big", kFileBytes);
  return file;
}

// Runs `body` once an engine, with a file opened as it wants; then once more with the file's pages dropped.
void for_each_engine(const RandomFile& content, const std::function<void(ReadEngine&, const storage::File&)>& body) {
  for (const ReaderKind kind : kEngines) {
    auto engine = engine_of(kind);
    const storage::File file = content.open(*engine);
    for (const bool cold : {false, true}) {
      CAPTURE(reader_name(kind));
      CAPTURE(cold);
      if (cold) file.drop_cache();
      body(*engine, file);
    }
  }
}

TEST_CASE("kinds have names and names have kinds") {
  for (const ReaderKind kind : {ReaderKind::kMmap, ReaderKind::kPread, ReaderKind::kDirect, ReaderKind::kUring}) {
    CHECK(*reader_from_name(reader_name(kind)) == kind);
  }
  CHECK(*reader_from_name("auto") == ReaderKind::kMmap);
  CHECK(reader_from_name("fast").status().code() == Code::kInvalidArgument);
  CHECK(reader_from_name("fast").status().message() == "reader is 'fast'; expected 'auto', 'mmap', 'pread', 'direct' or 'uring'");
  CHECK(make_read_engine(ReaderKind::kMmap).status().code() == Code::kInvalidArgument);
}

TEST_CASE("each engine serves its own kind where the system allows it") {
  CHECK(engine_of(ReaderKind::kPread)->kind() == ReaderKind::kPread);
  CHECK(engine_of(ReaderKind::kDirect)->kind() == ReaderKind::kDirect);
  CHECK(engine_of(ReaderKind::kDirect)->wants_direct_files());
  CHECK_FALSE(engine_of(ReaderKind::kPread)->wants_direct_files());
  CHECK_FALSE(engine_of(ReaderKind::kUring)->wants_direct_files());
}

TEST_CASE("random ranges hold the file's bytes") {
  for_each_engine(big_file(), [](ReadEngine& engine, const storage::File& file) {
    CHECK(reads_right(engine, file, big_file().bytes(), random_ranges(1000, kFileBytes, 300, 1)));
    CHECK(reads_right(engine, file, big_file().bytes(), random_ranges(200, kFileBytes, 20'000, 2)));
    CHECK(reads_right(engine, file, big_file().bytes(), random_ranges(9, kFileBytes, 6'000'000, 3)));  // Longer than a bounce buffer.
    for (unsigned seed = 10; seed < 60; ++seed)
      CHECK(reads_right(engine, file, big_file().bytes(), random_ranges(1, kFileBytes, 70'000, seed)));
  });
}

TEST_CASE("ranges on and beside every border hold the file's bytes") {
  for_each_engine(big_file(), [](ReadEngine& engine, const storage::File& file) {
    std::vector<Range> ranges;
    for (const std::uint64_t border : {4096ull, 262144ull, 4194304ull, 8388608ull}) {
      for (const std::uint64_t from : {border - 1, border, border + 1}) {
        for (const std::size_t length : {1u, 4095u, 4096u, 4097u, 262144u, 262145u}) ranges.push_back({from, length});
      }
    }
    for (const Range& range : ranges) CHECK(reads_right(engine, file, big_file().bytes(), {range}));
    CHECK(reads_right(engine, file, big_file().bytes(), ranges));
    CHECK(reads_right(engine, file, big_file().bytes(), {{0, kFileBytes}}));
    CHECK(reads_right(engine, file, big_file().bytes(), {{0, kFileBytes}, {1, kFileBytes - 1}, {5'000'000, 4'000'000}, {0, kFileBytes}}));
  });
}

TEST_CASE("neighbours, gaps, overlaps and repeats hold the file's bytes") {
  for_each_engine(big_file(), [](ReadEngine& engine, const storage::File& file) {
    std::vector<Range> crowded;  // Several requests a byte, in no order: overlaps inside overlaps.
    for (const Range& range : random_ranges(1000, 200'000, 3'000, 4)) crowded.push_back(range);
    CHECK(reads_right(engine, file, big_file().bytes(), crowded));
    for (const std::size_t gap : {0u, 1u, 4094u, 4095u, 4096u, 4097u}) {
      std::vector<Range> spaced;
      for (std::size_t i = 0; i < 600; ++i) spaced.push_back({i * (100 + gap), 100});
      CHECK(reads_right(engine, file, big_file().bytes(), spaced));
    }
    CHECK(reads_right(engine, file, big_file().bytes(), std::vector<Range>(300, Range{12'345, 6'789})));
  });
}

TEST_CASE("a range of no bytes is read anywhere") {
  for_each_engine(big_file(), [](ReadEngine& engine, const storage::File& file) {
    CHECK(reads_right(engine, file, big_file().bytes(), {{0, 0}, {17, 0}, {kFileBytes, 0}, {kFileBytes + 100, 0}, {5, 10}}));
    engine.read({});
  });
}

TEST_CASE("ranges that end with the file are read") {
  for_each_engine(big_file(), [](ReadEngine& engine, const storage::File& file) {
    for (const std::size_t length : {1u, 776u, 777u, 778u, 4096u, 300'000u}) {
      CHECK(reads_right(engine, file, big_file().bytes(), {{kFileBytes - length, length}}));
    }
  });
}

TEST_CASE("a range that leaves the file is truncated, and its neighbours are read") {
  for_each_engine(big_file(), [](ReadEngine& engine, const storage::File& file) {
    std::vector<std::uint8_t> before(1000), across(1000), beyond(500'000), far(10);
    std::vector<ReadRequest> requests = {{&file, kFileBytes - 1500, before, {}},
                                         {&file, kFileBytes - 300, across, {}},
                                         {&file, kFileBytes + 5000, beyond, {}},
                                         {&file, ~0ull - 5, far, {}},
                                         {&file, 0x7ffffffffffffff0ull, far, {}}};
    engine.read(requests);
    CHECK(requests[0].status.is_ok());
    CHECK(std::equal(before.begin(), before.end(), big_file().bytes().end() - 1500));
    for (std::size_t i = 1; i < requests.size(); ++i) CHECK(requests[i].status.code() == Code::kTruncated);
    CHECK(
        requests[1].status.message() ==
        strf(
            "read %s: offset 9437661, expected 1000 bytes, found 300 (the file has 9437961 bytes): it is cut short or still being written; "
            "copy it again",
            file.path().c_str()));
    CHECK(requests[2].status.message().find("offset 9442961, expected 500000 bytes, found 0 ") != std::string::npos);
    CHECK(requests[3].status.message().find("offset 18446744073709551610, expected 10 bytes, found 0 ") != std::string::npos);
    CHECK(engine.kind() != ReaderKind::kMmap);
  });
  CHECK(engine_of(ReaderKind::kDirect)->kind() == ReaderKind::kDirect);
}

TEST_CASE("a bad range does not cost an engine its kind") {
  for (const ReaderKind kind : kEngines) {
    auto engine = engine_of(kind);
    const ReaderKind at_first = engine->kind();
    const storage::File file = big_file().open(*engine);
    std::uint8_t byte = 0;
    for (const unsigned long long offset :
         {0ull + kFileBytes, 0x7fffffffffffffffull, 0x7ffffffffffff000ull, 0x7fffffffffffeffeull, ~0ull}) {
      ReadRequest request{&file, offset, {&byte, 1}, {}};
      engine->read({&request, 1});
      CHECK(request.status.code() == Code::kTruncated);
    }
    CHECK(engine->kind() == at_first);
  }
}

TEST_CASE("an empty file has no bytes") {
  TempDir dir;
  const RandomFile empty(dir / "empty", 0);
  for_each_engine(empty, [&](ReadEngine& engine, const storage::File& file) {
    std::uint8_t byte = 0;
    ReadRequest request{&file, 0, {&byte, 1}, {}};
    engine.read({&request, 1});
    CHECK(request.status.code() == Code::kTruncated);
    CHECK(reads_right(engine, file, empty.bytes(), {{0, 0}}));
  });
}

TEST_CASE("a file that shrinks after it was opened is truncated") {
  TempDir dir;
  for (const ReaderKind kind : kEngines) {
    const RandomFile content(dir / "shrinking", 1'000'000);
    auto engine = engine_of(kind);
    const storage::File file = content.open(*engine);
    REQUIRE(::truncate(content.path().c_str(), 500'100) == 0);
    std::vector<std::uint8_t> out(10'000);
    ReadRequest request{&file, 500'000, out, {}};
    engine->read({&request, 1});
    CHECK(request.status.code() == Code::kTruncated);
    CHECK(request.status.message().find("expected 10000 bytes, found 100 (the file has 500100 bytes)") != std::string::npos);
  }
}

TEST_CASE("requests without a file fail alone") {
  const storage::File closed;
  for_each_engine(big_file(), [&](ReadEngine& engine, const storage::File& file) {
    std::vector<std::uint8_t> out(3 * 100);
    std::vector<ReadRequest> requests = {
        {nullptr, 0, {&out[0], 100}, {}}, {&closed, 0, {&out[100], 100}, {}}, {&file, 4321, {&out[200], 100}, {}}};
    engine.read(requests);
    CHECK(requests[0].status.code() == Code::kInvalidArgument);
    CHECK(requests[1].status.code() == Code::kClosed);
    CHECK(requests[2].status.is_ok());
    CHECK(std::equal(&out[200], &out[200] + 100, big_file().bytes().begin() + 4321));
  });
}

TEST_CASE("one call reads several files") {
  TempDir dir;
  const RandomFile other(dir / "other", 70'001, 9);
  for (const ReaderKind kind : kEngines) {
    auto engine = engine_of(kind);
    const storage::File a = big_file().open(*engine), b = other.open(*engine);
    std::vector<std::uint8_t> out(400 * 50);
    std::vector<ReadRequest> requests;
    for (std::uint64_t i = 0; i < 400; ++i) requests.push_back({i % 2 == 0 ? &a : &b, i * 175, {&out[i * 50], 50}, {}});
    engine->read(requests);
    for (std::uint64_t i = 0; i < 400; ++i) {
      const auto& bytes = i % 2 == 0 ? big_file().bytes() : other.bytes();
      REQUIRE(requests[i].status.is_ok());
      CHECK(std::equal(requests[i].out.begin(), requests[i].out.end(), bytes.begin() + static_cast<std::ptrdiff_t>(i * 175)));
    }
  }
}

TEST_CASE("eight threads read through one engine") {
  for_each_engine(big_file(), [](ReadEngine& engine, const storage::File& file) {
    std::atomic<int> right{0};
    std::vector<std::thread> threads;
    for (unsigned t = 0; t < 8; ++t) {
      threads.emplace_back([&, t] {
        for (unsigned round = 0; round < 5; ++round)
          right += reads_right(engine, file, big_file().bytes(), random_ranges(100, kFileBytes, 9'000, t * 100 + round));
      });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(right == 40);
  });
}

TEST_CASE("a file on tmpfs is read, whether O_DIRECT is refused there or not") {
  if (!std::filesystem::is_directory("/dev/shm")) return;
  std::string name = "/dev/shm/headrace-XXXXXX";
  const int fd = ::mkstemp(name.data());
  REQUIRE(fd >= 0);
  ::close(fd);
  {
    const RandomFile content(name, 1'000'003);
    for_each_engine(content, [&](ReadEngine& engine, const storage::File& file) {
      CHECK(reads_right(engine, file, content.bytes(), random_ranges(1000, 1'000'003, 5'000, 5)));
      CHECK(reads_right(engine, file, content.bytes(), {{1'000'002, 1}, {0, 1'000'003}}));
    });
  }
  ::unlink(name.c_str());
}

TEST_CASE("an error of the kernel keeps its errno and names the range") {
  auto opened = storage::File::open("/proc/self/mem");  // A regular file in which address 0 cannot be read.
  REQUIRE(opened.is_ok());
  for (const ReaderKind kind : {ReaderKind::kPread, ReaderKind::kUring}) {
    auto engine = engine_of(kind);
    std::vector<std::uint8_t> out(100);
    ReadRequest request{&*opened, 7, out, {}};
    engine->read({&request, 1});
    CHECK(request.status.code() == Code::kIoError);
    CHECK(request.status.sys_errno() == EIO);
    CHECK(request.status.message() == "read /proc/self/mem: offset 7, expected 100 bytes, failed after 0: Input/output error");
  }
}

TEST_CASE("a read that stops short goes on where it stopped") {
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  void* memory = ::mmap(nullptr, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  REQUIRE(memory != MAP_FAILED);
  auto* begin = static_cast<std::uint8_t*>(memory);
  REQUIRE(::mprotect(begin + page, page, PROT_NONE) == 0);
  for (const ReaderKind kind : {ReaderKind::kPread, ReaderKind::kUring}) {
    auto engine = engine_of(kind);
    const storage::File file = big_file().open(*engine);
    ReadRequest request{&file, 1000, {begin, 2 * page}, {}};  // The kernel fills the first page, then cannot write.
    engine->read({&request, 1});
    CHECK(request.status.sys_errno() == EFAULT);
    CHECK(request.status.message().find("failed after " + std::to_string(page)) != std::string::npos);
    CHECK(std::equal(begin, begin + page, big_file().bytes().begin() + 1000));
  }
  ::munmap(memory, 2 * page);
}

std::atomic<int> g_answers{0};

std::int64_t hostile(std::uint64_t, std::size_t, std::int64_t answer) {
  const int call = g_answers.fetch_add(1);
  if (call % 5 == 0) return -EINTR;
  if (call % 7 == 0) return -EAGAIN;
  return answer > 8192 && call % 3 == 0 ? 4096 : answer;
}

std::int64_t fails_first(std::uint64_t, std::size_t, std::int64_t answer) { return g_answers.fetch_add(1) == 0 ? -EIO : answer; }

std::int64_t fails(std::uint64_t, std::size_t, std::int64_t) { return -EIO; }

struct WithFault {
  explicit WithFault(ReadFault fault) {
    g_answers.store(0);
    set_read_fault(fault);
  }
  ~WithFault() { set_read_fault(nullptr); }
};

TEST_CASE("interrupted, busy and short answers of a ring change no byte") {
  if (ring_refusal() != 0) return;
  for (const ReaderKind kind : {ReaderKind::kDirect, ReaderKind::kUring}) {
    auto engine = engine_of(kind);
    const storage::File file = big_file().open(*engine);
    const WithFault fault(hostile);
    for (unsigned round = 0; round < 10; ++round) {
      CHECK(reads_right(*engine, file, big_file().bytes(), random_ranges(20, kFileBytes, 300'000, round)));
    }
    CHECK(g_answers.load() > 200);
  }
}

TEST_CASE("a read that the device fails once is tried again, and says so") {
  for (const ReaderKind kind : {ReaderKind::kDirect, ReaderKind::kUring}) {
    auto engine = engine_of(kind);
    if (engine->kind() == ReaderKind::kPread) continue;
    const storage::File file = big_file().open(*engine);
    std::vector<std::uint8_t> out(5000);
    ReadRequest request{&file, 1000, out, {}};
    {
      const WithFault fault(fails_first);
      engine->read({&request, 1});
    }
    CHECK(request.status.is_ok());
    CHECK(request.retried);
    CHECK(std::equal(out.begin(), out.end(), big_file().bytes().begin() + 1000));
    {
      const WithFault fault(fails);
      engine->read({&request, 1});
    }
    CHECK(request.status.sys_errno() == EIO);
    CHECK(request.retried);
    engine->read({&request, 1});
    CHECK(request.status.is_ok());
    CHECK_FALSE(request.retried);
  }
}

TEST_CASE("signals do not disturb reads") {
  static volatile sig_atomic_t alarms = 0;
  struct sigaction action = {}, before = {};
  action.sa_handler = [](int) { alarms = alarms + 1; };  // No SA_RESTART: waiting calls answer EINTR.
  REQUIRE(::sigaction(SIGALRM, &action, &before) == 0);
  const itimerval often{{0, 300}, {0, 300}}, never{};
  for (const ReaderKind kind : kEngines) {
    auto engine = engine_of(kind);
    const storage::File file = big_file().open(*engine);
    REQUIRE(::setitimer(ITIMER_REAL, &often, nullptr) == 0);
    alarms = 0;
    for (unsigned round = 0; alarms < 30; ++round) {
      file.drop_cache();
      CHECK(reads_right(*engine, file, big_file().bytes(), random_ranges(50, kFileBytes, 50'000, round)));
    }
    REQUIRE(::setitimer(ITIMER_REAL, &never, nullptr) == 0);
  }
  ::sigaction(SIGALRM, &before, nullptr);
}

}  // namespace
}  // namespace headrace::io
