// Ranges planned in groups hold the file's bytes, however they are read; neighbours are read together, within bounds.
#include "headrace/io/stored_bytes.h"

#include <condition_variable>
#include <cstring>
#include <fstream>
#include <iterator>
#include <mutex>
#include <random>

#include "io/read_fixture.h"
#include "pipeline/small_dataset.h"
#include "temp_dir.h"

namespace headrace::io {
namespace {

struct OneShard {
  explicit OneShard(const std::string& dir, ReaderKind kind) : engine(engine_of(kind)), cache(1 << 20) {
    REQUIRE(write_small(dir, 20000, 512).is_ok());
    auto manifest = format::read_manifest(dir, 0, {});
    REQUIRE(manifest.is_ok());
    path = dir + "/" + manifest->shards[0].file_name;
    auto shard = format::Shard::open(path, {}, nullptr);
    REQUIRE(shard.is_ok());
    SourceContext context;
    context.cache = &cache;
    context.files = &files;
    context.engine = engine.get();
    auto opened = ShardSource::open(std::move(*shard), 0, context);
    REQUIRE(opened.is_ok());
    source = std::move(*opened);
    std::ifstream file(path, std::ios::binary);
    bytes.assign(std::istreambuf_iterator<char>(file), {});
    REQUIRE(bytes.size() > 200'000);
  }
  bool right(const std::uint8_t* found, std::uint64_t offset, std::uint64_t length) const {
    return found != nullptr && std::memcmp(found, bytes.data() + offset, length) == 0;
  }
  std::unique_ptr<ReadEngine> engine;
  BlockCache cache;
  FileTable files;
  std::string path, bytes;
  std::unique_ptr<ShardSource> source;
};

// Reads all groups through the queue, waiting for each.
void read_queued(StoredBytes& stored, Counters& counters) {
  for (std::size_t group = 0; group < stored.num_groups(); ++group) {
    std::vector<RangeRead> reads = stored.reads(group, counters);
    if (reads.empty()) continue;
    std::mutex mutex;
    std::condition_variable changed;
    bool there = false;
    stored.queue(group).submit(std::move(reads), [&](std::span<RangeRead> done) {
      stored.arrived(group, done, counters);
      std::lock_guard lock(mutex);
      there = true;
      changed.notify_one();
    });
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return there; });
  }
}

}  // namespace

TEST_CASE("planned ranges are found with the file's bytes, for any reader, queued or read at once") {
  for (const ReaderKind kind : kEngines) {
    TempDir dir;
    OneShard shard(dir / "d", kind);
    storage::SlabPool slabs(1 << 20);
    for (const bool queued : {false, true}) {
      for (unsigned seed = 1; seed <= 10; ++seed) {
        CAPTURE(seed);
        std::mt19937_64 random(seed);
        StoredBytes stored;
        Counters counters;
        std::vector<std::vector<Range>> groups(1 + seed % 4);
        for (auto& group : groups) {
          group = random_ranges(seed * 5, shard.bytes.size(), seed % 2 == 0 ? 40'000 : 300, static_cast<unsigned>(random()));
          for (const Range& range : group) stored.want(*shard.source, range.offset, range.length);
          stored.end_group();
        }
        REQUIRE(stored.num_groups() == groups.size());
        REQUIRE(stored.lease(slabs).is_ok());
        if (queued) {
          read_queued(stored, counters);
        } else {
          stored.read_now(counters);
        }
        for (std::size_t g = 0; g < groups.size(); ++g) {
          for (const Range& range : groups[g]) {
            if (range.length > 0) CHECK(shard.right(stored.find(g, *shard.source, range.offset, range.length), range.offset, range.length));
          }
        }
      }
    }
  }
}

TEST_CASE("what is read and not wanted is no more than what is wanted") {
  TempDir dir;
  OneShard shard(dir / "d", ReaderKind::kPread);
  storage::SlabPool slabs(1 << 20);
  const auto bytes_of = [&](const std::vector<Range>& ranges, std::size_t* reads) {
    StoredBytes stored;
    Counters counters;
    for (const Range& range : ranges) stored.want(*shard.source, range.offset, range.length);
    stored.end_group();
    REQUIRE(stored.lease(slabs).is_ok());
    *reads = stored.reads(0, counters).size();
    std::uint64_t bytes = 0;
    for (const RangeRead& read : stored.reads(0, counters)) bytes += read.needed;
    return bytes;
  };
  std::size_t reads = 0;
  CHECK(bytes_of({{0, 4096}, {4096, 4096}, {8192, 100}}, &reads) == 8292);
  CHECK(reads == 1);
  CHECK(bytes_of({{0, 8192}, {16384, 8192}}, &reads) == 24576);  // a gap as large as what comes before it
  CHECK(reads == 1);
  CHECK(bytes_of({{0, 4096}, {16384, 4096}}, &reads) == 8192);  // a larger one
  CHECK(reads == 2);
  CHECK(bytes_of({{0, 65536}, {65536 + 20480, 4096}}, &reads) == 65536 + 4096);  // one that is cheaper to leave out
  CHECK(reads == 2);
  CHECK(bytes_of({{100, 50}, {120, 10}}, &reads) == 150);  // from the boundary before it
  CHECK(reads == 1);
  CHECK(bytes_of({}, &reads) == 0);
  CHECK(reads == 0);
}

TEST_CASE("what could not be read is not found, and its neighbours are") {
  TempDir dir;
  for (const ReaderKind kind : kEngines) {
    OneShard shard(dir / reader_name(kind), kind);
    storage::SlabPool slabs(1 << 20);
    StoredBytes stored;
    Counters counters;
    const std::uint64_t end = shard.bytes.size();
    stored.want(*shard.source, 0, 1000);
    stored.want(*shard.source, end + (1 << 20), 1000);
    stored.end_group();
    stored.end_group();
    REQUIRE(stored.lease(slabs).is_ok());
    read_queued(stored, counters);
    CHECK(shard.right(stored.find(0, *shard.source, 0, 1000), 0, 1000));
    CHECK(stored.find(0, *shard.source, end + (1 << 20), 1000) == nullptr);
    CHECK(stored.find(0, *shard.source, 50'000, 10) == nullptr);
    CHECK(stored.find(1, *shard.source, 0, 1000) == nullptr);
    CHECK(stored.reads(1, counters).empty());
  }
}

}  // namespace headrace::io
