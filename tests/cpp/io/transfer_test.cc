#include "headrace/io/transfer.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "temp_dir.h"

namespace headrace::io {
namespace {

Transfer transfer(std::size_t length, std::size_t align) { return {-1, 0, nullptr, length, align}; }

TEST_CASE("short answers are summed until the transfer is full") {
  Transfer t = transfer(100, 1);
  t.book(1);
  t.book(98);
  CHECK(t.done == 99);
  CHECK_FALSE(t.settled);
  t.book(1);
  CHECK(t.settled);
  CHECK(t.done == 100);
  CHECK(t.error == 0);
}

TEST_CASE("the end of the file settles with what is there") {
  Transfer t = transfer(100, 1);
  t.book(40);
  t.book(0);
  CHECK(t.settled);
  CHECK(t.done == 40);
  CHECK(t.error == 0);
}

TEST_CASE("the second EIO settles and keeps what is there") {
  Transfer t = transfer(100, 1);
  t.book(40);
  t.book(-EIO);
  CHECK_FALSE(t.settled);
  CHECK(t.retried);
  t.book(20);
  CHECK(t.done == 60);
  t.book(-EIO);
  CHECK(t.done == 60);
  CHECK(t.settled);
}

TEST_CASE("another error settles at once") {
  Transfer t = transfer(100, 1);
  t.book(40);
  t.book(-EBADF);
  CHECK(t.settled);
  CHECK(t.done == 40);
  CHECK(t.error == EBADF);
}

TEST_CASE("an aligned transfer goes on from a boundary") {
  Transfer t = transfer(3 * 4096, 4096);
  t.book(4096 + 512);
  CHECK_FALSE(t.settled);
  CHECK(t.done == 4096);
  t.book(2 * 4096);
  CHECK(t.settled);
  CHECK(t.done == 3 * 4096);
}

TEST_CASE("an aligned transfer that stops before the next boundary met the end of the file") {
  Transfer t = transfer(3 * 4096, 4096);
  t.book(4096 + 700);
  CHECK(t.done == 4096);
  t.book(700);
  CHECK(t.settled);
  CHECK(t.done == 4096 + 700);
  CHECK(t.error == 0);
}

TEST_CASE("an aligned transfer that stops where the file does not end goes on there") {
  TempDir dir;
  const int fd = ::open((dir / "f").c_str(), O_RDWR | O_CREAT, 0600);
  REQUIRE(fd >= 0);
  REQUIRE(::ftruncate(fd, 4096 + 700) == 0);
  Transfer t = transfer(2 * 4096, 4096);
  t.descriptor = fd;
  for (std::size_t byte = 1; byte <= 4096 + 699; ++byte) {
    t.book(1);
    REQUIRE_FALSE(t.settled);
    REQUIRE(t.done == byte);
  }
  t.book(1);
  CHECK(t.settled);
  CHECK(t.done == 4096 + 700);
  CHECK(t.error == 0);
  ::close(fd);
}

TEST_CASE("an aligned transfer that stops on a boundary asks once more") {
  Transfer t = transfer(3 * 4096, 4096);
  t.book(4096);
  CHECK_FALSE(t.settled);
  t.book(0);
  CHECK(t.settled);
  CHECK(t.done == 4096);
}

}  // namespace
}  // namespace headrace::io
