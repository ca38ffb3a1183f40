// A small dataset with a field of each kind, and what its samples are. Tests only.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "headrace/format/dataset_writer.h"

namespace headrace {

inline format::Field named(const std::string& name, format::Kind kind, const char* dtype, std::vector<std::uint64_t> shape) {
  format::Field field;
  field.name = name;
  field.kind = kind;
  if (kind == format::Kind::kTensor || kind == format::Kind::kRagged) (void)format::set_dtype(dtype, field).is_ok();
  field.shape = std::move(shape);
  field.block_bytes = 0;
  return field;
}

// Fields: raw (4 float32), packed (int64, zstd + shuffle, nullable every 7th), text (lz4; "sample <i>" repeated i % 4 times),
// list (ragged int16 x 2, i % 3 of them).
inline format::Schema small_schema() {
  format::Schema schema;
  schema.fields.push_back(named("raw", format::Kind::kTensor, "float32", {4}));
  schema.fields.push_back(named("packed", format::Kind::kTensor, "int64", {}));
  schema.fields.back().codec = codec::Codec::kZstd;
  schema.fields.back().level = 3;
  schema.fields.back().filter = codec::Filter::kShuffle;
  schema.fields.back().nullable = true;
  schema.fields.push_back(named("text", format::Kind::kString, "", {}));
  schema.fields.back().codec = codec::Codec::kLz4;
  schema.fields.push_back(named("list", format::Kind::kRagged, "int16", {2}));
  return schema;
}

inline bool small_valid(std::uint64_t i) { return i % 7 != 0; }
inline std::string small_text(std::uint64_t i) {
  std::string text;
  for (std::uint64_t k = 0; k < i % 4; ++k) text += "sample " + std::to_string(i);
  return text;
}

// Writes samples [0, count) in chunks of `chunk_samples`, several shards if `shard_bytes` is small. Returns whether all went well.
inline Status write_small(const std::string& path, std::uint64_t count, std::uint32_t chunk_samples,
                          std::uint64_t shard_bytes = 1ull << 30) {
  format::WriterOptions options;
  options.chunk_samples = chunk_samples;
  options.shard_bytes = shard_bytes;
  HR_ASSIGN_OR_RETURN(auto writer, format::DatasetWriter::create(path, small_schema(), options));
  std::vector<float> raw;
  std::vector<std::int64_t> packed;
  std::vector<std::uint8_t> valid;
  std::string text;
  std::vector<std::int16_t> list;
  std::vector<std::uint64_t> text_at{0}, list_at{0};
  for (std::uint64_t i = 0; i < count; ++i) {
    for (int k = 0; k < 4; ++k) raw.push_back(static_cast<float>(i) + 0.25F * static_cast<float>(k));
    packed.push_back(small_valid(i) ? static_cast<std::int64_t>(i * 3) : 0);
    valid.push_back(small_valid(i) ? 1 : 0);
    text += small_text(i);
    text_at.push_back(text.size());
    for (std::uint64_t k = 0; k < i % 3 * 2; ++k) list.push_back(static_cast<std::int16_t>(i + k));
    list_at.push_back(list.size() * 2);
  }
  const auto bytes = [](const auto& v) { return Bytes{reinterpret_cast<const std::uint8_t*>(v.data()), v.size() * sizeof(v[0])}; };
  const format::ColumnView columns[] = {{bytes(raw), nullptr, nullptr},
                                        {bytes(packed), nullptr, valid.data()},
                                        {bytes(text), text_at.data(), nullptr},
                                        {bytes(list), list_at.data(), nullptr}};
  HR_RETURN_IF_ERROR(writer->extend(columns, count));
  return writer->commit().status();
}

}  // namespace headrace
