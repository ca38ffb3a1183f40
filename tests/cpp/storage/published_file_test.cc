#include "headrace/storage/published_file.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

#include "in_child.h"
#include "temp_dir.h"

namespace headrace::storage {
namespace {

Bytes bytes_of(const std::string& text) { return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()}; }

std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::vector<std::string> names_in(const TempDir& dir) {
  std::vector<std::string> out;
  for (const auto& entry : std::filesystem::directory_iterator(dir.path())) out.push_back(entry.path().filename().string());
  std::sort(out.begin(), out.end());
  return out;
}

using Names = std::vector<std::string>;

PublishedFile create(const std::string& path) {
  auto file = PublishedFile::create(path);
  REQUIRE(file);
  return std::move(file).value();
}

bool contains(const Status& status, const std::string& text) { return status.message().find(text) != std::string::npos; }

TEST_CASE("a file appears under its name whole, and not before it is published") {
  TempDir dir;
  PublishedFile file = create(dir / "a.hrs");
  REQUIRE(file.append(bytes_of("hello ")).is_ok());
  REQUIRE(file.append({}).is_ok());
  REQUIRE(file.append(bytes_of("world")).is_ok());
  CHECK(file.size() == 11);
  const Names before = names_in(dir);
  REQUIRE(before.size() == 1);
  CHECK(before[0].starts_with(".a.hrs."));
  CHECK(before[0].ends_with(".tmp"));
  REQUIRE(file.publish().is_ok());
  CHECK(names_in(dir) == Names{"a.hrs"});
  CHECK(read_file(dir / "a.hrs") == "hello world");
}

TEST_CASE("an existing name is never replaced") {
  TempDir dir;
  PublishedFile first = create(dir / "a");
  PublishedFile second = create(dir / "a");
  REQUIRE(first.append(bytes_of("first")).is_ok());
  REQUIRE(second.append(bytes_of("second")).is_ok());
  REQUIRE(first.publish().is_ok());
  const Status status = second.publish();
  CHECK(status.code() == Code::kAlreadyExists);
  CHECK(contains(status, dir / "a"));
  CHECK(names_in(dir) == Names{"a"});
  CHECK(read_file(dir / "a") == "first");
}

TEST_CASE("a published, discarded or failed file takes nothing more") {
  TempDir dir;
  PublishedFile file = create(dir / "a");
  REQUIRE(file.publish().is_ok());
  CHECK(file.append(bytes_of("x")).code() == Code::kClosed);
  CHECK(file.publish().code() == Code::kClosed);
  CHECK(read_file(dir / "a").empty());
  PublishedFile dropped = create(dir / "b");
  dropped.discard();
  CHECK(dropped.append(bytes_of("x")).code() == Code::kClosed);
  CHECK(dropped.publish().code() == Code::kClosed);
  CHECK(PublishedFile().publish().code() == Code::kClosed);
  CHECK(names_in(dir) == Names{"a"});
}

TEST_CASE("an unpublished file leaves nothing behind, also when it was moved") {
  TempDir dir;
  {
    PublishedFile file = create(dir / "a");
    REQUIRE(file.append(bytes_of("x")).is_ok());
    PublishedFile moved(std::move(file));
    PublishedFile other = create(dir / "b");
    other = std::move(moved);
    CHECK(other.path() == dir / "a");
    CHECK(names_in(dir).size() == 2);
  }
  CHECK(names_in(dir).empty());
}

TEST_CASE("a file that cannot be created says so") {
  TempDir dir;
  CHECK(PublishedFile::create("").status().code() == Code::kInvalidArgument);
  CHECK(PublishedFile::create(dir.path() + "/").status().code() == Code::kInvalidArgument);
  const Status status = PublishedFile::create(dir / "no/such/a").status();
  CHECK(status.code() == Code::kNotFound);
  CHECK(contains(status, dir / "no/such/a"));
}

TEST_CASE("a name without a directory is published in the current one") {
  TempDir dir;
  const auto before = std::filesystem::current_path();
  std::filesystem::current_path(dir.path());
  PublishedFile file = create("plain");
  const Status status = file.publish();
  std::filesystem::current_path(before);
  CHECK(status.is_ok());
  CHECK(names_in(dir) == Names{"plain"});
}

TEST_CASE("a failed write removes the temporary file") {
  TempDir dir;
  PublishedFile file = create(dir / "a");
  rlimit before = {};
  REQUIRE(getrlimit(RLIMIT_FSIZE, &before) == 0);
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit small = before;
  small.rlim_cur = 1000;
  REQUIRE(setrlimit(RLIMIT_FSIZE, &small) == 0);
  const std::string text(1500, 'x');
  const Status status = file.append(bytes_of(text));
  REQUIRE(setrlimit(RLIMIT_FSIZE, &before) == 0);
  std::signal(SIGXFSZ, old_handler);
  CHECK(status.code() == Code::kIoError);
  CHECK(status.sys_errno() == EFBIG);
  CHECK(contains(status, "offset 1000"));
  CHECK(names_in(dir).empty());
  CHECK(file.publish().code() == Code::kClosed);
}

TEST_CASE("a failed rename removes the temporary file") {
  TempDir dir;
  PublishedFile file = create(dir / "a");
  REQUIRE(file.append(bytes_of("x")).is_ok());
  const Names names = names_in(dir);
  REQUIRE(names.size() == 1);
  REQUIRE(unlink((dir / names[0]).c_str()) == 0);  // Somebody's clean-up was too eager.
  const Status status = file.publish();
  CHECK(status.code() == Code::kIoError);
  CHECK(status.sys_errno() == ENOENT);
  CHECK(names_in(dir).empty());
}

TEST_CASE("move_by_link moves, refuses to replace, and keeps the loser") {
  TempDir dir;
  std::ofstream(dir / "from") << "new";
  REQUIRE(move_by_link(dir / "from", dir / "to").is_ok());
  CHECK(names_in(dir) == Names{"to"});
  CHECK(read_file(dir / "to") == "new");
  std::ofstream(dir / "late") << "late";
  CHECK(move_by_link(dir / "late", dir / "to").code() == Code::kAlreadyExists);
  CHECK(names_in(dir) == Names{"late", "to"});
  CHECK(read_file(dir / "to") == "new");
  CHECK(move_by_link(dir / "missing", dir / "other").code() == Code::kIoError);
}

TEST_CASE("move_by_link takes its own repeated link for a success") {
  TempDir dir;
  std::ofstream(dir / "from") << "new";
  REQUIRE(link((dir / "from").c_str(), (dir / "to").c_str()) == 0);
  CHECK(move_by_link(dir / "from", dir / "to").is_ok());
  CHECK(names_in(dir) == Names{"to"});
}

TEST_CASE("sync_directory names a directory that is missing") {
  TempDir dir;
  CHECK(sync_directory(dir.path()).is_ok());
  CHECK(sync_directory(dir / "missing").code() == Code::kNotFound);
}

TEST_CASE("of many writers of one name exactly one wins") {
  TempDir dir;
  for (int round = 0; round < 20; ++round) {
    const std::string name = "f" + std::to_string(round);
    std::atomic<int> won = 0;
    std::atomic<int> lost = 0;
    {
      std::vector<std::jthread> threads;
      for (int t = 0; t < 6; ++t) {
        threads.emplace_back([&, t] {
          auto file = PublishedFile::create(dir / name);
          if (!file || !file->append(bytes_of(std::string(1000, static_cast<char>('a' + t)))).is_ok()) return;
          const Status status = file->publish();
          if (status.is_ok()) ++won;
          if (status.code() == Code::kAlreadyExists) ++lost;
        });
      }
    }
    CHECK(won == 1);
    CHECK(lost == 5);
    const std::string text = read_file(dir / name);
    CHECK(text == std::string(1000, text.at(0)));
  }
  CHECK(names_in(dir).size() == 20);
}

TEST_CASE("the name of a temporary file says what it would have become") {
  CHECK(final_name_of(".a.hrs.0123456789abcdef.tmp") == "a.hrs");
  CHECK(final_name_of(".a.0123456789abcdef.tmp") == "a");
  for (const char* const other :
       {"", ".", ".tmp", "a.hrs", ".0123456789abcdef.tmp", "..0123456789abcdef.tmp", ".a.0123456789abcde.tmp", ".a.0123456789abcdeg.tmp",
        ".ab0123456789abcdef.tmp", ".a.0123456789abcdef.tm", "a.b.0123456789abcdef.tmp"})
    CHECK_MESSAGE(final_name_of(other).empty(), other);
}

TEST_CASE("a temporary file is its maker's while that lives") {
  TempDir dir;
  PublishedFile file = create(dir / "a");
  REQUIRE(file.append(bytes_of("x")).is_ok());
  const std::string temporary = dir / names_in(dir).at(0);
  CHECK(final_name_of(names_in(dir).at(0)) == "a");
  CHECK(*maker_of(temporary, true) == Maker::kAlive);
  CHECK(std::filesystem::exists(temporary));
  REQUIRE(file.publish().is_ok());
  CHECK(*maker_of(temporary, true) == Maker::kAlive);  // It is gone, by its maker's doing.
  CHECK(names_in(dir) == Names{"a"});
  std::filesystem::create_symlink(dir / "a", dir / "link");
  CHECK(*maker_of(dir / "link", true) == Maker::kUnknown);
  std::filesystem::create_directory(dir / "folder");
  CHECK(*maker_of(dir / "folder", true) == Maker::kUnknown);
  CHECK(names_in(dir) == Names{"a", "folder", "link"});
}

TEST_CASE("who looks for abandoned files never takes one from a maker that lives") {
  for (const int makers : {1, 2, 8}) {
    TempDir dir;
    std::atomic<bool> done = false;
    std::atomic<int> failed = 0;
    std::jthread looking([&] {
      while (!done) {
        std::error_code ignored;
        for (const auto& entry : std::filesystem::directory_iterator(dir.path(), ignored)) {
          const std::string name = entry.path().filename().string();
          if (!final_name_of(name).empty() && !maker_of(entry.path().string(), true)) ++failed;
        }
      }
    });
    {
      std::vector<std::jthread> threads;
      for (int t = 0; t < makers; ++t) {
        threads.emplace_back([&, t] {
          for (int i = 0; i < 40; ++i) {
            auto file = PublishedFile::create(dir / ("f" + std::to_string(t) + "-" + std::to_string(i)));
            if (!file || !file->append(bytes_of("text")).is_ok() || !file->publish().is_ok()) ++failed;
          }
        });
      }
    }
    done = true;
    looking.join();
    CHECK(failed == 0);
    const Names names = names_in(dir);
    CHECK(names.size() == static_cast<std::size_t>(makers) * 40);
    CHECK(std::none_of(names.begin(), names.end(), [](const std::string& name) { return name.front() == '.'; }));
  }
}

#if !defined(__SANITIZE_THREAD__)
TEST_CASE("the temporary file of a maker that was killed is abandoned, and can be removed") {
  TempDir dir;
  const int ended = in_child([&] {
    PublishedFile file = create(dir / "a");
    if (!file.append(bytes_of("half")).is_ok()) return 1;
    raise(SIGKILL);
    return 2;
  });
  CHECK(ended == 100 + SIGKILL);
  REQUIRE(names_in(dir).size() == 1);
  const std::string temporary = dir / names_in(dir).at(0);
  CHECK(*maker_of(temporary, false) == Maker::kGone);
  CHECK(read_file(temporary) == "half");
  CHECK(*maker_of(temporary, true) == Maker::kGone);
  CHECK(names_in(dir).empty());
}

TEST_CASE("a forked child neither writes, publishes nor removes the parent's file") {
  TempDir dir;
  PublishedFile file = create(dir / "a");
  REQUIRE(file.append(bytes_of("parent")).is_ok());
  CHECK(in_child([&] { return file.append(bytes_of("child")).code() == Code::kForked ? 0 : 1; }) == 0);
  CHECK(in_child([&] { return file.publish().code() == Code::kForked ? 0 : 1; }) == 0);
  CHECK(in_child([&] {
          file.discard();
          return 0;
        }) == 0);
  CHECK(in_child([&] {
          const PublishedFile ended(std::move(file));
          return 0;
        }) == 0);
  CHECK(names_in(dir).size() == 1);
  REQUIRE(file.publish().is_ok());
  CHECK(names_in(dir) == Names{"a"});
  CHECK(read_file(dir / "a") == "parent");
}
#endif

}  // namespace
}  // namespace headrace::storage
