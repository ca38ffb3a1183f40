#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <new>
#include <optional>
#include <string>
#include <tuple>

#include "headrace/base/parallel.h"
#include "headrace/bindings/interpreter_lock.h"
#include "headrace/bindings/raise.h"
#include "headrace/bindings/register.h"
#include "headrace/ops/field_plan.h"
#include "headrace/ops/text_parts.h"

namespace py = pybind11;

namespace headrace::bindings {
namespace {

using ops::FieldPlan;

constexpr std::size_t kRowsAtOnce = 1u << 14;  // of one task

ops::Register register_of(const std::pair<std::string, std::uint32_t>& given) {
  for (const ops::RegisterType type :
       {ops::RegisterType::kFloat32, ops::RegisterType::kFloat64, ops::RegisterType::kInt64, ops::RegisterType::kText}) {
    if (given.first == ops::register_type_name(type)) return {type, given.second};
  }
  throw py::value_error("a register of '" + given.first + "'; expected float32, float64, int64 or text");
}

// Parameters by the type that numpy gives them; lists hold texts.
void add_parameter(const std::string& name, const py::handle& value, ops::StepSpec& spec) {
  if (!py::isinstance<py::array>(value)) {
    std::vector<std::string>& texts = spec.texts[name];
    for (const py::handle text : py::cast<py::list>(value)) texts.push_back(py::cast<std::string>(text));
    return;
  }
  const auto kind = py::cast<py::array>(value).dtype().kind();
  if (kind == 'f') {
    const auto numbers = py::array_t<double, py::array::c_style | py::array::forcecast>::ensure(value);
    spec.numbers[name].assign(numbers.data(), numbers.data() + numbers.size());
  } else if (kind == 'i' || kind == 'b') {
    const auto integers = py::array_t<std::int64_t, py::array::c_style | py::array::forcecast>::ensure(value);
    spec.integers[name].assign(integers.data(), integers.data() + integers.size());
  } else {
    throw py::type_error("step parameter '" + name + "': expected an array of floats or integers, or a list of texts");
  }
}

ops::StepSpec spec_of(const py::dict& given) {
  ops::StepSpec spec;
  for (const auto& [key, value] : given) {
    const auto name = py::cast<std::string>(key);
    if (name == "kind") {
      spec.kind = py::cast<std::string>(value);
    } else if (name == "inputs") {
      spec.inputs = py::cast<std::vector<std::uint32_t>>(value);
    } else if (name == "output") {
      spec.output = py::cast<std::uint32_t>(value);
    } else {
      add_parameter(name, value, spec);
    }
  }
  return spec;
}

using GivenInput = std::tuple<std::uint32_t, format::Field, std::uint32_t>;
using GivenOutput = std::pair<std::uint32_t, std::optional<format::Field>>;

std::shared_ptr<FieldPlan> make_plan(const std::vector<GivenInput>& inputs,
                                     const std::vector<std::pair<std::string, std::uint32_t>>& registers,
                                     const std::vector<py::dict>& steps, const std::vector<GivenOutput>& outputs) {
  std::vector<ops::PlanInput> in;
  for (const auto& [field, form, reg] : inputs) in.push_back({field, form, reg});
  std::vector<ops::Register> held;
  for (const auto& one : registers) held.push_back(register_of(one));
  std::vector<ops::StepSpec> specs;
  for (const py::dict& step : steps) specs.push_back(spec_of(step));
  std::vector<ops::PlanOutput> out;
  for (const auto& [from, form] : outputs) out.push_back({!form.has_value(), from, form.value_or(format::Field{})});
  return std::const_pointer_cast<FieldPlan>(unwrap(FieldPlan::create(std::move(in), std::move(held), specs, std::move(out))));
}

// One input's rows in arrays, as apply() is given them.
struct Given {
  py::array values, valid, offsets;  // kept alive
  ops::InputRows rows;
  std::size_t row_bytes = 0;  // 0: strings
};

void check_size(const ops::PlanInput& input, const char* part, const py::array& array, std::size_t bytes) {
  if ((array.flags() & py::array::c_style) != 0 && static_cast<std::size_t>(array.nbytes()) == bytes) return;
  throw py::value_error("field '" + input.form.name + "': " + part + " " + std::to_string(array.nbytes()) + " bytes; expected " +
                        std::to_string(bytes) + ", side by side");
}

// Offsets of strings come from outside: each must lie within the values.
void check_offsets(const ops::PlanInput& input, const std::int64_t* offsets, std::size_t rows, std::int64_t end) {
  for (std::size_t i = 0; i <= rows; ++i) {
    if (offsets[i] < 0 || offsets[i] > end || (i > 0 && offsets[i] < offsets[i - 1]))
      throw py::value_error("field '" + input.form.name + "': its offsets do not rise from 0 to the bytes that there are");
  }
}

Given given_of(const ops::PlanInput& input, const py::tuple& parts, std::size_t rows) {
  if (parts.size() != 3) throw py::value_error("an input is (values, valid or None, offsets or None)");
  Given out;
  out.values = py::cast<py::array>(parts[0]);
  const bool text = input.form.is_variable();
  if (text) {
    out.offsets = py::array_t<std::int64_t, py::array::c_style>::ensure(parts[2]);
    if (!out.offsets) throw py::value_error("field '" + input.form.name + "': its offsets are no int64 array");
    check_size(input, "its offsets have", out.offsets, (rows + 1) * 8);
    out.rows.offsets = static_cast<const std::int64_t*>(out.offsets.data());
    check_size(input, "its values have", out.values, static_cast<std::size_t>(out.values.nbytes()));
    check_offsets(input, out.rows.offsets, rows, out.values.nbytes());
  } else {
    out.row_bytes = input.form.row_bytes();
    check_size(input, "its values have", out.values, rows * out.row_bytes);
  }
  out.rows.values = static_cast<const std::uint8_t*>(out.values.data());
  if (!parts[1].is_none()) {
    out.valid = py::cast<py::array>(parts[1]);
    check_size(input, "its validity has", out.valid, rows);
    out.rows.valid = static_cast<const std::uint8_t*>(out.valid.data());
  }
  if (input.form.nullable != (out.rows.valid != nullptr))
    throw py::value_error("field '" + input.form.name + "': validity goes with a nullable field");
  return out;
}

ops::InputRows from_row(const Given& given, std::size_t row) {
  ops::InputRows rows = given.rows;
  rows.values += row * given.row_bytes;
  if (rows.offsets != nullptr) rows.offsets += row;
  if (rows.valid != nullptr) rows.valid += row;
  return rows;
}

py::tuple whole_texts(const ops::TextParts& parts) {
  py::array_t<std::uint8_t> values(static_cast<py::ssize_t>(parts.bytes()));
  py::array_t<bool> valid(static_cast<py::ssize_t>(parts.rows()));
  py::array_t<std::int64_t> offsets(static_cast<py::ssize_t>(parts.rows() + 1));
  parts.join(values.mutable_data(), offsets.mutable_data(), reinterpret_cast<std::uint8_t*>(valid.mutable_data()));
  return py::make_tuple(values, valid, offsets);
}

// texts[k]: of output k, if it is texts: where those of this task go.
Status run_rows(const FieldPlan& plan, const std::vector<Given>& inputs, const std::vector<std::uint8_t*>& outputs,
                const std::vector<ops::TextBuffer*>& texts, std::size_t begin, std::size_t end) {
  ops::FieldScratch scratch(plan);
  std::vector<std::uint8_t*> at(outputs.size());
  for (std::size_t row = begin; row < end; row += plan.tile_rows()) {
    for (std::size_t k = 0; k < at.size(); ++k)
      at[k] = outputs[k] == nullptr ? nullptr : outputs[k] + row * plan.outputs()[k].form.row_bytes();
    scratch.begin(std::min(plan.tile_rows(), end - row), at);
    for (std::size_t k = 0; k < inputs.size(); ++k) scratch.load(k, from_row(inputs[k], row));
    scratch.run();
    for (std::size_t k = 0; k < texts.size(); ++k) {
      if (texts[k] != nullptr) ops::add_texts(scratch.texts(k), std::min(plan.tile_rows(), end - row), *texts[k]);
    }
  }
  return Status::ok();
}

py::object numpy_type(const format::Field& field) {
  return py::dtype::from_args(py::str(field.dtype == format::DType::kBFloat16 ? std::string("uint16") : format::dtype_name(field)));
}

py::list apply(const FieldPlan& plan, const py::list& inputs, std::size_t rows, int threads) {
  if (inputs.size() != plan.inputs().size())
    throw py::value_error(strf("%zu inputs; the plan reads %zu", inputs.size(), plan.inputs().size()));
  std::vector<Given> given;
  for (std::size_t k = 0; k < inputs.size(); ++k) given.push_back(given_of(plan.inputs()[k], py::cast<py::tuple>(inputs[k]), rows));
  py::list made;
  std::vector<std::uint8_t*> outputs;
  const std::size_t tasks = (rows + kRowsAtOnce - 1) / kRowsAtOnce;
  std::vector<ops::TextParts> texts;
  for (const ops::PlanOutput& output : plan.outputs()) {
    const bool is_text = !output.kept && output.form.is_variable();
    texts.emplace_back(is_text ? tasks : 0);
    if (is_text) {
      outputs.push_back(nullptr);
      made.append(py::none());
      continue;
    }
    if (output.kept) throw py::value_error("apply() makes fields; this plan delivers some as they are");
    std::vector<py::ssize_t> shape{static_cast<py::ssize_t>(rows)};
    for (const std::uint64_t dim : output.form.shape) shape.push_back(static_cast<py::ssize_t>(dim));
    py::array array(numpy_type(output.form), shape);
    outputs.push_back(static_cast<std::uint8_t*>(array.mutable_data()));
    made.append(array);
  }
  check(without_lock([&] {
    return parallel_for(tasks, threads, [&](std::size_t i) {
      std::vector<ops::TextBuffer*> own(texts.size(), nullptr);
      for (std::size_t k = 0; k < own.size(); ++k) own[k] = outputs[k] == nullptr ? &texts[k].part(i) : nullptr;
      return run_rows(plan, given, outputs, own, i * kRowsAtOnce, std::min(rows, (i + 1) * kRowsAtOnce));
    });
  }));
  for (std::size_t k = 0; k < texts.size(); ++k) {
    if (plan.outputs()[k].form.is_variable()) made[k] = whole_texts(texts[k]);
  }
  return made;
}

std::vector<std::size_t> text_outputs(const FieldPlan& plan) {
  std::vector<std::size_t> found;
  for (std::size_t k = 0; k < plan.outputs().size(); ++k) {
    if (!plan.outputs()[k].kept && plan.outputs()[k].form.is_variable()) found.push_back(k);
  }
  return found;
}

}  // namespace

void register_field_plan(py::module_& m) {
  py::class_<FieldPlan, std::shared_ptr<FieldPlan>>(m, "FieldPlan")
      .def(py::init(&make_plan), py::arg("inputs"), py::arg("registers"), py::arg("steps"), py::arg("outputs"))
      .def_property_readonly("tile_rows", &FieldPlan::tile_rows)
      .def_property_readonly("texts", &text_outputs)
      .def("apply", &apply, py::arg("inputs"), py::arg("rows"), py::arg("threads") = 0);
}

}  // namespace headrace::bindings
