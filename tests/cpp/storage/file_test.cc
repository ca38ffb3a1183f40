#include "headrace/storage/file.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <limits>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "headrace/storage/kernel.h"
#include "temp_dir.h"

namespace headrace::storage {
namespace {

std::vector<std::uint8_t> counting(std::size_t bytes) {
  std::vector<std::uint8_t> out(bytes);
  for (std::size_t i = 0; i < bytes; ++i) out[i] = static_cast<std::uint8_t>(i * 7 + i / 256);
  return out;
}

std::string write_file(const TempDir& dir, const std::string& name, const std::vector<std::uint8_t>& bytes) {
  std::ofstream(dir / name, std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  return dir / name;
}

bool contains(const Status& status, const std::string& text) { return status.message().find(text) != std::string::npos; }

TEST_CASE("any range reads as it was written") {
  TempDir dir;
  const auto bytes = counting(10000);
  const auto file = File::open(write_file(dir, "a", bytes));
  REQUIRE(file);
  for (const auto& [offset, length] :
       {std::pair<std::size_t, std::size_t>{0, 10000}, {1, 9999}, {9999, 1}, {4096, 0}, {10000, 0}, {123, 4567}}) {
    std::vector<std::uint8_t> out(length);
    REQUIRE(file->read_exact(offset, out).is_ok());
    CHECK(std::equal(out.begin(), out.end(), bytes.begin() + static_cast<std::ptrdiff_t>(offset)));
  }
}

TEST_CASE("a read past the end is truncated, and says where and how much") {
  TempDir dir;
  const std::string path = write_file(dir, "short", counting(100));
  const auto file = File::open(path);
  REQUIRE(file);
  std::vector<std::uint8_t> out(64);
  for (const std::uint64_t offset :
       {std::uint64_t{37}, std::uint64_t{100}, std::uint64_t{1} << 40, std::numeric_limits<std::uint64_t>::max() - 8}) {
    const Status status = file->read_exact(offset, out);
    CHECK(status.code() == Code::kTruncated);
    CHECK(contains(status, path));
    CHECK(contains(status, "offset " + std::to_string(offset)));
    CHECK(contains(status, "expected 64 bytes"));
    CHECK(contains(status, "the file has 100 bytes"));
  }
  CHECK(contains(file->read_exact(37, out), "found 63"));
}

TEST_CASE("what cannot be opened says why") {
  TempDir dir;
  const Status missing = File::open(dir / "missing").status();
  CHECK(missing.code() == Code::kNotFound);
  CHECK(missing.sys_errno() == ENOENT);
  CHECK(contains(missing, dir / "missing"));

  const Status directory = File::open(dir.path()).status();
  CHECK(directory.code() == Code::kInvalidArgument);
  CHECK(contains(directory, "a directory"));

  REQUIRE(mkfifo((dir / "fifo").c_str(), 0600) == 0);
  CHECK(File::open(dir / "fifo").status().code() == Code::kInvalidArgument);  // And does not wait for a writer.
}

TEST_CASE("without a free descriptor the remedy is named") {
  TempDir dir;
  const std::string path = write_file(dir, "a", counting(1));
  rlimit before = {};
  REQUIRE(getrlimit(RLIMIT_NOFILE, &before) == 0);
  rlimit none = before;
  none.rlim_cur = 3;
  REQUIRE(setrlimit(RLIMIT_NOFILE, &none) == 0);
  const Status status = File::open(path).status();
  REQUIRE(setrlimit(RLIMIT_NOFILE, &before) == 0);
  CHECK(status.code() == Code::kIoError);
  CHECK(status.sys_errno() == EMFILE);
  CHECK(contains(status, "ulimit -n"));
}

TEST_CASE("descriptors close with their owner, once, and on exec") {
  TempDir dir;
  const std::string path = write_file(dir, "a", counting(10));
  int first = -1;
  {
    auto opened = File::open(path);
    REQUIRE(opened);
    File file = std::move(opened).value();
    first = file.descriptor();
    CHECK((fcntl(first, F_GETFD) & FD_CLOEXEC) != 0);
    CHECK((fcntl(first, F_GETFL) & O_NONBLOCK) == 0);
    File moved(std::move(file));
    CHECK(moved.descriptor() == first);
    CHECK(moved.path() == path);
    std::uint8_t byte = 0;
    CHECK(file.read_exact(0, {&byte, 1}).code() == Code::kClosed);  // NOLINT: what is left of a moved file answers, too
    CHECK(moved.read_exact(0, {&byte, 1}).is_ok());
  }
  CHECK(fcntl(first, F_GETFD) == -1);
}

TEST_CASE("identity tells versions of a file apart") {
  TempDir dir;
  const std::string path = write_file(dir, "a", counting(10));
  const auto file = File::open(path);
  const auto again = File::open(path);
  REQUIRE(file);
  REQUIRE(again);
  const FileIdentity before = file->identity().value();
  CHECK(before.size == 10);
  CHECK(before == again->identity().value());
  write_file(dir, "b", counting(10));
  CHECK_FALSE(before == File::open(dir / "b")->identity().value());
  REQUIRE(truncate(path.c_str(), 5) == 0);
  CHECK(file->identity()->size == 5);
  CHECK_FALSE(before == file->identity().value());
}

TEST_CASE("a file that is cut while open is truncated, not garbage") {
  TempDir dir;
  const std::string path = write_file(dir, "a", counting(10000));
  const auto file = File::open(path);
  REQUIRE(file);
  REQUIRE(truncate(path.c_str(), 5000) == 0);
  std::vector<std::uint8_t> out(6000);
  const Status status = file->read_exact(0, out);
  CHECK(status.code() == Code::kTruncated);
  CHECK(contains(status, "found 5000"));
}

TEST_CASE("direct reads answer the same bytes where the file system has them, kUnsupported where not") {
  TempDir dir;
  const auto bytes = counting(3 * 4096 + 100);
  const std::string path = write_file(dir, "a", bytes);
  const auto file = File::open(path, true);
  if (!file) {
    CHECK(file.status().code() == Code::kUnsupported);
    return;
  }
  CHECK(direct_open_flag() != 0);
  CHECK((fcntl(file->descriptor(), F_GETFL) & direct_open_flag()) != 0);
  alignas(4096) static std::uint8_t out[4 * 4096];
  REQUIRE(file->read_exact(4096, {out, 8192}).is_ok());
  CHECK(std::equal(out, out + 8192, bytes.begin() + 4096));
  CHECK(file->read_exact(0, {out, sizeof out}).code() == Code::kTruncated);
}

TEST_CASE("a dropped file still reads") {
  TempDir dir;
  const auto bytes = counting(100000);
  const auto file = File::open(write_file(dir, "a", bytes));
  REQUIRE(file);
  file->drop_cache();
  std::vector<std::uint8_t> out(bytes.size());
  REQUIRE(file->read_exact(0, out).is_ok());
  CHECK(out == bytes);
}

TEST_CASE("threads read one file at the same time") {
  TempDir dir;
  const auto bytes = counting(1 << 20);
  const auto file = File::open(write_file(dir, "a", bytes));
  REQUIRE(file);
  std::vector<int> wrong(8, 0);
  {
    std::vector<std::jthread> threads;
    for (std::size_t t = 0; t < wrong.size(); ++t) {
      threads.emplace_back([&, t] {
        std::vector<std::uint8_t> out(1000);
        for (std::size_t i = 0; i < 500; ++i) {
          const std::size_t offset = (i * 7919 + t * 104729) % (bytes.size() - out.size());
          if (!file->read_exact(offset, out).is_ok()) ++wrong[t];
          if (!std::equal(out.begin(), out.end(), bytes.begin() + static_cast<std::ptrdiff_t>(offset))) ++wrong[t];
        }
      });
    }
  }
  CHECK(std::accumulate(wrong.begin(), wrong.end(), 0) == 0);
}

}  // namespace
}  // namespace headrace::storage
