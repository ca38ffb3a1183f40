#include <pybind11/stl.h>

#include <optional>

#include "headrace/bindings/raise.h"
#include "headrace/bindings/register.h"
#include "headrace/codec/codec.h"
#include "headrace/format/schema.h"

namespace py = pybind11;

namespace headrace::bindings {
namespace {

using format::Field;
using format::Kind;
using format::Schema;

Field make_field(const std::string& name, const std::string& kind, const std::string& dtype, const std::vector<std::uint64_t>& shape,
                 bool nullable, const std::string& codec, const std::string& filter, std::optional<int> level, std::uint32_t block_bytes,
                 const std::string& metadata, bool dictionary) {
  Field field;
  field.name = name;
  field.kind = unwrap(format::kind_from_name(kind));
  if (field.kind == Kind::kTensor || field.kind == Kind::kRagged) check(format::set_dtype(dtype, field));
  field.shape = shape;
  field.nullable = nullable;
  field.codec = unwrap(codec::codec_from_name(codec));
  field.filter = unwrap(codec::filter_from_name(filter));
  field.level = level.value_or(codec::default_level(field.codec));
  field.block_bytes = block_bytes;
  field.metadata = metadata;
  field.dictionary = dictionary;
  Schema alone;
  alone.fields.push_back(field);
  if (alone.fields[0].block_bytes == 0) alone.fields[0].block_bytes = 65536 / field.element_bytes() * field.element_bytes();
  if (alone.fields[0].block_bytes == 0) alone.fields[0].block_bytes = field.element_bytes();
  check(alone.validate({}));
  return field;
}

py::tuple field_state(const Field& f) {
  return py::make_tuple(f.name, format::kind_name(f.kind), f.is_variable() && f.kind != Kind::kRagged ? "uint8" : format::dtype_name(f),
                        f.shape, f.nullable, codec::codec_name(f.codec), codec::filter_name(f.filter), f.level, f.block_bytes, f.metadata,
                        f.dictionary);
}

std::string field_repr(const Field& f) {
  std::string text = "Field('" + f.name + "', kind='" + format::kind_name(f.kind) + "'";
  if (f.kind == Kind::kTensor || f.kind == Kind::kRagged) {
    text += ", dtype='" + format::dtype_name(f) + "', shape=" + std::string(py::str(py::tuple(py::cast(f.shape))));
  }
  if (f.nullable) text += ", nullable=True";
  if (f.codec != codec::Codec::kNone) text += std::string(", codec='") + codec::codec_name(f.codec) + "', level=" + std::to_string(f.level);
  if (f.dictionary) text += ", dictionary=True";
  if (f.filter != codec::Filter::kNone) text += std::string(", filter='") + codec::filter_name(f.filter) + "'";
  return text + ")";
}

Schema make_schema(const std::vector<Field>& fields, const std::string& container, const std::string& metadata) {
  Schema schema{unwrap(format::container_from_name(container)), fields, metadata};
  Schema checked = schema;
  for (Field& field : checked.fields) {
    if (field.block_bytes == 0) field.block_bytes = std::max(1u, field.element_bytes());
  }
  check(checked.validate({}));
  return schema;
}

std::vector<std::string> schema_names(const Schema& schema) {
  std::vector<std::string> names;
  for (const Field& field : schema.fields) names.push_back(field.name);
  return names;
}

std::string schema_repr(const Schema& schema) {
  std::string text = std::string("Schema(container='") + format::container_name(schema.container) + "', fields=[";
  for (const Field& field : schema.fields) text += "\n  " + field_repr(field) + ",";
  return text + (schema.fields.empty() ? "])" : "\n])");
}

}  // namespace

void register_format(py::module_& m) {
  py::class_<Field>(
      m, "Field",
      "One named part of a sample. Immutable; compares by value; picklable.\n\n"
      "kind: \"tensor\" (fixed shape), \"ragged\" (variable first dimension, `shape` are the others), \"bytes\", \"string\", "
      "\"image\".\n"
      "dtype: numpy's names (\"float32\", \"datetime64[ns]\", \"S12\", \"U7\" with 7 code points) and \"bfloat16\"; ignored for "
      "bytes, string, image.\n"
      "codec: \"none\", \"lz4\", \"lz4hc\", \"zstd\"; filter: \"none\", \"shuffle\", \"delta\", \"delta+shuffle\"; "
      "block_bytes 0: chosen by the writer.\n"
      "Raises ValueError for a combination that the format does not have, naming the field.")
      .def(py::init(&make_field), py::arg("name"), py::arg("kind") = "tensor", py::arg("dtype") = "uint8",
           py::arg("shape") = std::vector<std::uint64_t>{}, py::arg("nullable") = false, py::arg("codec") = "none",
           py::arg("filter") = "none", py::arg("level") = py::none(), py::arg("block_bytes") = 0, py::arg("metadata") = "",
           py::arg("dictionary") = false)
      .def_readonly("name", &Field::name)
      .def_property_readonly("kind", [](const Field& f) { return format::kind_name(f.kind); })
      .def_property_readonly("dtype", &format::dtype_name)
      .def_property_readonly("shape", [](const Field& f) { return py::tuple(py::cast(f.shape)); })
      .def_readonly("nullable", &Field::nullable)
      .def_property_readonly("codec", [](const Field& f) { return codec::codec_name(f.codec); })
      .def_property_readonly("filter", [](const Field& f) { return codec::filter_name(f.filter); })
      .def_readonly("level", &Field::level)
      .def_readonly("block_bytes", &Field::block_bytes)
      .def_readonly("metadata", &Field::metadata)
      .def_readonly("dictionary", &Field::dictionary)
      .def_readonly("itemsize", &Field::itemsize)
      .def_property_readonly("row_bytes", &Field::row_bytes)
      .def(
          "__eq__", [](const Field& a, const Field& b) { return a == b; }, py::is_operator())
      .def("__hash__", [](const Field& f) { return py::hash(field_state(f)[0]); })
      .def("__repr__", &field_repr)
      .def(py::pickle(&field_state, [](const py::tuple& s) {
        return make_field(s[0].cast<std::string>(), s[1].cast<std::string>(), s[2].cast<std::string>(),
                          s[3].cast<std::vector<std::uint64_t>>(), s[4].cast<bool>(), s[5].cast<std::string>(), s[6].cast<std::string>(),
                          s[7].cast<int>(), s[8].cast<std::uint32_t>(), s[9].cast<std::string>(), s[10].cast<bool>());
      }));
  py::class_<Schema>(m, "Schema",
                     "The fields of a dataset, in order. Immutable, picklable.\n\n"
                     "container: \"dict\", \"tuple\" or \"single\", what a sample is; metadata: JSON text or empty.")
      .def(py::init(&make_schema), py::arg("fields"), py::arg("container") = "dict", py::arg("metadata") = "")
      .def_readonly("fields", &Schema::fields)
      .def_property_readonly("names", &schema_names)
      .def_property_readonly("container", [](const Schema& s) { return format::container_name(s.container); })
      .def_readonly("metadata", &Schema::metadata)
      .def("__len__", [](const Schema& s) { return s.fields.size(); })
      .def(
          "__eq__", [](const Schema& a, const Schema& b) { return a == b; }, py::is_operator())
      .def("__hash__", [](const Schema& s) { return py::hash(py::tuple(py::cast(schema_names(s)))); })
      .def("__repr__", &schema_repr)
      .def(py::pickle([](const Schema& s) { return py::make_tuple(s.fields, format::container_name(s.container), s.metadata); },
                      [](const py::tuple& s) {
                        return make_schema(s[0].cast<std::vector<Field>>(), s[1].cast<std::string>(), s[2].cast<std::string>());
                      }));
}

}  // namespace headrace::bindings
