// The schema's bytes. FORMAT.md section 6.
#include <algorithm>

#include "headrace/format/extensions.h"
#include "headrace/format/layout.h"
#include "headrace/format/schema.h"

namespace headrace::format {
namespace {

constexpr std::uint8_t kNullable = 1;
constexpr std::uint8_t kHasDictionary = 2;
constexpr std::uint64_t kMinFieldBytes = 2 + 4 + 8 + 8 + 4;

Status corrupt(const std::string& what) { return {Code::kCorrupt, "schema: " + what}; }

void write_field(const Field& field, ByteWriter& out) {
  out.write(static_cast<std::uint16_t>(field.name.size()));
  out.write_string(field.name);
  out.write(static_cast<std::uint8_t>(field.kind));
  out.write(static_cast<std::uint8_t>(field.dtype));
  out.write(static_cast<std::uint8_t>((field.nullable ? kNullable : 0) | (field.dictionary ? kHasDictionary : 0)));
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
  if (flags > (kNullable | kHasDictionary)) return corrupt(strf("field '%s': flags are %u; expected 0 to 3", field->name.c_str(), flags));
  field->nullable = (flags & kNullable) != 0;
  field->dictionary = (flags & kHasDictionary) != 0;
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

// u32 count, then for each (u32 field, u32 bytes, bytes), fields growing.
void write_dictionaries(const Dictionaries& dictionaries, ByteWriter& out) {
  ByteWriter content;
  std::uint32_t count = 0;
  for (const auto& dictionary : dictionaries) count += dictionary != nullptr ? 1 : 0;
  content.write(count);
  for (std::uint32_t field = 0; field < dictionaries.size(); ++field) {
    if (dictionaries[field] == nullptr) continue;
    content.write(field);
    content.write(static_cast<std::uint32_t>(dictionaries[field]->bytes().size()));
    content.write_bytes(dictionaries[field]->bytes());
  }
  out.write(kDictionariesTag);
  out.write(kCriticalExtension);
  out.write(static_cast<std::uint32_t>(content.bytes().size()));
  out.write_bytes(content.bytes());
}

Status read_dictionary(ByteReader& reader, const Schema& schema, const Limits& limits, Dictionaries* out) {
  const auto number = reader.read<std::uint32_t>();
  const auto bytes = reader.read<std::uint32_t>();
  if (!reader.ok()) return corrupt("the list of dictionaries is cut");
  if (number >= schema.fields.size() || !schema.fields[number].dictionary || (*out)[number] != nullptr)
    return corrupt(strf("there is a dictionary for field number %u, which says that it has none, or has one", number));
  const char* name = schema.fields[number].name.c_str();
  if (bytes > limits.dictionary_bytes)
    return {Code::kLimitExceeded,
            strf("schema: field '%s': a dictionary of %u bytes; the limit is %u", name, bytes, limits.dictionary_bytes)};
  const Bytes content = reader.read_bytes(bytes);
  if (!reader.ok()) return corrupt(strf("field '%s': its dictionary of %u bytes reaches beyond the end", name, bytes));
  Result<std::shared_ptr<const codec::Dictionary>> made = codec::Dictionary::make(content);
  if (!made) return made.status().with_context(strf("schema: field '%s'", name));
  (*out)[number] = std::move(made).value();
  return {};
}

// Extensions of a shard's schema: dictionaries, and what is not known and not critical.
Status read_extensions(ByteReader& reader, const Schema& schema, const Limits& limits, Dictionaries* out) {
  out->assign(schema.fields.size(), nullptr);
  const auto count = reader.read<std::uint32_t>();
  for (std::uint32_t i = 0; i < count && reader.ok(); ++i) {
    const auto tag = reader.read<std::uint16_t>();
    const auto flags = reader.read<std::uint16_t>();
    const auto bytes = reader.read<std::uint32_t>();
    const Bytes content = reader.read_bytes(bytes);
    if (!reader.ok()) break;
    if (tag != kDictionariesTag) {
      HR_RETURN_IF_ERROR(check_unknown_extension(tag, flags).with_context("schema"));
      continue;
    }
    ByteReader list(content);
    const auto listed = list.read<std::uint32_t>();
    for (std::uint32_t d = 0; d < listed; ++d) HR_RETURN_IF_ERROR(read_dictionary(list, schema, limits, out));
    if (!list.ok() || list.remaining() != 0) return corrupt("the list of dictionaries is not as long as its extension");
  }
  if (!reader.ok()) return corrupt("the list of extensions is cut");
  for (std::size_t f = 0; f < schema.fields.size(); ++f) {
    if (schema.fields[f].dictionary && (*out)[f] == nullptr)
      return corrupt(strf("field '%s' needs a dictionary and the shard has none for it", schema.fields[f].name.c_str()));
  }
  return {};
}

}  // namespace

std::vector<std::uint8_t> encode_schema(const Schema& schema, const Dictionaries& dictionaries) {
  ByteWriter out;
  out.write(static_cast<std::uint32_t>(schema.fields.size()));
  out.write(static_cast<std::uint8_t>(schema.container));
  for (int i = 0; i < 3; ++i) out.write(std::uint8_t{0});
  out.write(static_cast<std::uint32_t>(schema.metadata.size()));
  out.write_string(schema.metadata);
  for (const Field& field : schema.fields) write_field(field, out);
  const bool any = std::any_of(dictionaries.begin(), dictionaries.end(), [](const auto& dictionary) { return dictionary != nullptr; });
  out.write(std::uint32_t{any});  // extensions
  if (any) write_dictionaries(dictionaries, out);
  return std::move(out.bytes());
}

Result<Schema> decode_schema(Bytes bytes, const Limits& limits, Dictionaries* dictionaries) {
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
  const Status valid = schema.validate(limits);
  if (valid.code() == Code::kInvalidArgument) return corrupt(valid.message());
  HR_RETURN_IF_ERROR(valid);
  if (dictionaries != nullptr) {
    HR_RETURN_IF_ERROR(read_extensions(reader, schema, limits, dictionaries));
  } else {
    const Status extensions = skip_extensions(reader);
    if (extensions.code() == Code::kTruncated) return corrupt(extensions.message());
    HR_RETURN_IF_ERROR(extensions.with_context("schema"));
  }
  if (reader.remaining() != 0) return corrupt(strf("%zu bytes stand after its end", reader.remaining()));
  return schema;
}

}  // namespace headrace::format
