#include "headrace/format/schema.h"

#include <limits>
#include <string>
#include <unordered_set>

#include "headrace/format/utf8.h"

namespace headrace::format {
namespace {

constexpr std::uint32_t kLastUnit = 13;

Bytes bytes_of(const std::string& text) { return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()}; }
bool is_date(DType dtype) { return dtype == DType::kDateTime64 || dtype == DType::kTimeDelta64; }

// Itemsize that a dtype must have; 0 where the user chooses.
std::uint32_t fixed_itemsize(DType dtype) {
  static constexpr std::uint8_t kSizes[] = {1, 1, 1, 2, 2, 4, 4, 8, 8, 2, 2, 4, 8, 8, 16, 8, 8, 0, 0};
  return kSizes[static_cast<std::size_t>(dtype)];
}

Status bad(const Field& field, const std::string& what) {
  return {Code::kInvalidArgument, strf("field '%s': %s", field.name.c_str(), what.c_str())};
}
Status beyond(const Field& field, const std::string& what) {
  return {Code::kLimitExceeded, strf("field '%s': %s", field.name.c_str(), what.c_str())};
}

Status check_metadata(const std::string& metadata, const Limits& limits, const std::string& where) {
  if (metadata.size() > limits.metadata_bytes) {
    return {Code::kLimitExceeded,
            strf("%s: metadata has %zu bytes; the limit is %u", where.c_str(), metadata.size(), limits.metadata_bytes)};
  }
  if (!is_utf8(bytes_of(metadata))) return {Code::kInvalidArgument, strf("%s: metadata is not UTF-8", where.c_str())};
  return {};
}

Status check_name(const Field& field, std::size_t number, const Limits& limits) {
  const std::string& name = field.name;
  if (name.empty()) return {Code::kInvalidArgument, strf("field %zu: the name is empty", number)};
  const std::size_t limit = limits.name_bytes < UINT16_MAX ? limits.name_bytes : UINT16_MAX;
  if (name.size() > limit)
    return {Code::kLimitExceeded, strf("field %zu: the name has %zu bytes; the limit is %zu", number, name.size(), limit)};
  if (!is_utf8(bytes_of(name)) || name.find('\0') != std::string::npos) {
    return {Code::kInvalidArgument, strf("field %zu: the name is not UTF-8 without NUL", number)};
  }
  return {};
}

Status check_dtype(const Field& field, const Limits& limits) {
  if (field.kind > Kind::kImage) return bad(field, strf("kind is %u; expected 0 to 4", static_cast<unsigned>(field.kind)));
  if (field.dtype > DType::kFixedString) return bad(field, strf("dtype is %u; expected 0 to 18", static_cast<unsigned>(field.dtype)));
  const std::uint32_t wanted = fixed_itemsize(field.dtype);
  if (wanted != 0 && field.itemsize != wanted) return bad(field, strf("itemsize is %u; expected %u", field.itemsize, wanted));
  if (field.itemsize == 0) return bad(field, "itemsize is 0; expected at least 1");
  if (field.dtype == DType::kFixedString && field.itemsize % 4 != 0)
    return bad(field, strf("itemsize is %u; UTF-32 needs a multiple of 4", field.itemsize));
  if (field.itemsize > limits.itemsize) return beyond(field, strf("itemsize is %u; the limit is %u", field.itemsize, limits.itemsize));
  if (is_date(field.dtype) ? (field.unit & 0xFFu) > kLastUnit || field.unit >> 8 == 0 : field.unit != 0) {
    return bad(field, strf("unit is %#x; expected a unit from 0 to 13 and a multiple of at least 1 for dates, else 0", field.unit));
  }
  const bool text = field.kind >= Kind::kBytes;
  if (text && (field.dtype != DType::kUInt8 || !field.shape.empty()))
    return bad(field, strf("kind %s needs dtype uint8 and no shape", kind_name(field.kind)));
  return {};
}

Status check_shape(const Field& field, const Limits& limits) {
  const std::size_t limit = limits.dims < UINT8_MAX ? limits.dims : UINT8_MAX;
  if (field.shape.size() > limit) return beyond(field, strf("%zu dimensions; the limit is %zu", field.shape.size(), limit));
  std::uint64_t bytes = field.itemsize;
  for (const std::uint64_t dim : field.shape) {  // Zeros aside, so that no order of dimensions hides an overflow.
    if (dim != 0 && !checked_mul(bytes, dim, &bytes)) return beyond(field, "the bytes of a sample do not fit 64 bits");
  }
  if (field.row_bytes() > limits.sample_bytes) {
    return beyond(field, strf("a sample has %llu bytes; the limit is %llu", static_cast<unsigned long long>(field.row_bytes()),
                              static_cast<unsigned long long>(limits.sample_bytes)));
  }
  if (field.kind == Kind::kRagged && field.row_bytes() == 0)
    return bad(field, "a ragged field cannot have a dimension of 0: its lengths could not be told apart");
  return {};
}

Status check_storage(const Field& field, const Limits& limits) {
  if (field.codec > codec::Codec::kZstd) return bad(field, strf("codec is %u; expected 0 to 3", static_cast<unsigned>(field.codec)));
  if (field.filter > codec::Filter::kBitShuffle)
    return bad(field, strf("filter is %u; expected 0 to 4", static_cast<unsigned>(field.filter)));
  if (field.dictionary && field.codec != codec::Codec::kZstd)
    return bad(field, strf("a dictionary is for codec zstd; codec %s has none", codec::codec_name(field.codec)));
  if (field.level < std::numeric_limits<std::int16_t>::min() || field.level > std::numeric_limits<std::int16_t>::max()) {
    return bad(field, strf("level is %d; the format holds -32768 to 32767", field.level));
  }
  if (field.block_bytes == 0) return bad(field, "block_bytes is 0; expected at least 1");
  if (field.block_bytes > limits.block_bytes)
    return beyond(field, strf("block_bytes is %u; the limit is %u", field.block_bytes, limits.block_bytes));
  if (field.filter == codec::Filter::kNone) return {};
  const char* filter = codec::filter_name(field.filter);
  if (field.kind > Kind::kRagged) return bad(field, strf("filter %s is for numbers; kind %s has none", filter, kind_name(field.kind)));
  const std::uint32_t size = field.element_bytes();
  if (field.block_bytes % size != 0)
    return bad(field, strf("block_bytes is %u; filter %s needs a multiple of %u", field.block_bytes, filter, size));
  const bool delta = field.filter == codec::Filter::kDelta || field.filter == codec::Filter::kDeltaShuffle;
  if (delta && size != 1 && size != 2 && size != 4 && size != 8)
    return bad(field, strf("filter %s needs elements of 1, 2, 4 or 8 bytes; these have %u", filter, size));
  return {};
}

Status check_field(const Field& field, std::size_t number, const Limits& limits) {
  HR_RETURN_IF_ERROR(check_name(field, number, limits));
  HR_RETURN_IF_ERROR(check_dtype(field, limits));
  HR_RETURN_IF_ERROR(check_shape(field, limits));
  HR_RETURN_IF_ERROR(check_storage(field, limits));
  return check_metadata(field.metadata, limits, strf("field '%s'", field.name.c_str()));
}

}  // namespace

std::uint64_t Field::row_bytes() const {
  std::uint64_t bytes = itemsize;
  for (const std::uint64_t dim : shape) bytes *= dim;
  return bytes;
}

std::uint32_t Field::element_bytes() const { return dtype == DType::kComplex64 || dtype == DType::kComplex128 ? itemsize / 2 : itemsize; }

bool Field::same_values(const Field& other) const {
  return name == other.name && kind == other.kind && dtype == other.dtype && itemsize == other.itemsize && unit == other.unit &&
         shape == other.shape && nullable == other.nullable;
}

int Schema::find(std::string_view name) const {
  for (std::size_t i = 0; i < fields.size(); ++i) {
    if (fields[i].name == name) return static_cast<int>(i);
  }
  return -1;
}

bool Schema::same_values(const Schema& other) const {
  if (container != other.container || fields.size() != other.fields.size()) return false;
  for (std::size_t i = 0; i < fields.size(); ++i) {
    if (!fields[i].same_values(other.fields[i])) return false;
  }
  return true;
}

std::uint16_t minor_of(const Schema& schema) {
  for (const Field& field : schema.fields) {
    if (field.dictionary || field.filter == codec::Filter::kBitShuffle) return 1;
  }
  return 0;
}

Status Schema::validate(const Limits& limits) const {
  if (container > Container::kSingle)
    return {Code::kInvalidArgument, strf("schema: container is %u; expected 0 to 2", static_cast<unsigned>(container))};
  if (fields.empty()) return {Code::kInvalidArgument, "schema: there are no fields; expected at least 1"};
  if (fields.size() > limits.fields)
    return {Code::kLimitExceeded, strf("schema: %zu fields; the limit is %u", fields.size(), limits.fields)};
  if (container == Container::kSingle && fields.size() != 1) {
    return {Code::kInvalidArgument, strf("schema: container is single and there are %zu fields; expected 1", fields.size())};
  }
  HR_RETURN_IF_ERROR(check_metadata(metadata, limits, "schema"));
  std::unordered_set<std::string_view> names;
  for (std::size_t i = 0; i < fields.size(); ++i) {
    HR_RETURN_IF_ERROR(check_field(fields[i], i, limits));
    if (!names.insert(fields[i].name).second) return bad(fields[i], "the name is there twice");
  }
  return {};
}

}  // namespace headrace::format
