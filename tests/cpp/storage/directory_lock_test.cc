#include "headrace/storage/directory_lock.h"

#include <doctest/doctest.h>

#include <csignal>
#include <filesystem>
#include <utility>

#include "in_child.h"
#include "temp_dir.h"

namespace headrace::storage {
namespace {

DirectoryLock share(const std::string& path) {
  auto lock = DirectoryLock::share(path);
  REQUIRE(lock);
  return std::move(lock).value();
}

}  // namespace

TEST_CASE("many share a directory; one has it alone once the others are gone") {
  TempDir dir;
  DirectoryLock one = share(dir.path());
  {
    DirectoryLock two = share(dir.path());
    CHECK_FALSE(one.try_alone());
    CHECK_FALSE(share(dir.path()).try_alone());
  }
  CHECK(one.try_alone());
  DirectoryLock moved = std::move(one);
  CHECK_FALSE(one.try_alone());
  CHECK(moved.try_alone());
  moved = DirectoryLock();
  CHECK(share(dir.path()).try_alone());
}

TEST_CASE("a directory that is not there cannot be locked") {
  TempDir dir;
  CHECK(DirectoryLock::share(dir / "none").status().code() == Code::kNotFound);
  CHECK_FALSE(DirectoryLock().try_alone());
}

#if !defined(__SANITIZE_THREAD__)
TEST_CASE("the lock of a process that was killed ends with it") {
  TempDir dir;
  CHECK(in_child([&] {
          const DirectoryLock lock = share(dir.path());
          raise(SIGKILL);
          return 0;
        }) == 100 + SIGKILL);
  CHECK(share(dir.path()).try_alone());
}
#endif

}  // namespace headrace::storage
