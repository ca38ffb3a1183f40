#include <map>

#include "headrace/ops/field_step_kinds.h"

namespace headrace::ops {
namespace {

const std::map<std::string, MakeStep>& makers() {
  static const std::map<std::string, MakeStep> kMakers{
      {"fill", make_elementwise},
      {"clip", make_elementwise},
      {"null_outside", make_elementwise},
      {"affine", make_elementwise},
      {"affine_div", make_elementwise},
      {"binarize", make_elementwise},
      {"log1p", make_function},
      {"yeo_johnson", make_function},
      {"box_cox", make_function},
      {"quantile", make_quantile},
      {"convert", make_convert},
      {"concat", make_concat},
      {"take", make_take},
      {"is_null", make_is_null},
      {"inside", make_inside},
      {"normalize", make_normalize},
      {"lookup", make_lookup},
      {"hash", make_hash},
      {"bucketize", make_bucketize},
      {"one_hot", make_one_hot},
      {"date_parts", make_date_parts},
      {"clean", make_clean},
      {"cross", make_cross},
      {"linear", make_linear},
      {"products", make_products},
  };
  return kMakers;
}

template <typename T>
Result<std::vector<T>> found(const StepSpec& spec, const std::map<std::string, std::vector<T>>& among, const std::string& name) {
  const auto at = among.find(name);
  if (at == among.end()) return spec.error("it lacks the parameter '" + name + "'");
  return at->second;
}

template <typename T>
Result<std::vector<T>> of_size(const StepSpec& spec, const std::map<std::string, std::vector<T>>& among, const std::string& name,
                               std::size_t size) {
  HR_ASSIGN_OR_RETURN(std::vector<T> values, found(spec, among, name));
  if (values.size() == size) return values;
  return spec.error(strf("parameter '%s' has %zu values; expected %zu", name.c_str(), values.size(), size));
}

}  // namespace

const char* register_type_name(RegisterType type) {
  switch (type) {
    case RegisterType::kFloat32: return "float32";
    case RegisterType::kFloat64: return "float64";
    case RegisterType::kInt64: return "int64";
    case RegisterType::kText: return "text";
  }
  return "?";
}

Status StepSpec::error(const std::string& what) const { return {Code::kInvalidArgument, "plan step '" + kind + "': " + what}; }

Result<std::vector<double>> StepSpec::numbers_of(const std::string& name, std::size_t size) const {
  return of_size(*this, numbers, name, size);
}
Result<std::vector<std::int64_t>> StepSpec::integers_of(const std::string& name, std::size_t size) const {
  return of_size(*this, integers, name, size);
}
Result<std::vector<double>> StepSpec::numbers_of(const std::string& name) const { return found(*this, numbers, name); }
Result<std::vector<std::int64_t>> StepSpec::integers_of(const std::string& name) const { return found(*this, integers, name); }
Result<std::vector<std::string>> StepSpec::texts_of(const std::string& name) const { return found(*this, texts, name); }

Result<std::unique_ptr<FieldStep>> make_step(const StepSpec& spec, std::span<const Register> registers) {
  const auto at = makers().find(spec.kind);
  if (at != makers().end()) return at->second(spec, registers);
  std::string known;
  for (const auto& [name, maker] : makers()) known += (known.empty() ? "" : ", ") + name;
  return spec.error("there is no such kind; there are " + known);
}

Status check_same(const StepSpec& spec, std::span<const Register> registers) {
  const Register& in = registers[spec.inputs[0]];
  const Register& out = registers[spec.output];
  if (in.type == out.type && in.width == out.width) return Status::ok();
  return spec.error(strf("its output is %s x %u; expected the input's %s x %u", register_type_name(out.type), out.width,
                         register_type_name(in.type), in.width));
}

Status check_floats(const StepSpec& spec, std::span<const Register> registers, std::size_t inputs) {
  if (spec.inputs.size() != inputs) return spec.error(strf("it has %zu inputs; expected %zu", spec.inputs.size(), inputs));
  for (const std::uint32_t index : spec.inputs) {
    const RegisterType type = registers[index].type;
    if (type != RegisterType::kFloat32 && type != RegisterType::kFloat64)
      return spec.error(strf("register %u is %s; expected float32 or float64", index, register_type_name(type)));
  }
  return Status::ok();
}

}  // namespace headrace::ops
