// Guarded pages that cannot be read become zeros and a count; every other SIGBUS ends the process as it would have.
#include "headrace/storage/fault_guard.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "headrace/storage/kernel.h"
#include "headrace/storage/mapping.h"
#include "in_child.h"
#include "temp_dir.h"

namespace headrace::storage {
namespace {

const std::size_t kPage = page_bytes();

// A file of `pages` pages of ones, mapped.
class Mapped {
 public:
  Mapped(const std::string& path, std::size_t pages) : path_(path), bytes_(pages * kPage) {
    const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC, 0600);
    REQUIRE(fd >= 0);
    const std::vector<std::uint8_t> ones(bytes_, 1);
    REQUIRE(::write(fd, ones.data(), bytes_) == static_cast<ssize_t>(bytes_));
    void* begin = ::mmap(nullptr, bytes_, PROT_READ, MAP_SHARED, fd, 0);
    REQUIRE(begin != MAP_FAILED);
    begin_ = static_cast<volatile std::uint8_t*>(begin);
    ::close(fd);
  }
  ~Mapped() { ::munmap(const_cast<std::uint8_t*>(begin_), bytes_); }
  Mapped(const Mapped&) = delete;
  Mapped& operator=(const Mapped&) = delete;

  void cut(std::size_t pages) const { REQUIRE(::truncate(path_.c_str(), static_cast<off_t>(pages * kPage)) == 0); }
  const void* begin() const { return const_cast<const std::uint8_t*>(begin_); }
  std::size_t bytes() const { return bytes_; }
  std::uint8_t at(std::size_t page) const { return begin_[page * kPage + 7]; }

 private:
  std::string path_;
  std::size_t bytes_;
  volatile std::uint8_t* begin_;
};

}  // namespace

TEST_CASE("pages of a cut file become zeros, are counted, and the rest stays") {
  TempDir dir;
  const Mapped file(dir / "f", 8);
  const FaultGuard guard(file.begin(), file.bytes());
  for (std::size_t page = 0; page < 8; ++page) CHECK(file.at(page) == 1);
  CHECK(guard.faults() == 0);
  file.cut(5);
  CHECK(file.at(4) == 1);
  CHECK(guard.faults() == 0);
  CHECK(file.at(6) == 0);
  CHECK(guard.faults() == 1);
  CHECK(file.at(6) == 0);  // Once zeros, no fault any more.
  CHECK(guard.faults() == 1);
  CHECK(file.at(5) == 0);
  CHECK(file.at(7) == 0);
  CHECK(guard.faults() == 3);
}

TEST_CASE("a mapping counts the pages that were taken from under it") {
  TempDir dir;
  const Mapped content(dir / "f", 6);
  auto opened = File::open(dir / "f");
  REQUIRE(opened.is_ok());
  auto made = Mapping::map(*opened);
  REQUIRE(made.is_ok());
  const Mapping mapping = std::move(*made);
  REQUIRE(mapping.populate(0, mapping.size()).is_ok());
  CHECK(mapping.faults() == 0);
  content.cut(2);
  CHECK(*static_cast<const volatile std::uint8_t*>(mapping.data() + 3 * kPage) == 0);
  CHECK(mapping.faults() == 1);
}

// To ThreadSanitizer, putting a page of zeros in place is a write that races with whoever reads there: that is what a guard is for.
#if !defined(__SANITIZE_THREAD__)
TEST_CASE("eight threads may meet the same lost pages") {
  TempDir dir;
  const Mapped file(dir / "f", 64);
  const FaultGuard guard(file.begin(), file.bytes());
  file.cut(0);
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0};
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&] {
      for (std::size_t page = 0; page < 64; ++page) wrong.fetch_add(file.at(page) != 0);
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong.load() == 0);
  CHECK(guard.faults() >= 64);
}
#endif

TEST_CASE("a guard ends with its owner, and its place serves the next") {
  TempDir dir;
  for (int round = 0; round < 100; ++round) {
    const Mapped file(dir / "f", 2);
    FaultGuard first(file.begin(), file.bytes());
    FaultGuard guard = std::move(first);
    CHECK(first.faults() == 0);
    CHECK(guard.faults() == 0);
    file.cut(1);
    CHECK(file.at(1) == 0);
    CHECK(guard.faults() == 1);
  }
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // Their handlers make another end of it.

TEST_CASE("after its guard has ended, a lost page ends the process again") {
  TempDir dir;
  const Mapped file(dir / "f", 2);
  CHECK(in_child([&] {
          {
            const FaultGuard guard(file.begin(), file.bytes());
          }
          file.cut(0);
          return int{file.at(1)};
        }) == 100 + SIGBUS);
}

TEST_CASE("a bus error elsewhere, or sent, ends the process as without a guard") {
  TempDir dir;
  const Mapped guarded(dir / "a", 2);
  const Mapped other(dir / "b", 2);
  const FaultGuard guard(guarded.begin(), guarded.bytes());
  CHECK(in_child([&] {
          other.cut(0);
          return int{other.at(1)};
        }) == 100 + SIGBUS);
  CHECK(in_child([] { return ::raise(SIGBUS); }) == 100 + SIGBUS);
  CHECK(in_child([] { return ::kill(::getpid(), SIGBUS); }) == 100 + SIGBUS);
}

#endif

}  // namespace headrace::storage
