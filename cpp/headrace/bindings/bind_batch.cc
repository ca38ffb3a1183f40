#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <algorithm>

#include "headrace/bindings/dlpack.h"
#include "headrace/bindings/interpreter_lock.h"
#include "headrace/bindings/raise.h"
#include "headrace/bindings/register.h"
#include "headrace/format/schema.h"
#include "headrace/ops/ascii.h"
#include "headrace/pipeline/batch.h"

namespace py = pybind11;

namespace headrace::bindings {
namespace {

using format::DType;
using format::Field;
using format::Kind;
using pipeline::Batch;
using pipeline::FieldOut;

const FieldOut& out_of(const Batch& batch, std::size_t field) {
  if (field >= batch.fields.size()) throw py::index_error(strf("field %zu of a batch of %zu fields", field, batch.fields.size()));
  return batch.fields[field];
}
const Field& field_of(const Batch& batch, const FieldOut& out) { return batch.schema->fields[out.field]; }

void check_there(const Field& field, const FieldOut& out) {
  if (out.values_at == FieldOut::kAbsent) throw py::value_error("field '" + field.name + "' was counted: its values are not in the batch");
}

py::capsule lease_capsule(const Batch& batch, const FieldOut& out) {
  return py::capsule(new storage::Lease(batch.slab_of(out)), [](void* lease) { delete static_cast<storage::Lease*>(lease); });
}

template <typename T>
py::array shared_array(const Batch& batch, const FieldOut& out, std::size_t at, std::int64_t count) {
  return py::array(py::dtype::of<T>(), std::vector<py::ssize_t>{count}, batch.at(out, at), lease_capsule(batch, out));
}

// First dimensions of a field's values as delivered; its sample shape follows.
std::vector<std::int64_t> values_shape(const Batch& batch, const FieldOut& out, const Field& field) {
  std::vector<std::int64_t> shape;
  const auto size = static_cast<std::int64_t>(batch.indices.size());
  if (out.padded) {
    shape = {size, static_cast<std::int64_t>(out.longest)};
  } else if (field.is_variable()) {
    shape = {static_cast<std::int64_t>(out.values_bytes / std::max<std::uint64_t>(1, out.row_bytes))};
  } else {
    shape = {size};
  }
  for (const std::uint64_t dim : field.shape) shape.push_back(static_cast<std::int64_t>(dim));
  return shape;
}

py::object numpy_dtype(const Field& field) {
  return py::dtype::from_args(py::str(field.dtype == DType::kBFloat16 ? std::string("uint16") : format::dtype_name(field)));
}

// A new str, null with a Python exception set if the bytes are not UTF-8. ASCII, the common case, is checked while it is copied.
PyObject* make_str(const std::uint8_t* bytes, std::int64_t size) {
  if (size <= 1) return PyUnicode_DecodeUTF8(reinterpret_cast<const char*>(bytes), size, nullptr);  // Those that the interpreter keeps.
  PyObject* const ascii = PyUnicode_New(size, 127);
  if (ascii == nullptr || ops::copy_ascii(bytes, static_cast<std::size_t>(size), static_cast<std::uint8_t*>(PyUnicode_DATA(ascii))))
    return ascii;
  Py_DECREF(ascii);
  return PyUnicode_DecodeUTF8(reinterpret_cast<const char*>(bytes), size, nullptr);
}

py::list value_list(const Batch& batch, const FieldOut& out, const Field& field) {
  const auto* offsets = reinterpret_cast<const std::int64_t*>(batch.at(out, out.offsets_at));
  const std::uint8_t* values = batch.at(out, out.values_at);
  const std::uint8_t* valid = out.valid_at == FieldOut::kAbsent ? nullptr : batch.at(out, out.valid_at);
  py::list list(batch.indices.size());
  for (std::size_t i = 0; i < batch.indices.size(); ++i) {
    PyObject* one = nullptr;
    if (valid != nullptr && valid[i] == 0) {
      one = Py_NewRef(Py_None);
    } else if (field.kind == Kind::kString) {
      one = make_str(values + offsets[i], offsets[i + 1] - offsets[i]);
    } else {
      one = PyBytes_FromStringAndSize(reinterpret_cast<const char*>(values + offsets[i]), offsets[i + 1] - offsets[i]);
    }
    if (one == nullptr) {
      if (PyErr_ExceptionMatches(PyExc_UnicodeDecodeError) == 0) throw py::error_already_set();
      PyErr_Clear();
      raise({Code::kCorrupt, strf("sample %lld, field '%s': its %lld bytes are not UTF-8", static_cast<long long>(batch.indices[i]),
                                  field.name.c_str(), static_cast<long long>(offsets[i + 1] - offsets[i]))});
    }
    PyList_SET_ITEM(list.ptr(), static_cast<py::ssize_t>(i), one);
  }
  return list;
}

py::object to_numpy(const Batch& batch, std::size_t index) {
  const FieldOut& out = out_of(batch, index);
  const Field& field = field_of(batch, out);
  check_there(field, out);
  if (field.is_variable() && field.kind != Kind::kRagged) return value_list(batch, out, field);
  const auto shape = values_shape(batch, out, field);
  py::array values(numpy_dtype(field), std::vector<py::ssize_t>(shape.begin(), shape.end()), batch.at(out, out.values_at),
                   lease_capsule(batch, out));
  if (!field.is_variable() || out.padded) return values;
  return py::make_tuple(values,
                        shared_array<std::int64_t>(batch, out, out.offsets_at, static_cast<std::int64_t>(batch.indices.size()) + 1));
}

// Strings as they lie: their bytes end to end, and where each begins.
py::object to_texts(const Batch& batch, std::size_t index) {
  const FieldOut& out = out_of(batch, index);
  const Field& field = field_of(batch, out);
  if (field.kind != Kind::kString && field.kind != Kind::kBytes) throw py::type_error("field '" + field.name + "' holds no texts");
  return py::make_tuple(shared_array<std::uint8_t>(batch, out, out.values_at, static_cast<std::int64_t>(out.values_bytes)),
                        shared_array<std::int64_t>(batch, out, out.offsets_at, static_cast<std::int64_t>(batch.indices.size()) + 1));
}

DLDataType dlpack_dtype(const Field& field) {
  const auto bits = static_cast<std::uint8_t>(field.itemsize * 8);
  switch (field.dtype) {
    case DType::kBool: return {6, 8, 1};
    case DType::kInt8:
    case DType::kInt16:
    case DType::kInt32:
    case DType::kInt64:
    case DType::kDateTime64:
    case DType::kTimeDelta64: return {0, bits, 1};
    case DType::kUInt8:
    case DType::kUInt16:
    case DType::kUInt32:
    case DType::kUInt64: return {1, bits, 1};
    case DType::kFloat16:
    case DType::kFloat32:
    case DType::kFloat64: return {2, bits, 1};
    case DType::kBFloat16: return {4, 16, 1};
    case DType::kComplex64:
    case DType::kComplex128: return {5, bits, 1};
    case DType::kFixedBytes:
    case DType::kFixedString: break;
  }
  throw py::type_error("field '" + field.name + "': dtype " + format::dtype_name(field) + " has no DLPack form; use numpy()");
}

py::capsule to_dlpack(const Batch& batch, std::size_t index, const std::string& part) {
  const FieldOut& out = out_of(batch, index);
  const Field& field = field_of(batch, out);
  const auto size = static_cast<std::int64_t>(batch.indices.size());
  std::size_t at = FieldOut::kAbsent;
  DLDataType dtype{0, 64, 1};
  std::vector<std::int64_t> shape{size};
  if (part == "values") {
    at = out.values_at;
    dtype = dlpack_dtype(field);
    shape = values_shape(batch, out, field);
  } else if (part == "lengths") {
    at = out.lengths_at;
  } else if (part == "offsets") {
    at = out.offsets_at;
    shape = {size + 1};
  } else if (part == "valid") {
    at = out.valid_at;
    dtype = {6, 8, 1};
  }
  if (at == FieldOut::kAbsent) throw py::value_error("field '" + field.name + "' has no part '" + part + "'");
  return dlpack_capsule(batch.slab_of(out), batch.slab_of(out)->data() + at, dtype, std::move(shape));
}

// One call for a whole batch: each crossing into Python costs more than the capsule itself.
py::tuple all_dlpacks(const Batch& batch) {
  py::tuple out(batch.fields.size());
  for (std::size_t i = 0; i < batch.fields.size(); ++i) {
    const FieldOut& field = batch.fields[i];
    check_there(field_of(batch, field), field);
    out[i] = dlpack_capsule(batch.slab_of(field), batch.slab_of(field)->data() + field.values_at, dlpack_dtype(field_of(batch, field)),
                            values_shape(batch, field, field_of(batch, field)));
  }
  return out;
}

// From the first byte of the batch's tensors (of numbers, ragged ones too) to the last, where all lie in one slab and within `most` bytes:
// one copy is cheaper than theirs. As long as whole items of any dtype.
py::object piece_of(const Batch& batch, std::size_t most) {
  if (!batch.more_slabs.empty()) return py::none();
  constexpr std::size_t kItem = 16;  // of the widest dtype; parts begin at multiples of 64, and a slab ends at one
  const std::size_t rows = batch.indices.size();
  std::size_t begin = FieldOut::kAbsent;
  std::size_t end = 0;
  std::size_t count = 0;
  const auto add = [&](std::size_t at, std::size_t bytes) {
    if (at == FieldOut::kAbsent || bytes == 0) return;
    begin = std::min(begin, at);
    end = std::max(end, at + bytes);
    ++count;
  };
  for (const FieldOut& out : batch.fields) {
    const Field& field = field_of(batch, out);
    const bool is_text = field.dtype == DType::kFixedBytes || field.dtype == DType::kFixedString;
    if (is_text || (field.is_variable() && field.kind != Kind::kRagged)) continue;
    add(out.values_at, out.values_bytes);
    add(out.offsets_at, (rows + 1) * sizeof(std::int64_t));
    add(out.lengths_at, rows * sizeof(std::int64_t));
    add(out.valid_at, rows);
  }
  if (count == 0) return py::none();
  end = (end + kItem - 1) / kItem * kItem;
  if (end - begin > most) return py::none();
  return dlpack_capsule(batch.slab, batch.slab->data() + begin, {1, 8, 1}, {static_cast<std::int64_t>(end - begin)});
}

// Some of its fields, over the same memory: what one dataset of a zip brought.
std::shared_ptr<Batch> part_of(const Batch& batch, std::size_t begin, std::size_t end) {
  if (begin > end || end > batch.fields.size()) {
    throw py::index_error(strf("fields [%zu, %zu) of a batch of %zu", begin, end, batch.fields.size()));
  }
  auto out = std::make_shared<Batch>(batch);
  out->fields.assign(batch.fields.begin() + static_cast<std::ptrdiff_t>(begin), batch.fields.begin() + static_cast<std::ptrdiff_t>(end));
  return out;
}

py::array lengths(const Batch& batch, std::size_t index) {
  const FieldOut& out = out_of(batch, index);
  const auto size = static_cast<std::int64_t>(batch.indices.size());
  if (out.lengths_at != FieldOut::kAbsent) return shared_array<std::int64_t>(batch, out, out.lengths_at, size);
  if (out.offsets_at == FieldOut::kAbsent) throw py::value_error("field '" + field_of(batch, out).name + "' has no lengths");
  py::array_t<std::int64_t> made(size);
  const auto* offsets = reinterpret_cast<const std::int64_t*>(batch.at(out, out.offsets_at));
  for (std::int64_t i = 0; i < size; ++i) made.mutable_data()[i] = offsets[i + 1] - offsets[i];
  return made;
}

}  // namespace

void register_batch(py::module_& m) {
  py::class_<Batch, std::shared_ptr<Batch>>(m, "Batch")
      .def("__len__", [](const Batch& b) { return b.indices.size(); })
      .def_property_readonly(
          "indices", [](const Batch& b) { return py::array_t<std::int64_t>(static_cast<py::ssize_t>(b.indices.size()), b.indices.data()); })
      .def_property_readonly("place", [](const Batch& b) { return py::make_tuple(b.step, b.position_after, b.skipped.size()); })
      .def_readonly("step", &Batch::step)
      .def_readonly("position", &Batch::position_after)
      .def_readonly("valid_samples", &Batch::valid_samples)
      .def_property_readonly("skipped",
                             [](const Batch& b) {
                               py::list out;
                               for (const pipeline::Skipped& s : b.skipped) out.append(py::make_tuple(s.sample, s.reason));
                               return out;
                             })
      .def(
          "is_padded", [](const Batch& b, std::size_t index) { return out_of(b, index).padded; }, py::arg("field"))
      .def(
          "is_there", [](const Batch& b, std::size_t index) { return out_of(b, index).values_at != FieldOut::kAbsent; }, py::arg("field"))
      .def("numpy", &to_numpy, py::arg("field"))
      .def("texts", &to_texts, py::arg("field"))
      .def("lengths", &lengths, py::arg("field"))
      .def(
          "valid",
          [](const Batch& b, std::size_t index) {
            const FieldOut& out = out_of(b, index);
            if (out.valid_at == FieldOut::kAbsent) throw py::value_error("field '" + field_of(b, out).name + "' is not nullable");
            return shared_array<bool>(b, out, out.valid_at, static_cast<std::int64_t>(b.indices.size()));
          },
          py::arg("field"))
      .def("part", &part_of, py::arg("begin"), py::arg("end"))
      .def("dlpacks", &all_dlpacks)
      .def("piece", &piece_of, py::arg("most"))
      .def("dlpack", &to_dlpack, py::arg("field"), py::arg("part") = "values")
      .def_property_readonly("page_locked",
                             [](const Batch& b) {
                               return b.slab->page_locked() && std::all_of(b.more_slabs.begin(), b.more_slabs.end(),
                                                                           [](const auto& slab) { return slab->page_locked(); });
                             })
      .def("lock_pages", [](Batch& b) {
        const auto lock = [](const storage::Lease& slab) {
          return slab->page_locked() || without_lock([&] { return slab->lock_pages(); });
        };
        return lock(b.slab) && std::all_of(b.more_slabs.begin(), b.more_slabs.end(), lock);
      });
}

}  // namespace headrace::bindings
