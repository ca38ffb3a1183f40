#include "headrace/format/manifest.h"

#include <algorithm>
#include <cstdio>
#include <random>

#include "format/fixture.h"

namespace headrace::format {
namespace {

Manifest some_manifest(std::uint64_t version = 3) {
  Manifest manifest;
  manifest.uuid = test_uuid(9);
  manifest.version = version;
  manifest.created_ns = 1'700'000'000'123'456'789;
  manifest.schema = make_schema({make_field("x", Kind::kTensor, "float32", {3}), make_field("label", Kind::kString)});
  for (std::uint8_t i = 0; i < 3; ++i) {
    const codec::Uuid uuid = test_uuid(i);
    manifest.shards.push_back({"shard-" + uuid_text(uuid) + ".hrs", uuid, 10000u + i, 100u * i, 64, 0x1234567890abcdefull + i});
  }
  return manifest;
}

// Makes the hash right again.
Buffer seal(Buffer bytes) {
  codec::Uuid uuid;
  std::copy_n(bytes.begin() + 16, 16, uuid.begin());
  const std::uint64_t seed = codec::place_seed(uuid, codec::Region::kManifest, 0, load_le<std::uint64_t>(bytes.data() + 32));
  store_le(bytes.data() + bytes.size() - 8, codec::hash(Bytes(bytes).first(bytes.size() - 8), seed));
  return bytes;
}

Code decode(const Buffer& bytes) { return decode_manifest(bytes, Limits()).status().code(); }

}  // namespace

TEST_CASE("a manifest comes back from its bytes as it was") {
  const Manifest manifest = some_manifest();
  const Result<Manifest> back = decode_manifest(encode_manifest(manifest), Limits());
  REQUIRE_MESSAGE(back.is_ok(), back.status().message());
  CHECK(back->uuid == manifest.uuid);
  CHECK(back->version == 3);
  CHECK(back->created_ns == manifest.created_ns);
  CHECK(back->schema == manifest.schema);
  CHECK(back->shards == manifest.shards);
  CHECK(back->num_samples() == 300);
  CHECK_FALSE(back->newer_minor);
  CHECK(back->fingerprint() == manifest.fingerprint());
  CHECK(some_manifest(4).fingerprint() != manifest.fingerprint());
}

TEST_CASE("every flipped bit and every cut of a manifest is found") {
  const Buffer whole = encode_manifest(some_manifest());
  Buffer flipped = whole;
  for (std::size_t at = 0; at < whole.size(); ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      flipped[at] = static_cast<std::uint8_t>(whole[at] ^ (1u << bit));
      const Status status = decode_manifest(flipped, Limits()).status();
      CHECK(status.code() == Code::kCorrupt);
      CHECK(mentions(status, "manifest"));
    }
    flipped[at] = whole[at];
  }
  for (std::size_t length = 0; length < whole.size(); ++length) {
    const Code code = decode({whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length)});
    CHECK((code == Code::kTruncated || code == Code::kCorrupt));
  }
}

TEST_CASE("with a right hash, the contents are still checked") {
  const Buffer whole = encode_manifest(some_manifest());
  const std::size_t schema = load_le<std::uint32_t>(whole.data() + 60);
  const std::size_t shard = 64 + schema;
  const auto with = [&](std::size_t at, auto value) {
    Buffer bytes = whole;
    store_le(bytes.data() + at, value);
    return decode(seal(bytes));
  };
  CHECK(decode(seal(whole)) == Code::kOk);
  CHECK(with(12, std::uint32_t{1}) == Code::kCorrupt);    // reserved
  CHECK(with(48, std::uint64_t{301}) == Code::kCorrupt);  // samples
  CHECK(with(56, std::uint32_t{4}) == Code::kCorrupt);    // shards
  CHECK(with(56, std::uint32_t{0x7FFFFFFF}) == Code::kLimitExceeded);
  CHECK(with(60, std::uint32_t{0x7FFFFFFF}) == Code::kCorrupt);  // schema bytes
  CHECK(with(shard + 2, std::uint8_t{'.'}) == Code::kCorrupt);   // file name
  CHECK(with(shard + 5, std::uint8_t{'/'}) == Code::kCorrupt);
  CHECK(with(shard + 5, std::uint8_t{0}) == Code::kCorrupt);
  CHECK(with(shard + 5, std::uint8_t{0xFF}) == Code::kCorrupt);
  CHECK(with(shard, std::uint16_t{0}) == Code::kCorrupt);
  CHECK(with(32, std::uint64_t{0}) == Code::kCorrupt);  // version
  Buffer extra = whole;
  extra.insert(extra.end() - 8, 5, 0);
  CHECK(decode(seal(extra)) == Code::kCorrupt);
  Manifest wrap = some_manifest();
  wrap.shards[0].num_samples = wrap.shards[1].num_samples = 1ull << 63;
  CHECK(decode(encode_manifest(wrap)) == Code::kCorrupt);
}

TEST_CASE("another major is refused by name, a newer minor is read") {
  Buffer bytes = encode_manifest(some_manifest());
  store_le(bytes.data() + 8, std::uint16_t{2});
  const Status status = decode_manifest(seal(bytes), Limits()).status();
  CHECK(status.code() == Code::kUnsupported);
  CHECK(mentions(status, "format version 2.0; this library reads 1.x"));
  store_le(bytes.data() + 8, std::uint16_t{1});
  store_le(bytes.data() + 10, std::uint16_t{9});
  const Result<Manifest> newer = decode_manifest(seal(bytes), Limits());
  REQUIRE(newer.is_ok());
  CHECK(newer->newer_minor);
}

TEST_CASE("random damage with a right hash never crashes") {
  const Buffer whole = encode_manifest(some_manifest());
  std::mt19937 random(5);
  for (int round = 0; round < 20000; ++round) {
    Buffer damaged = whole;
    for (int i = 0; i < 3; ++i) damaged[12 + random() % (damaged.size() - 12)] = static_cast<std::uint8_t>(random());
    const Result<Manifest> manifest = decode_manifest(seal(damaged), Limits());
    if (manifest) CHECK(manifest->schema.validate(Limits()).is_ok());
  }
}

TEST_CASE("versions of a directory: only exact names count, in the order of numbers") {
  TempDir dir;
  CHECK(manifest_name(12) == "manifest-0000000012.hrm");
  CHECK(list_versions(dir / "absent").status().code() == Code::kNotFound);
  CHECK(list_versions(dir.path())->empty());
  const Status none = read_manifest(dir.path(), 0, Limits()).status();
  CHECK(none.code() == Code::kNotFound);
  CHECK(mentions(none, "never committed"));
  for (const std::uint64_t version : {2ull, 1ull, 12345678901ull}) REQUIRE(publish_manifest(dir.path(), some_manifest(version)).is_ok());
  for (const std::string name : {"manifest-7.hrm", "manifest-0000000000.hrm", "manifest-000000000x.hrm", ".manifest-0000000009.hrm.1.tmp",
                                 "manifest-0000000009.hrm.bak"}) {
    write_file(dir / name, {});
  }
  CHECK(*list_versions(dir.path()) == std::vector<std::uint64_t>{1, 2, 12345678901ull});
  CHECK(read_manifest(dir.path(), 0, Limits())->version == 12345678901ull);
  CHECK(read_manifest(dir.path(), 2, Limits())->version == 2);
  const Status absent = read_manifest(dir.path(), 3, Limits()).status();
  CHECK(absent.code() == Code::kNotFound);
  CHECK(mentions(absent, "versions are: 1 2 12345678901"));
}

TEST_CASE("a version is published once, and a damaged or renamed one is named") {
  TempDir dir;
  REQUIRE(publish_manifest(dir.path(), some_manifest(1)).is_ok());
  CHECK(publish_manifest(dir.path(), some_manifest(1)).code() == Code::kAlreadyExists);
  REQUIRE(std::rename((dir / manifest_name(1)).c_str(), (dir / manifest_name(5)).c_str()) == 0);
  const Status renamed = read_manifest(dir.path(), 0, Limits()).status();
  CHECK(renamed.code() == Code::kCorrupt);
  CHECK(mentions(renamed, "says version 1; expected 5"));
  write_file(dir / manifest_name(6), {});
  const Status empty = read_manifest(dir.path(), 0, Limits()).status();
  CHECK(empty.code() == Code::kTruncated);
  CHECK(mentions(empty, dir / manifest_name(6)));
  Limits tight;
  tight.manifest_bytes = 10;
  CHECK(read_manifest(dir.path(), 5, tight).status().code() == Code::kLimitExceeded);
}

}  // namespace headrace::format
