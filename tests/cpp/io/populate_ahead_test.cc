// Huge-page ranges of a mapped file come in ahead of their use, once each, and only where they are not in memory.
#include "headrace/io/populate_ahead.h"

#include <algorithm>
#include <chrono>
#include <thread>

#include "headrace/storage/kernel.h"
#include "io/read_fixture.h"
#include "temp_dir.h"

namespace headrace::io {
namespace {

using storage::Mapping;

constexpr std::size_t kFileBytes = 5 * Mapping::kRegionBytes + 4096;

std::shared_ptr<const Mapping> map_cold(const RandomFile& file) {
  const auto opened = storage::File::open(file.path());
  REQUIRE(opened.is_ok());
  storage::drop_file_pages(opened->descriptor());
  auto mapping = Mapping::map(*opened);
  REQUIRE(mapping.is_ok());
  mapping->advise_random();
  return std::make_shared<const Mapping>(std::move(*mapping));
}

bool resident(const Mapping& mapping, std::uint64_t offset, std::uint64_t length) {
  return storage::are_resident(mapping.data() + offset, length);
}

// Each range for itself: the kernel may take one back before the last one comes.
void populate_and_wait(const std::shared_ptr<const Mapping>& mapping) {
  std::vector<bool> seen(kFileBytes / Mapping::kRegionBytes + 1);
  const auto look = [&] {
    for (std::size_t i = 0; i < seen.size(); ++i) {
      const std::uint64_t begin = i * Mapping::kRegionBytes;
      if (!seen[i]) seen[i] = resident(*mapping, begin, std::min<std::uint64_t>(Mapping::kRegionBytes, kFileBytes - begin));
    }
    return std::find(seen.begin(), seen.end(), false) == seen.end();
  };
  look();
  populate_ahead(mapping, 10, kFileBytes);
  while (!look()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

}  // namespace

TEST_CASE("what is populated ahead gets into memory, and holds the file's bytes") {
  TempDir dir;
  const RandomFile file(dir / "a", kFileBytes);
  const auto mapping = map_cold(file);
  if (resident(*mapping, 0, kFileBytes)) return;  // tmpfs has nothing cold
  mapping->expect_whole();
  REQUIRE(mapping->is_whole());
  populate_and_wait(mapping);
  REQUIRE(mapping->populate(0, kFileBytes).is_ok());
  CHECK(std::memcmp(mapping->data(), file.bytes().data(), kFileBytes) == 0);
}

TEST_CASE("a range is claimed once, and not at all where it is in memory or beyond the end") {
  TempDir dir;
  const RandomFile file(dir / "a", kFileBytes);
  auto mapping = map_cold(file);
  if (resident(*mapping, 0, kFileBytes)) return;
  mapping->expect_whole();
  CHECK(mapping->claim_region(1));
  CHECK(!mapping->claim_region(1));
  REQUIRE(mapping->populate(3 * Mapping::kRegionBytes, 1).is_ok());
  CHECK(!mapping->claim_region(3));
  CHECK(!mapping->claim_region(6));
  populate_ahead(mapping, kFileBytes, 1);
  populate_ahead(mapping, 0, 0);

  std::vector<std::uint8_t> all(kFileBytes);
  REQUIRE(storage::File::open(file.path())->read_exact(0, all).is_ok());
  auto warm = Mapping::map(*storage::File::open(file.path()));
  REQUIRE(warm.is_ok());
  warm->expect_whole();
  for (std::uint64_t region = 0; region < 6; ++region) CHECK(!warm->claim_region(region));
}

TEST_CASE("a mapping may be let go while it is being populated, and a child has threads of its own") {
  TempDir dir;
  const RandomFile file(dir / "a", kFileBytes);
  for (int round = 0; round < 5; ++round) {
    auto mapping = map_cold(file);
    mapping->expect_whole();
    populate_ahead(mapping, 0, kFileBytes);
    mapping.reset();
  }
#if !defined(__SANITIZE_THREAD__)  // It does not follow a fork that starts threads.
  CHECK(true_in_child([&] {
    auto mapping = map_cold(file);
    mapping->expect_whole();
    populate_and_wait(mapping);
    return std::memcmp(mapping->data(), file.bytes().data(), kFileBytes) == 0;
  }));
#endif
}

}  // namespace headrace::io
