#include "headrace/storage/mapping.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <limits>
#include <string>
#include <vector>

#include "headrace/storage/kernel.h"
#include "temp_dir.h"

namespace headrace::storage {
namespace {

constexpr std::size_t kBytes = 100 * 4096 + 17;

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

Mapping map_file(const std::string& path) {
  auto file = File::open(path);
  REQUIRE(file);
  auto mapping = Mapping::map(*file);
  REQUIRE(mapping);
  return std::move(mapping).value();
}

bool contains(const Status& status, const std::string& text) { return status.message().find(text) != std::string::npos; }

TEST_CASE("a mapping shows the file's bytes after the file is closed, and after it is unlinked") {
  TempDir dir;
  const auto bytes = counting(kBytes);
  const std::string path = write_file(dir, "a", bytes);
  const Mapping mapping = map_file(path);
  REQUIRE(mapping.populate(0, kBytes).is_ok());
  REQUIRE(unlink(path.c_str()) == 0);
  CHECK(mapping.size() == kBytes);
  const bool kernel_populates = populate_pages(mapping.data(), page_bytes()) == 0;
  CHECK(mapping.populate(0, kBytes).code() == (kernel_populates ? Code::kOk : Code::kNotFound));
  CHECK(std::equal(bytes.begin(), bytes.end(), mapping.bytes().begin(), mapping.bytes().end()));
}

TEST_CASE("an empty file maps to no bytes") {
  TempDir dir;
  const Mapping mapping = map_file(write_file(dir, "empty", {}));
  CHECK(mapping.size() == 0);
  CHECK(mapping.bytes().empty());
  CHECK(mapping.populate(0, 0).is_ok());
  CHECK(mapping.populate(0, 1).code() == Code::kTruncated);
  mapping.will_need(0, 10);
  mapping.advise_random();
}

TEST_CASE("a range is populated whatever its alignment, and none past the end") {
  TempDir dir;
  const Mapping mapping = map_file(write_file(dir, "a", counting(kBytes)));
  CHECK(mapping.populate(1, 1).is_ok());
  CHECK(mapping.populate(4095, 2).is_ok());
  CHECK(mapping.populate(kBytes - 1, 1).is_ok());
  CHECK(mapping.populate(kBytes, 0).is_ok());
  const Status past = mapping.populate(kBytes - 1, 2);
  CHECK(past.code() == Code::kTruncated);
  CHECK(contains(past, "offset " + std::to_string(kBytes - 1)));
  CHECK(contains(past, "expected 2 bytes"));
  CHECK(mapping.populate(kBytes + 1, 0).code() == Code::kTruncated);
  CHECK(mapping.populate(std::numeric_limits<std::uint64_t>::max(), 2).code() == Code::kTruncated);
}

TEST_CASE("a file that is expected whole is populated by huge-page ranges, and a cut is found as before") {
  TempDir dir;
  const std::size_t size = (std::size_t{5} << 20) + 123;
  const auto bytes = counting(size);
  const std::string path = write_file(dir, "large", bytes);
  const Mapping mapping = map_file(path);
  CHECK(reinterpret_cast<std::uintptr_t>(mapping.data()) % (std::size_t{2} << 20) == 0);
  mapping.expect_whole();
  mapping.expect_whole();
  for (const std::size_t at : {std::size_t{0}, std::size_t{3} << 20, (std::size_t{2} << 20) - 1, size - 1})
    CHECK(mapping.populate(at, 1).is_ok());
  CHECK(mapping.populate(1, size - 1).is_ok());
  CHECK(mapping.populate(1, size).code() == Code::kTruncated);
  mapping.will_need(0, size);
  CHECK(std::equal(bytes.begin(), bytes.end(), mapping.bytes().begin(), mapping.bytes().end()));
  const Mapping other = map_file(path);
  other.expect_whole();
  REQUIRE(truncate(path.c_str(), 3 << 20) == 0);
  CHECK(other.populate(100, 1 << 20).is_ok());
  // In the range that the end now cuts: what is left can still be had, what is gone is an error.
  CHECK(other.populate(2 << 20, 1 << 20).is_ok());
  CHECK(other.populate((3 << 20) - 1, 2).code() == Code::kTruncated);
  CHECK(other.populate(4 << 20, 1).code() == Code::kTruncated);
}

TEST_CASE("advice outside the mapping is ignored") {
  TempDir dir;
  const Mapping mapping = map_file(write_file(dir, "a", counting(kBytes)));
  mapping.will_need(5, kBytes);
  mapping.will_need(kBytes, 1);
  mapping.will_need(1, std::numeric_limits<std::uint64_t>::max());
  mapping.advise_random();
  CHECK(mapping.bytes()[kBytes - 1] == counting(kBytes).back());
}

TEST_CASE("populating a file that was cut underneath answers kTruncated, and the process lives") {
  TempDir dir;
  const std::string path = write_file(dir, "a", counting(kBytes));
  const Mapping mapping = map_file(path);
  REQUIRE(truncate(path.c_str(), 4096 * 10) == 0);
  CHECK(mapping.populate(0, 4096 * 10).is_ok());
  const Status status = mapping.populate(4096 * 9, 4096 * 20);
  CHECK(status.code() == Code::kTruncated);
  CHECK(contains(status, path));
  CHECK(contains(status, "expected " + std::to_string(kBytes)));
  CHECK(contains(status, "found 40960"));
  REQUIRE(truncate(path.c_str(), 0) == 0);
  CHECK(mapping.populate(0, 1).code() == Code::kTruncated);
}

TEST_CASE("populating a file that was cut and renamed away is an error, too") {
  TempDir dir;
  const std::string path = write_file(dir, "a", counting(kBytes));
  const Mapping mapping = map_file(path);
  std::filesystem::rename(path, dir / "b");
  REQUIRE(truncate((dir / "b").c_str(), 0) == 0);
  const Status status = mapping.populate(0, kBytes);
  CHECK_FALSE(status.is_ok());
  CHECK(contains(status, path));
}

TEST_CASE("populate_by_reading serves kernels without the call") {
  TempDir dir;
  const std::string path = write_file(dir, "a", counting(kBytes));
  const FileIdentity identity = File::open(path)->identity().value();
  CHECK(populate_by_reading(path, identity, 0, kBytes).is_ok());
  CHECK(populate_by_reading(path, identity, 4095, 2).is_ok());
  CHECK(populate_by_reading(path, identity, kBytes - 1, 1).is_ok());
  REQUIRE(truncate(path.c_str(), 4096 * 10) == 0);
  CHECK(populate_by_reading(path, identity, 4096 * 9, 4096).is_ok());
  CHECK(populate_by_reading(path, identity, 4096 * 9, 4097).code() == Code::kTruncated);
  CHECK(populate_by_reading(path, identity, 4096 * 50, 1).code() == Code::kTruncated);

  write_file(dir, "other", counting(kBytes));
  std::filesystem::rename(dir / "other", path);
  CHECK(populate_by_reading(path, identity, 0, 1).code() == Code::kChanged);
  REQUIRE(unlink(path.c_str()) == 0);
  CHECK(populate_by_reading(path, identity, 0, 1).code() == Code::kNotFound);
}

TEST_CASE("a mapping moves; what is left maps nothing") {
  TempDir dir;
  const auto bytes = counting(kBytes);
  Mapping first = map_file(write_file(dir, "a", bytes));
  Mapping second = map_file(write_file(dir, "b", counting(5000)));
  Mapping moved(std::move(first));
  CHECK(first.size() == 0);  // NOLINT: looks at what is left on purpose
  CHECK(first.bytes().empty());
  second = std::move(moved);
  REQUIRE(second.size() == kBytes);
  CHECK(std::equal(bytes.begin(), bytes.end(), second.bytes().begin()));
  CHECK(second.populate(0, kBytes).is_ok());
}

}  // namespace
}  // namespace headrace::storage
