// What the format tests share: small fields and columns, whole files in memory, and reading pages back block by block.
#pragma once

#include <doctest/doctest.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "headrace/format/layout.h"
#include "headrace/format/schema.h"
#include "headrace/format/shard_reader.h"
#include "headrace/format/shard_writer.h"
#include "temp_dir.h"

namespace headrace::format {

using Buffer = std::vector<std::uint8_t>;

inline Buffer read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  REQUIRE(file.good());
  return Buffer(std::istreambuf_iterator<char>(file), {});
}

// A new file each time: some file systems flush one that is truncated and written again.
inline void write_file(const std::string& path, Bytes bytes) {
  std::filesystem::remove(path);
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  REQUIRE(file.good());
}

template <typename T>
Buffer bytes_of(const std::vector<T>& values) {
  Buffer out(values.size() * sizeof(T));
  for (std::size_t i = 0; i < values.size(); ++i) store_le(out.data() + i * sizeof(T), values[i]);
  return out;
}

inline Field make_field(const std::string& name, Kind kind, const std::string& dtype = "uint8", std::vector<std::uint64_t> shape = {}) {
  Field field;
  field.name = name;
  field.kind = kind;
  REQUIRE(set_dtype(dtype, field).is_ok());
  field.shape = std::move(shape);
  return field;
}

inline Field with_storage(Field field, codec::Codec codec, codec::Filter filter, std::uint32_t block_bytes) {
  field.codec = codec;
  field.filter = filter;
  field.level = codec::default_level(codec);
  field.block_bytes = block_bytes;
  return field;
}

inline Schema make_schema(std::vector<Field> fields) {
  Schema schema;
  schema.fields = std::move(fields);
  return schema;
}

inline ColumnChunk text_column(const std::vector<std::string>& texts) {
  ColumnChunk column;
  column.offsets.push_back(0);
  for (const std::string& text : texts) {
    column.values.insert(column.values.end(), text.begin(), text.end());
    column.offsets.push_back(column.values.size());
  }
  return column;
}

inline codec::Uuid test_uuid(std::uint8_t seed = 1) {
  codec::Uuid uuid;
  for (std::size_t i = 0; i < uuid.size(); ++i) uuid[i] = static_cast<std::uint8_t>(seed * 17 + i);
  return uuid;
}

struct TestChunk {
  std::uint32_t num_samples = 0;
  std::vector<ColumnChunk> columns;
};

// Writes a shard of these chunks; returns its path.
inline std::string write_shard(const std::string& directory, const Schema& schema, std::uint32_t chunk_samples,
                               const std::vector<TestChunk>& chunks, ShardEntry* entry = nullptr, const codec::Uuid& uuid = test_uuid()) {
  auto writer = ShardWriter::create(directory, schema, uuid, chunk_samples);
  REQUIRE_MESSAGE(writer.is_ok(), writer.status().message());
  std::uint64_t number = 0;
  for (const TestChunk& chunk : chunks) {
    auto encoded = encode_chunk(schema, uuid, number++, chunk.num_samples, chunk.columns, Limits());
    REQUIRE_MESSAGE(encoded.is_ok(), encoded.status().message());
    REQUIRE((*writer)->append(std::move(encoded).value()).is_ok());
  }
  auto finished = (*writer)->finish();
  REQUIRE_MESSAGE(finished.is_ok(), finished.status().message());
  if (entry != nullptr) *entry = *finished;
  return directory + "/" + finished->file_name;
}

// Decodes one page by the public interface, checking each table, hash and offset on the way.
inline ColumnChunk read_page(const Shard& shard, const Buffer& file, std::uint64_t chunk, std::uint32_t field) {
  const PageRef page = shard.page(chunk, field);
  const Bytes table = Bytes(file).subspan(page.offset, page.num_blocks * kBlockEntryBytes);
  REQUIRE(shard.check_table(chunk, field, table).is_ok());
  Buffer sections[3];
  std::vector<std::uint8_t> scratch;
  for (int s = 0; s < 3; ++s) {
    const SectionRef& section = page.sections[s];
    for (std::uint32_t b = section.first_block; b < section.first_block + section.num_blocks; ++b) {
      const BlockRef ref = Shard::block(page, table, b);
      const Bytes stored = Bytes(file).subspan(ref.offset, ref.stored_bytes);
      REQUIRE(shard.check_block(chunk, field, b, ref, stored).is_ok());
      Buffer out(ref.decoded_bytes);
      if (s == 2) {
        REQUIRE(shard.decode_block(chunk, field, b, ref, stored, out, scratch).is_ok());
      } else {
        out.assign(stored.begin(), stored.end());
      }
      sections[s].insert(sections[s].end(), out.begin(), out.end());
    }
    REQUIRE(sections[s].size() == section.decoded_bytes);
  }
  ColumnChunk column;
  column.values = sections[2];
  for (std::uint64_t i = 0; shard.schema().fields[field].nullable && i < page.num_samples; ++i)
    column.valid.push_back(sections[0][i / 8] >> (i % 8) & 1);
  if (page.offset_width != 0) {
    REQUIRE(shard.check_offsets(chunk, field, page, 0, sections[1]).is_ok());
    for (std::uint64_t i = 0; i <= page.num_samples; ++i) {
      column.offsets.push_back(page.offset_width == 4 ? load_le<std::uint32_t>(sections[1].data() + i * 4)
                                                      : load_le<std::uint64_t>(sections[1].data() + i * 8));
    }
  }
  return column;
}

inline bool same_column(const ColumnChunk& a, const ColumnChunk& b) {
  return a.values == b.values && a.offsets == b.offsets && a.valid == b.valid;
}

inline bool mentions(const Status& status, const std::string& text) { return status.message().find(text) != std::string::npos; }

}  // namespace headrace::format
