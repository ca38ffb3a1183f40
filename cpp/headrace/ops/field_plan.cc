#include "headrace/ops/field_plan.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "headrace/ops/cast.h"

namespace headrace::ops {
namespace {

using format::DType;
using format::Kind;

constexpr std::size_t kTileBytes = 24u << 10;  // of registers: a tile stays in the first level of cache
constexpr std::size_t kMostRows = 1024, kFewestRows = 8;
constexpr std::size_t kAlignment = 64;

DType dtype_of(RegisterType type) {
  return type == RegisterType::kFloat32 ? DType::kFloat32 : type == RegisterType::kFloat64 ? DType::kFloat64 : DType::kInt64;
}

std::uint64_t elements(const format::Field& field) { return field.itemsize == 0 ? 0 : field.row_bytes() / field.itemsize; }

bool is_date(DType dtype) { return dtype == DType::kDateTime64 || dtype == DType::kTimeDelta64; }

bool loads(const format::Field& field, RegisterType type) {
  if (type == RegisterType::kText) return field.kind == Kind::kString || field.kind == Kind::kBytes;
  if (field.kind != Kind::kTensor) return false;
  if (type == RegisterType::kInt64) return is_date(field.dtype) || field.dtype == DType::kInt64 || can_cast(field.dtype, DType::kInt64);
  return can_cast(field.dtype, dtype_of(type));
}

Status refused(const std::string& what) { return {Code::kInvalidArgument, "plan of fields: " + what}; }

// Integers as numpy's astype makes them smaller.
template <typename To>
void narrow(const std::int64_t* in, std::size_t count, std::uint8_t* out) {
  for (std::size_t i = 0; i < count; ++i) {
    const To made = static_cast<To>(in[i]);
    std::memcpy(out + i * sizeof(To), &made, sizeof(To));
  }
}

void store_integers(DType to, const std::int64_t* in, std::size_t count, std::uint8_t* out) {
  switch (to) {
    case DType::kBool:
      for (std::size_t i = 0; i < count; ++i) out[i] = in[i] != 0 ? 1 : 0;
      return;
    case DType::kInt8:
    case DType::kUInt8: return narrow<std::uint8_t>(in, count, out);
    case DType::kInt16:
    case DType::kUInt16: return narrow<std::uint16_t>(in, count, out);
    case DType::kInt32:
    case DType::kUInt32: return narrow<std::uint32_t>(in, count, out);
    case DType::kInt64:
    case DType::kUInt64: return narrow<std::uint64_t>(in, count, out);
    default: return cast(DType::kInt64, to, reinterpret_cast<const std::uint8_t*>(in), count, out);
  }
}

bool stores(RegisterType type, DType to) {
  const bool is_float = to == DType::kFloat16 || to == DType::kBFloat16 || to == DType::kFloat32 || to == DType::kFloat64;
  if (type != RegisterType::kInt64) return is_float;
  return is_float || to <= DType::kUInt64;
}

template <typename T>
void set_nulls(const std::uint8_t* valid, std::size_t rows, std::size_t width, T null, T* values) {
  for (std::size_t row = 0; row < rows; ++row) {
    if (valid[row] == 0) std::fill_n(values + row * width, width, null);
  }
}

}  // namespace

Result<std::shared_ptr<const FieldPlan>> FieldPlan::create(std::vector<PlanInput> inputs, std::vector<Register> registers,
                                                           const std::vector<StepSpec>& steps, std::vector<PlanOutput> outputs) {
  if (registers.size() > kMaxRegisters) return refused(strf("%zu registers; at most %zu", registers.size(), kMaxRegisters));
  for (const Register& one : registers) {
    if (one.width < 1 || one.width > kMaxWidth) return refused(strf("a register of width %u; expected 1 to %zu", one.width, kMaxWidth));
  }
  auto plan = std::shared_ptr<FieldPlan>(new FieldPlan());
  plan->inputs_ = std::move(inputs);
  plan->registers_ = std::move(registers);
  plan->outputs_ = std::move(outputs);
  std::vector<bool> written(plan->registers_.size(), false);
  HR_RETURN_IF_ERROR(plan->check_inputs(written));
  HR_RETURN_IF_ERROR(plan->add_steps(steps, written));
  HR_RETURN_IF_ERROR(plan->place_outputs(written));
  plan->choose_tile();
  return std::shared_ptr<const FieldPlan>(std::move(plan));
}

Status FieldPlan::check_inputs(std::vector<bool>& written) const {
  for (const PlanInput& input : inputs_) {
    const std::string name = "input '" + input.form.name + "'";
    if (input.reg >= registers_.size()) return refused(name + strf(": there is no register %u", input.reg));
    const Register& into = registers_[input.reg];
    if (!loads(input.form, into.type))
      return refused(name + ": a register of " + register_type_name(into.type) + " does not hold " + format::kind_name(input.form.kind) +
                     " values of " + format::dtype_name(input.form));
    const std::uint64_t width = into.type == RegisterType::kText ? 1 : elements(input.form);
    if (width != into.width)
      return refused(name + strf(": it has %llu values a sample, its register %u", static_cast<unsigned long long>(width), into.width));
    if (written[input.reg]) return refused(name + strf(": register %u holds another input", input.reg));
    written[input.reg] = true;
  }
  return Status::ok();
}

Status FieldPlan::add_steps(const std::vector<StepSpec>& steps, std::vector<bool>& written) {
  for (const StepSpec& spec : steps) {
    if (spec.inputs.empty()) return spec.error("it has no inputs");
    for (const std::uint32_t index : spec.inputs) {
      if (index >= registers_.size()) return spec.error(strf("there is no register %u", index));
      if (!written[index]) return spec.error(strf("register %u is read before anything is written to it", index));
    }
    if (spec.output >= registers_.size()) return spec.error(strf("there is no register %u", spec.output));
    if (registers_[spec.output].type == RegisterType::kText && written[spec.output])
      return spec.error(strf("its output is register %u, which holds texts already", spec.output));
    HR_ASSIGN_OR_RETURN(std::unique_ptr<FieldStep> step, make_step(spec, registers_));
    if (steps_.empty() || !steps_.back()->absorb(*step)) {
      steps_.push_back(std::move(step));
      writes_.push_back(spec.output);
    }
    written[spec.output] = true;
  }
  return Status::ok();
}

Status FieldPlan::place_outputs(const std::vector<bool>& written) {
  lies_in_.assign(registers_.size(), kNone);
  for (std::size_t k = 0; k < outputs_.size(); ++k) {
    const PlanOutput& output = outputs_[k];
    if (output.kept) continue;
    const std::string name = "output '" + output.form.name + "'";
    if (output.from >= registers_.size() || !written[output.from])
      return refused(name + strf(": there is nothing in register %u", output.from));
    const Register& from = registers_[output.from];
    const bool is_text = output.form.kind == Kind::kString || output.form.kind == Kind::kBytes;
    if (from.type == RegisterType::kText && is_text && output.form.nullable) {
      makes_texts_ = true;
      continue;
    }
    if (output.form.kind != Kind::kTensor || from.type == RegisterType::kText || !stores(from.type, output.form.dtype))
      return refused(name + ": " + register_type_name(from.type) + " is not delivered as " + format::dtype_name(output.form));
    if (elements(output.form) != from.width)
      return refused(name + strf(": it has %llu values a sample, its register %u", static_cast<unsigned long long>(elements(output.form)),
                                 from.width));
    row_bytes_ += output.form.row_bytes();
    if (output.form.dtype == dtype_of(from.type) && lies_in_[output.from] == kNone) lies_in_[output.from] = k;
  }
  return Status::ok();
}

std::optional<std::size_t> FieldPlan::copied_from(std::size_t output) const {
  const PlanOutput& out = outputs_[output];
  if (out.kept || std::find(writes_.begin(), writes_.end(), out.from) != writes_.end()) return std::nullopt;
  for (std::size_t i = 0; i < inputs_.size(); ++i) {
    const PlanInput& in = inputs_[i];
    if (in.reg != out.from || registers_[in.reg].type == RegisterType::kText || in.form.nullable) continue;
    const DType held = dtype_of(registers_[in.reg].type);
    if (in.form.dtype == held && out.form.dtype == held) return i;
  }
  return std::nullopt;
}

void FieldPlan::choose_tile() {
  std::size_t bytes = 0;
  for (const Register& one : registers_) bytes += one.row_bytes();
  // Whole multiples of 16 rows, so that parts of a tile begin where vectors like it.
  tile_rows_ = std::clamp(kTileBytes / std::max<std::size_t>(1, bytes) / 16 * 16, kFewestRows, kMostRows);
  scratch_at_.assign(registers_.size(), 0);
  for (std::size_t i = 0; i < registers_.size(); ++i) {
    scratch_at_[i] = scratch_bytes_;
    if (lies_in_[i] == kNone) scratch_bytes_ += (registers_[i].row_bytes() * tile_rows_ + kAlignment - 1) / kAlignment * kAlignment;
  }
}

FieldScratch::FieldScratch(const FieldPlan& plan) : plan_(plan), memory_(new std::uint8_t[plan.scratch_bytes_ + kAlignment]) {
  const auto address = reinterpret_cast<std::uintptr_t>(memory_.get());
  aligned_ = memory_.get() + (kAlignment - address % kAlignment) % kAlignment;
  tile_.at.resize(plan.registers_.size());
  tile_.texts.resize(plan.registers_.size());
  tile_.made.resize(plan.registers_.size());
  for (const std::uint32_t index : plan.writes_) {
    if (plan.registers_[index].type == RegisterType::kText) tile_.made[index] = std::make_unique<TextBuffer>();
  }
}

void FieldScratch::begin(std::size_t rows, std::span<std::uint8_t* const> outputs) {
  tile_.rows = rows;
  outputs_.assign(outputs.begin(), outputs.end());
  for (std::size_t i = 0; i < tile_.at.size(); ++i) {
    const std::size_t output = plan_.lies_in_[i];
    tile_.at[i] = output != FieldPlan::kNone ? outputs_[output] : aligned_ + plan_.scratch_at_[i];
  }
}

std::uint8_t* FieldScratch::place(std::size_t input) const {
  const PlanInput& in = plan_.inputs_[input];
  const RegisterType type = plan_.registers_[in.reg].type;
  if (type == RegisterType::kText || in.form.nullable) return nullptr;
  return in.form.dtype == dtype_of(type) || (type == RegisterType::kInt64 && is_date(in.form.dtype)) ? tile_.at[in.reg] : nullptr;
}

void FieldScratch::load(std::size_t input, const InputRows& rows) {
  const PlanInput& in = plan_.inputs_[input];
  const Register& into = plan_.registers_[in.reg];
  if (into.type == RegisterType::kText) {
    tile_.texts[in.reg] = {rows.values, rows.offsets, rows.valid};
    return;
  }
  const DType from = is_date(in.form.dtype) ? DType::kInt64 : in.form.dtype;
  cast(from, dtype_of(into.type), rows.values, tile_.rows * into.width, tile_.at[in.reg]);
  if (rows.valid == nullptr) return;
  if (into.type == RegisterType::kFloat32) {
    set_nulls(rows.valid, tile_.rows, into.width, std::numeric_limits<float>::quiet_NaN(), tile_.values<float>(in.reg));
  } else if (into.type == RegisterType::kFloat64) {
    set_nulls(rows.valid, tile_.rows, into.width, std::numeric_limits<double>::quiet_NaN(), tile_.values<double>(in.reg));
  } else {
    set_nulls(rows.valid, tile_.rows, into.width, kNullInt, tile_.values<std::int64_t>(in.reg));
  }
}

void FieldScratch::run() {
  for (std::size_t i = 0; i < plan_.steps_.size(); ++i) {
    plan_.steps_[i]->run(tile_);
    const std::uint32_t index = plan_.writes_[i];
    if (tile_.made[index] != nullptr) tile_.texts[index] = tile_.made[index]->rows();
  }
  for (std::size_t k = 0; k < plan_.outputs_.size(); ++k) {
    const bool is_text = !plan_.outputs_[k].kept && plan_.registers_[plan_.outputs_[k].from].type == RegisterType::kText;
    if (!plan_.outputs_[k].kept && !is_text && plan_.lies_in_[plan_.outputs_[k].from] != k) store(k);
  }
}

void FieldScratch::store(std::size_t output) const {
  const PlanOutput& out = plan_.outputs_[output];
  const Register& from = plan_.registers_[out.from];
  const std::size_t count = tile_.rows * from.width;
  if (from.type == RegisterType::kInt64) {
    store_integers(out.form.dtype, tile_.values<std::int64_t>(out.from), count, outputs_[output]);
  } else {
    cast(dtype_of(from.type), out.form.dtype, tile_.at[out.from], count, outputs_[output]);
  }
}

}  // namespace headrace::ops
