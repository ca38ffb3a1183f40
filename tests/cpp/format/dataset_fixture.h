// Writing small datasets and reading all of their rows back. Tests only.
#pragma once

#include <string>
#include <vector>

#include "format/fixture.h"
#include "headrace/format/dataset_writer.h"
#include "headrace/format/manifest.h"

namespace headrace::format {

inline ColumnView view_of(const ColumnChunk& column) {
  return {column.values, column.offsets.empty() ? nullptr : column.offsets.data(), column.valid.empty() ? nullptr : column.valid.data()};
}

inline Status extend(DatasetWriter& writer, const std::vector<ColumnChunk>& columns, std::uint64_t rows) {
  std::vector<ColumnView> views;
  for (const ColumnChunk& column : columns) views.push_back(view_of(column));
  return writer.extend(views, rows);
}

inline std::unique_ptr<DatasetWriter> make_writer(const std::string& path, const Schema& schema, const WriterOptions& options) {
  auto writer = DatasetWriter::create(path, schema, options);
  REQUIRE_MESSAGE(writer.is_ok(), writer.status().message());
  return std::move(writer).value();
}

struct Contents {
  Manifest manifest;
  std::vector<ColumnChunk> columns;                       // all rows
  std::vector<std::vector<std::uint32_t>> chunk_samples;  // by shard
};

inline void append_column(ColumnChunk& to, const ColumnChunk& more) {
  const std::uint64_t shift = to.values.size();
  to.values.insert(to.values.end(), more.values.begin(), more.values.end());
  to.valid.insert(to.valid.end(), more.valid.begin(), more.valid.end());
  for (std::size_t i = to.offsets.empty() ? 0 : 1; i < more.offsets.size(); ++i) to.offsets.push_back(more.offsets[i] + shift);
}

inline Contents read_dataset(const std::string& path, std::uint64_t version = 0) {
  Contents all;
  auto manifest = read_manifest(path, version, Limits());
  REQUIRE_MESSAGE(manifest.is_ok(), manifest.status().message());
  all.manifest = std::move(manifest).value();
  all.columns.resize(all.manifest.schema.fields.size());
  for (const ShardEntry& entry : all.manifest.shards) {
    const std::string file = path + "/" + entry.file_name;
    const auto shard = Shard::open(file, Limits(), &entry);
    REQUIRE_MESSAGE(shard.is_ok(), shard.status().message());
    CHECK((*shard)->schema().same_values(all.manifest.schema));
    const Buffer bytes = read_file(file);
    all.chunk_samples.emplace_back();
    for (std::uint64_t c = 0; c < (*shard)->num_chunks(); ++c) {
      all.chunk_samples.back().push_back((*shard)->samples_in_chunk(c));
      for (std::uint32_t f = 0; f < all.columns.size(); ++f) append_column(all.columns[f], read_page(**shard, bytes, c, f));
    }
  }
  return all;
}

inline std::vector<std::string> files_of(const std::string& directory) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) names.push_back(entry.path().filename().string());
  return names;
}

}  // namespace headrace::format
