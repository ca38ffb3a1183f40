#include "headrace/format/abandoned_files.h"

#include <algorithm>
#include <csignal>

#include "format/dataset_fixture.h"
#include "in_child.h"

namespace headrace::format {
namespace {

using Names = std::vector<std::string>;

Schema bytes_schema() { return make_schema({make_field("x", Kind::kTensor, "uint8", {128})}); }

// Chunks of 128 samples, shards of two chunks.
WriterOptions small(bool append = false) {
  WriterOptions options;
  options.append = append;
  options.chunk_samples = 128;
  options.shard_bytes = 2 * 128 * 128;
  return options;
}

Status put(DatasetWriter& writer, std::uint64_t chunks) { return extend(writer, {{Buffer(chunks * 128 * 128, 7), {}, {}}}, chunks * 128); }

void write_version(const std::string& path, bool append = false) {
  const auto writer = make_writer(path, bytes_schema(), small(append));
  REQUIRE(put(*writer, 2).is_ok());
  REQUIRE(writer->commit().is_ok());
}

Names sorted_files(const std::string& path) {
  Names names = files_of(path);
  std::sort(names.begin(), names.end());
  return names;
}

bool is_temporary(const std::string& name) { return name.ends_with(".tmp"); }

// A writer that is killed with two shards published and a third under way.
void write_and_die(const std::string& path, bool append) {
  const auto temporaries = [&] {
    const Names names = std::filesystem::exists(path) ? files_of(path) : Names();
    return std::count_if(names.begin(), names.end(), is_temporary);
  };
  const auto before = temporaries();
  const int ended = in_child([&] {
    auto writer = DatasetWriter::create(path, bytes_schema(), small(append));
    if (!writer || !put(**writer, 5).is_ok()) return 1;
    while (temporaries() != before + 1 || (*writer)->progress().shards != 2) usleep(1000);
    raise(SIGKILL);
    return 2;
  });
  REQUIRE(ended == 100 + SIGKILL);
}

Names names_of(const std::vector<AbandonedFile>& files) {
  Names names;
  for (const AbandonedFile& file : files) names.push_back(file.name);
  return names;
}

}  // namespace

TEST_CASE("a dataset without remains has none, and one that is not there is no dataset") {
  TempDir dir;
  write_version(dir / "d");
  const auto found = find_abandoned_files(dir / "d", true, Limits());
  REQUIRE(found.is_ok());
  CHECK(found->files.empty());
  CHECK(found->uncertain.empty());
  CHECK_FALSE(found->writers);
  CHECK(find_abandoned_files(dir / "none", false, Limits()).status().code() == Code::kNotFound);
}

#if !defined(__SANITIZE_THREAD__)
TEST_CASE("what a killed writer left is found, and removed when that is asked for; every version stays") {
  TempDir dir;
  const std::string path = dir / "d";
  write_version(path);
  write_version(path, true);
  const Names whole = sorted_files(path);
  write_and_die(path, true);
  Names left;
  for (const std::string& name : sorted_files(path)) {
    if (!std::binary_search(whole.begin(), whole.end(), name)) left.push_back(name);
  }
  CHECK(left.size() == 3);
  const auto seen = find_abandoned_files(path, false, Limits());
  REQUIRE(seen.is_ok());
  CHECK(names_of(seen->files) == left);
  for (const AbandonedFile& file : seen->files) CHECK(file.bytes == std::filesystem::file_size(path + "/" + file.name));
  CHECK(sorted_files(path).size() == whole.size() + 3);
  const auto removed = find_abandoned_files(path, true, Limits());
  REQUIRE(removed.is_ok());
  CHECK(names_of(removed->files) == left);
  CHECK(sorted_files(path) == whole);
  CHECK(read_dataset(path, 1).manifest.num_samples() == 256);
  CHECK(read_dataset(path, 2).manifest.num_samples() == 512);
}

TEST_CASE("nothing of a writer that lives is taken, though another died beside it") {
  TempDir dir;
  const std::string path = dir / "d";
  write_version(path);
  const auto living = make_writer(path, bytes_schema(), small(true));
  REQUIRE(put(*living, 3).is_ok());
  while (living->progress().shards != 1 || living->progress().stored_bytes <= 3 * 128 * 128) usleep(1000);
  const Names with_living = sorted_files(path);
  write_and_die(path, true);
  const auto removed = find_abandoned_files(path, true, Limits());
  REQUIRE(removed.is_ok());
  CHECK(removed->writers);
  REQUIRE(removed->files.size() == 1);  // Whose the shards are cannot be told now.
  CHECK(is_temporary(removed->files[0].name));
  const Names after = sorted_files(path);
  CHECK(std::includes(after.begin(), after.end(), with_living.begin(), with_living.end()));
  CHECK(after.size() == with_living.size() + 2);
  REQUIRE(*living->commit() == 2);
  CHECK(read_dataset(path).manifest.num_samples() == 256 + 3 * 128);
  const auto later = find_abandoned_files(path, true, Limits());
  REQUIRE(later.is_ok());
  CHECK(later->files.size() == 2);
  CHECK(read_dataset(path).manifest.num_samples() == 256 + 3 * 128);
}

TEST_CASE("the next writer takes the temporary files of dead ones away") {
  TempDir dir;
  const std::string path = dir / "d";
  write_and_die(path, false);
  const Names left = sorted_files(path);
  REQUIRE(std::count_if(left.begin(), left.end(), is_temporary) == 1);
  const auto next = make_writer(path, bytes_schema(), small());
  const Names cleared = sorted_files(path);
  CHECK(std::none_of(cleared.begin(), cleared.end(), is_temporary));
  CHECK(cleared.size() == 2);
  next->abort();
  CHECK(sorted_files(path) == cleared);
}

TEST_CASE("what a damaged manifest names is not known, so shards stay") {
  TempDir dir;
  const std::string path = dir / "d";
  write_version(path);
  write_version(path, true);
  Buffer bytes = read_file(path + "/" + manifest_name(1));
  bytes[50] ^= 1;
  write_file(path + "/" + manifest_name(1), bytes);
  const Names before = sorted_files(path);
  CHECK(find_abandoned_files(path, true, Limits()).status().code() == Code::kCorrupt);
  CHECK(sorted_files(path) == before);
}
#endif

}  // namespace headrace::format
