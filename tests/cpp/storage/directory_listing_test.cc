#include "headrace/storage/directory_listing.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

namespace headrace::storage {
namespace {

namespace fs = std::filesystem;

struct Tree {
  fs::path root = fs::temp_directory_path() / strf("headrace_listing_%d", static_cast<int>(::getpid()));
  Tree() {
    fs::remove_all(root);
    for (int i = 0; i < 20; ++i) {
      const fs::path folder = root / strf("folder_%02d", i);
      fs::create_directories(folder / "inner");
      for (int j = 0; j < i; ++j) std::ofstream(folder / strf("%d.jpg", j)) << j;
    }
  }
  ~Tree() { fs::remove_all(root); }
  std::vector<ListedDirectory> folders() const {
    std::vector<ListedDirectory> out;
    for (int i = 0; i < 20; ++i) out.push_back({(root / strf("folder_%02d", i)).string(), std::nullopt});
    return out;
  }
};

// Last changed ten seconds ago, but for the ctime, which nobody can set.
void age(const std::string& path) {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count() - 10;
  const timespec times[2] = {{seconds, 0}, {seconds, 0}};
  REQUIRE(::utimensat(AT_FDCWD, path.c_str(), times, 0) == 0);
}

}  // namespace

TEST_CASE("directories are listed alike by any number of threads") {
  const Tree tree;
  for (const int threads : {0, 1, 2, 8}) {
    const auto found = list_directories(tree.folders(), threads);
    REQUIRE(found.is_ok());
    for (std::size_t i = 0; i < 20; ++i) {
      const DirectoryListing& listing = *found.value()[i];
      CHECK(listing.files.size() == i);
      CHECK(listing.folders == std::vector<std::string>{"inner"});
      CHECK_FALSE(listing.has_links);
    }
  }
}

TEST_CASE("links count as what they lead to") {
  const Tree tree;
  const fs::path folder = tree.root / "folder_00";
  fs::create_symlink(tree.root / "folder_01", folder / "to_folder");
  fs::create_symlink(tree.root / "folder_01" / "0.jpg", folder / "to_file");
  fs::create_symlink("nowhere", folder / "broken");
  const auto found = list_directories(tree.folders(), 2);
  REQUIRE(found.is_ok());
  DirectoryListing listing = *found.value()[0];
  std::sort(listing.files.begin(), listing.files.end());
  std::sort(listing.folders.begin(), listing.folders.end());
  CHECK(listing.files == std::vector<std::string>{"broken", "to_file"});
  CHECK(listing.folders == std::vector<std::string>{"inner", "to_folder"});
  CHECK(listing.has_links);
  CHECK_FALSE(listing.can_be_kept);
}

TEST_CASE("what changed a moment ago cannot be kept, and an identity that is still known is not listed again") {
  const Tree tree;
  std::vector<ListedDirectory> wanted{tree.folders()[5]};
  age(wanted[0].path);
  auto found = list_directories(wanted, 1);
  REQUIRE(found.is_ok());
  CHECK_FALSE(found.value()[0]->can_be_kept);  // Its ctime is of now.
  wanted[0].known = found.value()[0]->identity;
  found = list_directories(wanted, 1);
  REQUIRE(found.is_ok());
  CHECK_FALSE(found.value()[0].has_value());
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  std::ofstream(wanted[0].path + "/another.jpg") << 1;
  found = list_directories(wanted, 1);
  REQUIRE(found.is_ok());
  REQUIRE(found.value()[0].has_value());
  CHECK(found.value()[0]->files.size() == 6);
}

TEST_CASE("a directory that is none is named") {
  const Tree tree;
  std::vector<ListedDirectory> wanted = tree.folders();
  wanted[3].path += "/nowhere";
  CHECK(list_directories(wanted, 2).status().code() == Code::kNotFound);
  CHECK(list_directories(wanted, 2).status().message().find("folder_03/nowhere") != std::string::npos);
  wanted[3].path = tree.folders()[3].path + "/0.jpg";
  CHECK(list_directories(wanted, 2).status().code() == Code::kIoError);
}

}  // namespace headrace::storage
