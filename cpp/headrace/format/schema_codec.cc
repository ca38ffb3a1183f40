// The schema's bytes. FORMAT.md section 6.
#include "headrace/format/extensions.h"
#include "headrace/format/schema.h"

namespace headrace::format {
namespace {

constexpr std::uint64_t kMinFieldBytes = 2 + 4 + 8 + 8 + 4;

Status corrupt(const std::string& what) { return {Code::kCorrupt, "schema: " + what}; }

void write_field(const Field& field, ByteWriter& out) {
  out.write(static_cast<std::uint16_t>(field.name.size()));
  out.write_string(field.name);
  out.write(static_cast<std::uint8_t>(field.kind));
  out.write(static_cast<std::uint8_t>(field.dtype));
  out.write(static_cast<std::uint8_t>(field.nullable ? 1 : 0));
  out.write(static_cast<std::uint8_t>(field.shape.size()));
  out.write(field.itemsize);
  out.write(field.unit);
  for (const std::uint64_t dim : field.shape) out.write(dim);
  out.write(static_cast<std::uint8_t>(field.codec));
  out.write(static_cast<std::uint8_t>(field.filter));
  out.write(static_cast<std::int16_t>(field.level));
  out.write(field.block_bytes);
  out.write(static_cast<std::uint32_t>(field.metadata.size()));
  out.write_string(field.metadata);
}

// Text of a declared length, checked against its limit before it is copied.
Status read_text(ByteReader& reader, std::uint32_t length, std::uint32_t limit, const char* what, std::string* out) {
  if (length > limit) return {Code::kLimitExceeded, strf("schema: %s has %u bytes; the limit is %u", what, length, limit)};
  *out = reader.read_string(length);
  return reader.ok() ? Status::ok() : corrupt(strf("%s of %u bytes reaches beyond the end", what, length));
}

Status read_field(ByteReader& reader, const Limits& limits, Field* field) {
  HR_RETURN_IF_ERROR(read_text(reader, reader.read<std::uint16_t>(), limits.name_bytes, "a field's name", &field->name));
  field->kind = static_cast<Kind>(reader.read<std::uint8_t>());
  field->dtype = static_cast<DType>(reader.read<std::uint8_t>());
  const auto flags = reader.read<std::uint8_t>();
  if (flags > 1) return corrupt(strf("field '%s': flags are %u; expected 0 or 1", field->name.c_str(), flags));
  field->nullable = flags == 1;
  const auto dims = reader.read<std::uint8_t>();
  if (dims > limits.dims)
    return {Code::kLimitExceeded, strf("schema: field '%s': %u dimensions; the limit is %u", field->name.c_str(), dims, limits.dims)};
  field->itemsize = reader.read<std::uint32_t>();
  field->unit = reader.read<std::uint32_t>();
  for (unsigned i = 0; i < dims; ++i) field->shape.push_back(reader.read<std::uint64_t>());
  field->codec = static_cast<codec::Codec>(reader.read<std::uint8_t>());
  field->filter = static_cast<codec::Filter>(reader.read<std::uint8_t>());
  field->level = reader.read<std::int16_t>();
  field->block_bytes = reader.read<std::uint32_t>();
  return read_text(reader, reader.read<std::uint32_t>(), limits.metadata_bytes, "a field's metadata", &field->metadata);
}

}  // namespace

std::vector<std::uint8_t> encode_schema(const Schema& schema) {
  ByteWriter out;
  out.write(static_cast<std::uint32_t>(schema.fields.size()));
  out.write(static_cast<std::uint8_t>(schema.container));
  for (int i = 0; i < 3; ++i) out.write(std::uint8_t{0});
  out.write(static_cast<std::uint32_t>(schema.metadata.size()));
  out.write_string(schema.metadata);
  for (const Field& field : schema.fields) write_field(field, out);
  out.write(std::uint32_t{0});  // extensions
  return std::move(out.bytes());
}

Result<Schema> decode_schema(Bytes bytes, const Limits& limits) {
  ByteReader reader(bytes);
  Schema schema;
  const auto count = reader.read<std::uint32_t>();
  schema.container = static_cast<Container>(reader.read<std::uint8_t>());
  for (int i = 0; i < 3; ++i) {
    if (reader.read<std::uint8_t>() != 0) return corrupt("bytes 5 to 7 are not zero");
  }
  if (count > limits.fields) return Status(Code::kLimitExceeded, strf("schema: %u fields; the limit is %u", count, limits.fields));
  HR_RETURN_IF_ERROR(read_text(reader, reader.read<std::uint32_t>(), limits.metadata_bytes, "metadata", &schema.metadata));
  if (count > reader.remaining() / kMinFieldBytes) return corrupt(strf("%u fields do not fit its %zu bytes", count, bytes.size()));
  schema.fields.resize(count);
  for (Field& field : schema.fields) HR_RETURN_IF_ERROR(read_field(reader, limits, &field));
  const Status extensions = skip_extensions(reader);
  if (extensions.code() == Code::kTruncated) return corrupt(extensions.message());
  HR_RETURN_IF_ERROR(extensions.with_context("schema"));
  if (reader.remaining() != 0) return corrupt(strf("%zu bytes stand after its end", reader.remaining()));
  const Status valid = schema.validate(limits);
  if (valid.code() == Code::kInvalidArgument) return corrupt(valid.message());
  HR_RETURN_IF_ERROR(valid);
  return schema;
}

}  // namespace headrace::format
