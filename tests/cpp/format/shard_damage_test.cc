// Damage of every kind to a small shard: nothing is read as valid, nothing crashes, every error says where.
#include <cstdio>
#include <random>

#include "format/doctor.h"
#include "headrace/format/verify.h"

namespace headrace::format {
namespace {

// Two chunks with all kinds of sections, 16 KiB or less in all.
Schema small_schema() {
  Schema schema = make_schema(
      {make_field("n", Kind::kTensor, "int32"), make_field("text", Kind::kString), make_field("z", Kind::kTensor, "int16", {2})});
  schema.fields[0].nullable = true;
  schema.fields[0].block_bytes = 8;
  schema.fields[2] = with_storage(schema.fields[2], codec::Codec::kZstd, codec::Filter::kShuffle, 256);
  schema.metadata = "{}";
  return schema;
}

std::string small_shard(const std::string& directory, ShardEntry* entry = nullptr, std::uint8_t seed = 1) {
  std::vector<TestChunk> chunks;
  for (const std::uint32_t samples : {64u, 5u}) {
    TestChunk chunk{samples, {}};
    std::vector<std::int32_t> numbers(samples, 40 + seed);
    numbers[1] = 0;
    Buffer valid(samples, 1);
    valid[1] = 0;
    chunk.columns = {
        {bytes_of(numbers), {}, valid}, text_column(std::vector<std::string>(samples, "tee é")), {Buffer(samples * 4, seed), {}, {}}};
    chunks.push_back(chunk);
  }
  return write_shard(directory, small_schema(), 64, chunks, entry, test_uuid(seed));
}

// What open and verify have to say of these bytes.
struct Opinion {
  Status open;
  std::vector<Damage> damages;
  bool clean() const { return open.is_ok() && damages.empty(); }
};

Opinion examine_file(const std::string& path) {
  Opinion opinion;
  opinion.open = Shard::open(path, Limits()).status();
  if (!opinion.open.is_ok()) return opinion;
  Result<VerifyReport> report = verify(path, 0, true, 1, Limits(), nullptr);
  REQUIRE(report.is_ok());
  opinion.damages = std::move(report->damages);
  return opinion;
}

Opinion examine(const std::string& path, Bytes bytes) {
  write_file(path, bytes);
  return examine_file(path);
}

Status open_bytes(const std::string& path, Bytes bytes) {
  write_file(path, bytes);
  return Shard::open(path, Limits()).status();
}

}  // namespace

TEST_CASE("F01: a shard cut at any length is truncated, never valid") {
  TempDir dir;
  const Buffer whole = read_file(small_shard(dir.path()));
  REQUIRE(whole.size() < 17000);
  CHECK(examine(dir / "whole.hrs", whole).clean());
  for (std::size_t length = 0; length < whole.size(); ++length) {
    const Status status = open_bytes(dir / "cut.hrs", Bytes(whole).first(length));
    if (status.code() == Code::kTruncated) continue;
    FAIL_CHECK("length ", length, ": ", status.message());
  }
  CHECK(mentions(open_bytes(dir / "cut.hrs", Bytes(whole).first(5000)), "unfinished or cut: no footer at the end of its 5000 bytes"));
}

TEST_CASE("F02: every single flipped bit is found, and the error says where") {
  TempDir dir;
  const Buffer whole = read_file(small_shard(dir.path()));
  const std::string path = dir / "flipped.hrs";
  const std::uint64_t index = Doctor(whole).index_offset(), schema = Doctor(whole).schema_offset();
  write_file(path, whole);
  std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);  // One byte is written at a time: 100 000 new files take long.
  const auto put = [&](std::size_t at, unsigned byte) { file.seekp(static_cast<std::streamoff>(at)).put(static_cast<char>(byte)).flush(); };
  for (std::size_t at = 0; at < whole.size(); ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      put(at, whole[at] ^ (1u << bit));
      const Opinion opinion = examine_file(path);
      const bool in_chunks = at >= kHeaderBytes && at < index;
      const char* region = at < kHeaderBytes                  ? "header"
                           : at < index                       ? "chunk"
                           : at < schema                      ? "index"
                           : at < whole.size() - kFooterBytes ? "schema"
                                                              : "footer";
      bool named = false;
      if (in_chunks) {
        named = opinion.damages.size() == 1 && mentions(opinion.damages[0].status, region) && opinion.damages[0].offset <= at &&
                at < opinion.damages[0].offset + opinion.damages[0].bytes;
      } else {
        named = !opinion.open.is_ok() && mentions(opinion.open, region) && opinion.open.code() == Code::kCorrupt;
      }
      if (!named)
        FAIL_CHECK("byte ", at, " bit ", bit, " in ", region, ": ", opinion.open.message(),
                   opinion.damages.empty() ? "" : opinion.damages[0].status.message());
    }
    put(at, whole[at]);
  }
  CHECK(file.good());
  CHECK(examine_file(path).clean());
}

TEST_CASE("F03: garbage, runs of garbage and foreign bytes are refused or reported") {
  TempDir dir;
  const Buffer whole = read_file(small_shard(dir.path()));
  std::mt19937 random(11);
  for (int round = 0; round < 2000; ++round) {
    Buffer damaged = whole;
    const std::size_t at = random() % damaged.size();
    const std::size_t length = std::min<std::size_t>(1 + random() % 600, damaged.size() - at);
    for (std::size_t i = 0; i < length; ++i) damaged[at + i] = static_cast<std::uint8_t>(random());
    if (damaged == whole) continue;
    CHECK_FALSE(examine(dir / "garbage.hrs", damaged).clean());
  }
  Buffer noise(9000);
  for (std::uint8_t& byte : noise) byte = static_cast<std::uint8_t>(random());
  CHECK(open_bytes(dir / "noise.hrs", noise).code() == Code::kInvalidArgument);
  CHECK(open_bytes(dir / "noise.hrs", Bytes(noise).first(9)).code() == Code::kInvalidArgument);
  // One that a manifest names was a shard.
  const ShardEntry entry;
  const Status named = Shard::open(dir / "noise.hrs", Limits(), &entry).status();
  CHECK(named.code() == Code::kCorrupt);
  CHECK(mentions(named, "not a headrace shard"));
}

TEST_CASE("F03: parts of another shard of the same shape are found") {
  TempDir dir;
  const Buffer one = read_file(small_shard(dir.path(), nullptr, 1));
  const Buffer two = read_file(small_shard(dir.path(), nullptr, 2));
  REQUIRE(one.size() == two.size());
  for (std::size_t cut = 64; cut < one.size(); cut += 64) {
    Buffer spliced = one;
    std::copy(two.begin() + static_cast<std::ptrdiff_t>(cut), two.end(), spliced.begin() + static_cast<std::ptrdiff_t>(cut));
    CHECK_FALSE(examine(dir / "spliced.hrs", spliced).clean());
  }
  // Header and footer of one, whole and sealed, around the other's chunks.
  Buffer chunks = one;
  const auto index = static_cast<std::ptrdiff_t>(Doctor(one).index_offset());
  std::copy(two.begin() + 4096, two.begin() + index, chunks.begin() + 4096);
  const Opinion opinion = examine(dir / "spliced.hrs", chunks);
  CHECK(opinion.open.is_ok());
  CHECK(opinion.damages.size() >= 6);  // each page of both chunks
}

TEST_CASE("F03: two chunks that change places, with their hashes, are found") {
  TempDir dir;
  const Schema schema = make_schema({make_field("x", Kind::kTensor, "int64")});
  const TestChunk a{512, {{Buffer(4096, 1), {}, {}}}}, b{512, {{Buffer(4096, 2), {}, {}}}};
  Doctor doctor(read_file(write_shard(dir.path(), schema, 512, {a, b})));
  const std::uint64_t bytes = load_le<std::uint64_t>(doctor.chunk_entry(0) + 8);
  std::swap_ranges(doctor.bytes.begin() + 4096, doctor.bytes.begin() + 4096 + static_cast<std::ptrdiff_t>(bytes),
                   doctor.bytes.begin() + 4096 + static_cast<std::ptrdiff_t>(bytes));
  std::swap_ranges(doctor.page_entry(0, 0) + 40, doctor.page_entry(0, 0) + 72, doctor.page_entry(1, 0) + 40);
  const Opinion opinion = examine(dir / "swapped.hrs", doctor.seal());
  CHECK(opinion.open.is_ok());
  REQUIRE(opinion.damages.size() == 2);
  CHECK(opinion.damages[0].chunk == 0);
  CHECK(opinion.damages[1].chunk == 1);
  CHECK(opinion.damages[1].status.code() == Code::kCorrupt);
}

TEST_CASE("F04: declared sizes that would need unbounded memory are refused from the index alone") {
  TempDir dir;
  const Buffer whole = read_file(small_shard(dir.path()));
  const auto with_values_bytes = [&](std::uint32_t field, std::uint64_t bytes) {
    Doctor doctor(whole);
    store_le(doctor.page_entry(0, field) + 16, bytes);
    return open_bytes(dir / "bomb.hrs", doctor.seal());
  };
  for (const std::uint32_t field : {0u, 1u, 2u}) {
    CHECK(with_values_bytes(field, 1ull << 40).code() == Code::kLimitExceeded);
    CHECK(with_values_bytes(field, UINT64_MAX).code() == Code::kLimitExceeded);
    CHECK(with_values_bytes(field, 1ull << 27).code() == Code::kCorrupt);  // within the limit, and not what the page holds
  }
  Doctor index(whole);
  store_le(index.footer() + 40, std::uint64_t{1} << 40);  // chunks
  CHECK(open_bytes(dir / "bomb.hrs", index.seal_ends()).code() == Code::kCorrupt);
  Doctor samples(whole);
  store_le(samples.bytes.data() + 32, std::uint32_t{1} << 31);
  CHECK(open_bytes(dir / "bomb.hrs", samples.seal_ends()).code() == Code::kLimitExceeded);
  Limits tight;
  tight.index_bytes = 100;
  write_file(dir / "bomb.hrs", whole);
  CHECK(Shard::open(dir / "bomb.hrs", tight).status().code() == Code::kLimitExceeded);
}

TEST_CASE("F04: frames that lie about their size, and LZ4 ratios beyond the limit") {
  TempDir dir;
  const Schema schema =
      make_schema({with_storage(make_field("x", Kind::kTensor, "uint8"), codec::Codec::kLz4, codec::Filter::kNone, 1 << 20)});
  const Buffer whole = read_file(write_shard(dir.path(), schema, 1 << 20, {{1 << 20, {{Buffer(1 << 20, 7), {}, {}}}}}));
  {
    Doctor doctor(whole);
    const std::uint64_t page_bytes = load_le<std::uint64_t>(doctor.page_entry(0, 0) + 8);
    REQUIRE(page_bytes < 8192);
    store_le(doctor.table(0, 0) + 8, std::uint32_t{16});
    doctor.seal_table(0, 0);
    store_le(doctor.page_entry(0, 0) + 8, std::uint64_t{64 + 16});
    // The page is shorter now, and the chunk too: keep the file exactly covered.
    const std::uint64_t chunk_bytes = load_le<std::uint64_t>(doctor.chunk_entry(0) + 8);
    if (chunk_bytes > 4096) {
      doctor.bytes.erase(doctor.bytes.begin() + 8192, doctor.bytes.begin() + 4096 + static_cast<std::ptrdiff_t>(chunk_bytes));
      const std::uint64_t cut = chunk_bytes - 4096;
      for (const int at : {32, 56, 72}) store_le(doctor.footer() + at, load_le<std::uint64_t>(doctor.footer() + at) - cut);
      store_le(doctor.chunk_entry(0) + 8, std::uint64_t{4096});
    }
    const Opinion opinion = examine(dir / "ratio.hrs", doctor.seal());
    CHECK_MESSAGE(opinion.open.is_ok(), opinion.open.message());
    REQUIRE(!opinion.damages.empty());
    CHECK(opinion.damages[0].status.code() == Code::kLimitExceeded);
    CHECK(mentions(opinion.damages[0].status, "1048576 decoded bytes"));
  }
  // A right hash over a frame that declares other sizes: the codec refuses it, at whatever byte of its head.
  for (int at = 4; at < 15; ++at) {
    Doctor doctor(whole);
    doctor.table(0, 0)[64 + at] ^= 0x10;
    doctor.seal_block(0, 0, 0);
    doctor.seal_table(0, 0);
    const Opinion opinion = examine(dir / "lie.hrs", doctor.seal());
    CHECK(opinion.open.is_ok());
    CHECK(opinion.damages.size() == 1);
  }
}

TEST_CASE("F05: offsets and lengths outside the file, or wrapping round, are refused") {
  TempDir dir;
  const Buffer whole = read_file(small_shard(dir.path()));
  const std::uint64_t values[] = {0,         1, 4095, 4097, whole.size(), whole.size() + 4096, 1ull << 40, 1ull << 63, UINT64_MAX - 4095,
                                  UINT64_MAX};
  const auto try_footer = [&](int at, std::uint64_t value) {
    Doctor doctor(whole);
    if (load_le<std::uint64_t>(doctor.footer() + at) == value) return;
    store_le(doctor.footer() + at, value);
    const Code code = open_bytes(dir / "wrap.hrs", doctor.seal_ends()).code();
    CHECK((code == Code::kCorrupt || code == Code::kLimitExceeded || code == Code::kTruncated));
  };
  for (const std::uint64_t value : values) {
    for (const int at : {32, 40, 48, 56, 64, 72, 80, 104}) try_footer(at, value);
    // Wrong by as much and back: the sums still fit.
    for (const int at : {0, 8}) {
      Doctor doctor(whole);
      if (load_le<std::uint64_t>(doctor.chunk_entry(0) + at) == value) continue;
      store_le(doctor.chunk_entry(0) + at, value);
      CHECK(open_bytes(dir / "wrap.hrs", doctor.seal()).code() == Code::kCorrupt);
    }
    for (const std::uint32_t field : {0u, 1u, 2u}) {
      for (const int at : {0, 8, 16, 24, 64}) {
        Doctor doctor(whole);
        if (load_le<std::uint64_t>(doctor.page_entry(0, field) + at) == value) continue;
        store_le(doctor.page_entry(0, field) + at, value);
        const Code code = open_bytes(dir / "wrap.hrs", doctor.seal()).code();
        const bool null_count = at == 64 && field == 0 && value <= 64;
        if (!null_count) CHECK((code == Code::kCorrupt || code == Code::kLimitExceeded));
      }
    }
  }
}

TEST_CASE("every other number of the index that follows from the rest is checked") {
  TempDir dir;
  const Buffer whole = read_file(small_shard(dir.path()));
  const auto refused = [&](auto change) {
    Doctor doctor(whole);
    change(doctor);
    return open_bytes(dir / "index.hrs", doctor.seal()).code() == Code::kCorrupt;
  };
  CHECK(refused([](Doctor& d) { store_le(d.chunk_entry(0) + 16, std::uint32_t{63}); }));   // samples of a chunk that is not the last
  CHECK(refused([](Doctor& d) { store_le(d.chunk_entry(1) + 16, std::uint32_t{65}); }));   // more than a chunk holds
  CHECK(refused([](Doctor& d) { store_le(d.chunk_entry(0) + 20, std::uint32_t{1}); }));    // reserved
  CHECK(refused([](Doctor& d) { store_le(d.page_entry(0, 0) + 32, std::uint32_t{1}); }));  // blocks
  CHECK(refused([](Doctor& d) { store_le(d.page_entry(0, 0) + 36, std::uint32_t{3}); }));  // flags
  CHECK(refused([](Doctor& d) { store_le(d.page_entry(0, 1) + 36, std::uint32_t{1}); }));  // min and max of a string
  CHECK(refused([](Doctor& d) { store_le(d.page_entry(0, 0) + 36, std::uint32_t{0}); }));  // not known, and not zero
  CHECK(refused([](Doctor& d) { store_le(d.page_entry(0, 1) + 64, std::uint64_t{1}); }));  // nulls without nullable
  CHECK(refused([](Doctor& d) { store_le(d.footer() + 48, std::uint64_t{70}); }));         // samples of the shard
  CHECK(refused([](Doctor& d) { store_le(d.footer() + 104, std::uint64_t{1}); }));         // blocks of the shard
  CHECK(refused([](Doctor& d) { store_le(d.footer() + 12, std::uint32_t{2}); }));          // fields, against the header
}

TEST_CASE("block tables are held against arithmetic, even where their hash is right") {
  TempDir dir;
  const Buffer whole = read_file(small_shard(dir.path()));
  for (const int at : {0, 8, 12}) {  // offset, stored, decoded
    for (const std::uint32_t field : {0u, 1u, 2u}) {
      for (const std::uint32_t delta : {1u, 0x7FFFFFFFu, 0xFFFFFFFFu}) {
        Doctor doctor(whole);
        std::uint8_t* const entry = doctor.table(0, field) + at;
        store_le(entry, load_le<std::uint32_t>(entry) + delta);
        doctor.seal_table(0, field);
        const Opinion opinion = examine(dir / "table.hrs", doctor.seal());
        CHECK(opinion.open.is_ok());
        REQUIRE(opinion.damages.size() == 1);
        CHECK(opinion.damages[0].status.code() == Code::kCorrupt);
        CHECK(mentions(opinion.damages[0].status, "block table at offset"));
      }
    }
  }
}

TEST_CASE("F06: overlapping chunks, holes and trailing bytes are refused") {
  TempDir dir;
  const Buffer whole = read_file(small_shard(dir.path()));
  Buffer longer = whole;
  longer.push_back(0);
  CHECK(open_bytes(dir / "cover.hrs", longer).code() == Code::kTruncated);  // no footer at its end
  Buffer twice = whole;
  twice.insert(twice.end(), whole.end() - 128, whole.end());
  CHECK(open_bytes(dir / "cover.hrs", twice).code() == Code::kCorrupt);  // a footer, of a file of another length
  Doctor overlap(whole);
  store_le(overlap.chunk_entry(1), load_le<std::uint64_t>(overlap.chunk_entry(0)));
  CHECK(open_bytes(dir / "cover.hrs", overlap.seal()).code() == Code::kCorrupt);
  // A page of nothing between the chunks and the index, all else consistent.
  Doctor hole(whole);
  hole.bytes.insert(hole.bytes.begin() + static_cast<std::ptrdiff_t>(hole.index_offset()), 4096, 0);
  for (const int at : {32, 56, 72}) store_le(hole.footer() + at, load_le<std::uint64_t>(hole.footer() + at) + 4096);
  const Status status = open_bytes(dir / "cover.hrs", hole.seal());
  CHECK(status.code() == Code::kCorrupt);
  CHECK(mentions(status, "its chunks end at"));
  // A larger chunk hides it no better.
  store_le(hole.chunk_entry(1) + 8, load_le<std::uint64_t>(hole.chunk_entry(1) + 8) + 4096);
  CHECK(mentions(open_bytes(dir / "cover.hrs", hole.seal()), "its pages end at"));
}

TEST_CASE("F07: an empty file is unfinished") {
  TempDir dir;
  CHECK(open_bytes(dir / "empty.hrs", {}).code() == Code::kTruncated);
  CHECK(Shard::open(dir / "absent.hrs", Limits()).status().code() == Code::kNotFound);
}

TEST_CASE("F08: another major is refused by name, a newer minor is read") {
  TempDir dir;
  const Buffer whole = read_file(small_shard(dir.path()));
  Doctor major(whole);
  for (std::uint8_t* at : {major.bytes.data() + 8, major.footer() + 8}) store_le(at, std::uint16_t{2});
  const Status status = open_bytes(dir / "version.hrs", major.seal());
  CHECK(status.code() == Code::kUnsupported);
  CHECK(mentions(status, "format version 2.0; this library reads 1.x"));
  Doctor minor(whole);
  for (std::uint8_t* at : {minor.bytes.data() + 10, minor.footer() + 10}) store_le(at, std::uint16_t{3});
  minor.bytes[40] = 1;  // reserved bytes that the newer minor has a use for
  write_file(dir / "version.hrs", minor.seal());
  const auto shard = Shard::open(dir / "version.hrs", Limits());
  REQUIRE_MESSAGE(shard.is_ok(), shard.status().message());
  CHECK((*shard)->newer_minor());
  Doctor reserved(whole);
  reserved.bytes[40] = 1;
  CHECK(open_bytes(dir / "version.hrs", reserved.seal()).code() == Code::kCorrupt);
  Doctor old(whole);
  write_file(dir / "version.hrs", old.seal());
  CHECK_FALSE((*Shard::open(dir / "version.hrs", Limits()))->newer_minor());
}

TEST_CASE("a shard that is not the one of the manifest has changed") {
  TempDir dir;
  ShardEntry entry;
  const std::string path = small_shard(dir.path(), &entry);
  CHECK(Shard::open(path, Limits(), &entry).is_ok());
  const auto changed = [&](auto change) {
    ShardEntry other = entry;
    change(other);
    return Shard::open(path, Limits(), &other).status().code() == Code::kChanged;
  };
  CHECK(changed([](ShardEntry& e) { e.uuid[3] ^= 1; }));
  CHECK(changed([](ShardEntry& e) { ++e.file_bytes; }));
  CHECK(changed([](ShardEntry& e) { ++e.num_samples; }));
  CHECK(changed([](ShardEntry& e) { ++e.chunk_samples; }));
  CHECK(changed([](ShardEntry& e) { e.footer_hash ^= 1; }));
}

TEST_CASE("offsets and decode_block refuse what does not fit, without touching memory out of bounds") {
  TempDir dir;
  const std::string path = small_shard(dir.path());
  const Buffer file = read_file(path);
  const auto shard = *Shard::open(path, Limits());
  const PageRef page = shard->page(0, 1);
  const std::uint64_t end = page.section(Section::kValues).decoded_bytes;
  std::vector<std::uint32_t> offsets(65);
  for (std::uint32_t i = 0; i < 65; ++i) offsets[i] = static_cast<std::uint32_t>(i * end / 64);
  const auto check = [&](std::uint32_t begin, std::vector<std::uint32_t> part) {
    return shard->check_offsets(0, 1, page, begin, bytes_of(part)).code();
  };
  CHECK(check(0, offsets) == Code::kOk);
  CHECK(check(10, {offsets.begin() + 10, offsets.begin() + 30}) == Code::kOk);
  for (const std::size_t at : {0u, 1u, 30u, 64u}) {
    std::vector<std::uint32_t> wrong = offsets;
    wrong[at] = at == 64 ? wrong[at] - 1 : static_cast<std::uint32_t>(end + 1);
    CHECK(check(0, wrong) == Code::kCorrupt);
  }
  std::vector<std::uint32_t> first = offsets;
  first[0] = 1;
  CHECK(check(0, first) == Code::kCorrupt);
  const PageRef values = shard->page(0, 2);
  const Bytes table = Bytes(file).subspan(values.offset, values.num_blocks * kBlockEntryBytes);
  const BlockRef ref = Shard::block(values, table, 0);
  Buffer out(ref.decoded_bytes), scratch;
  CHECK(shard->decode_block(0, 2, 0, ref, Bytes(file).subspan(ref.offset, ref.stored_bytes - 1), out, scratch).code() ==
        Code::kInvalidArgument);
  CHECK(shard->decode_block(0, 2, 0, ref, Bytes(file).subspan(ref.offset, ref.stored_bytes), MutableBytes(out).first(3), scratch).code() ==
        Code::kInvalidArgument);
}

}  // namespace headrace::format
