// The fields of a dataset, in order, and their bytes on disk (FORMAT.md section 6).
//
// Plain values; copy them freely.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "headrace/base/bytes.h"
#include "headrace/base/status.h"
#include "headrace/codec/codec.h"
#include "headrace/codec/filter.h"
#include "headrace/format/limits.h"

namespace headrace::format {

enum class Kind : std::uint8_t { kTensor = 0, kRagged = 1, kBytes = 2, kString = 3, kImage = 4 };

enum class DType : std::uint8_t {
  kBool = 0,
  kInt8 = 1,
  kUInt8 = 2,
  kInt16 = 3,
  kUInt16 = 4,
  kInt32 = 5,
  kUInt32 = 6,
  kInt64 = 7,
  kUInt64 = 8,
  kFloat16 = 9,
  kBFloat16 = 10,
  kFloat32 = 11,
  kFloat64 = 12,
  kComplex64 = 13,
  kComplex128 = 14,
  kDateTime64 = 15,
  kTimeDelta64 = 16,
  kFixedBytes = 17,
  kFixedString = 18,
};

enum class Container : std::uint8_t { kDict = 0, kTuple = 1, kSingle = 2 };

const char* kind_name(Kind kind);  // "tensor" "ragged" "bytes" "string" "image"
Result<Kind> kind_from_name(std::string_view name);
const char* container_name(Container container);  // "dict" "tuple" "single"
Result<Container> container_from_name(std::string_view name);

struct Field {
  std::string name;
  Kind kind = Kind::kTensor;
  DType dtype = DType::kUInt8;
  std::uint32_t itemsize = 1;
  std::uint32_t unit = 0;            // dates only: FORMAT.md section 6
  std::vector<std::uint64_t> shape;  // of a sample; for ragged, of one inner sample
  bool nullable = false;
  codec::Codec codec = codec::Codec::kNone;
  codec::Filter filter = codec::Filter::kNone;
  int level = 0;
  std::uint32_t block_bytes = 65536;
  bool dictionary = false;  // zstd: blocks are decoded with the shard's dictionary of this field
  std::string metadata;     // UTF-8 JSON or empty

  // Bytes of a tensor sample, or of one inner sample of a ragged field; 1 for bytes, string and image. Fits: checked by validate().
  std::uint64_t row_bytes() const;
  bool is_variable() const { return kind != Kind::kTensor; }
  // Size that filters work on: itemsize, or half of it for complex numbers.
  std::uint32_t element_bytes() const;
  // Same in all that a delivered sample depends on (name, kind, dtype, unit, shape, nullable).
  bool same_values(const Field& other) const;
  bool operator==(const Field&) const = default;
};

// "float32", "bfloat16", "datetime64[25s]", "S12" (12 bytes), "U7" (7 code points), ...: numpy's spelling.
std::string dtype_name(const Field& field);
// Sets dtype, itemsize and unit of `field`. Errors: kInvalidArgument, listing what is supported.
Status set_dtype(std::string_view name, Field& field);

struct Schema {
  Container container = Container::kDict;
  std::vector<Field> fields;
  std::string metadata;

  // Index of a field, or -1.
  int find(std::string_view name) const;
  bool same_values(const Schema& other) const;
  // Checks everything FORMAT.md demands and the limits. Errors: kInvalidArgument naming the field; kLimitExceeded.
  Status validate(const Limits& limits) const;
  bool operator==(const Schema&) const = default;
};

// One a field; null where there is none. Empty: none at all.
using Dictionaries = std::vector<std::shared_ptr<const codec::Dictionary>>;

// The minor version that a reader must know to read files of this schema.
std::uint16_t minor_of(const Schema& schema);

// Text and bytes: decode checks every size before it allocates; errors are kCorrupt, kLimitExceeded or kUnsupported
// (critical extension). decode(encode(s)) == s.
// A shard's schema carries dictionaries (a critical extension), for exactly the fields that say so; a manifest's has none.
std::vector<std::uint8_t> encode_schema(const Schema& schema, const Dictionaries& dictionaries = {});
Result<Schema> decode_schema(Bytes bytes, const Limits& limits, Dictionaries* dictionaries = nullptr);

}  // namespace headrace::format
