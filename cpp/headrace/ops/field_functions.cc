// Steps that are a function of mathematics: in float64 whatever the register holds, since a power loses what float32 has.
#include <cmath>
#include <limits>

#include "headrace/ops/field_step_kinds.h"

namespace headrace::ops {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

// As scipy's boxcox: not defined below zero, nor at it.
double box_cox(double x, double lambda) {
  if (!(x > 0)) return kNan;
  return std::fabs(lambda) < 1e-19 ? std::log(x) : std::expm1(lambda * std::log(x)) / lambda;
}

// As scipy's yeojohnson.
double yeo_johnson(double x, double lambda) {
  if (x != x) return x;
  const double logarithm = std::log1p(std::fabs(x));
  const double exponent = x >= 0 ? lambda : 2 - lambda;
  const double size =
      std::fabs(exponent) < std::numeric_limits<double>::epsilon() ? logarithm : std::expm1(exponent * logarithm) / exponent;
  return x >= 0 ? size : -size;
}

double log1p(double x, double) { return x < -1 ? kNan : std::log1p(x); }

using Function = double (*)(double, double);

template <typename T>
class FunctionStep : public FieldStep {
 public:
  FunctionStep(Function function, std::vector<double> parameters, std::uint32_t from, std::uint32_t to)
      : function_(function), parameters_(std::move(parameters)), from_(from), to_(to) {}
  void run(const FieldTile& tile) const override {
    const T* in = tile.values<T>(from_);
    T* out = tile.values<T>(to_);
    for (std::size_t row = 0; row < tile.rows; ++row) {
      for (const double parameter : parameters_) *out++ = static_cast<T>(function_(static_cast<double>(*in++), parameter));
    }
  }

 private:
  Function function_;
  std::vector<double> parameters_;  // [component]
  std::uint32_t from_, to_;
};

}  // namespace

Result<std::unique_ptr<FieldStep>> make_function(const StepSpec& spec, std::span<const Register> registers) {
  HR_RETURN_IF_ERROR(check_floats(spec, registers, 1));
  HR_RETURN_IF_ERROR(check_same(spec, registers));
  const Register& in = registers[spec.inputs[0]];
  std::vector<double> parameters(in.width, 0.0);
  if (spec.kind != "log1p") {
    HR_ASSIGN_OR_RETURN(parameters, spec.numbers_of("lambda", in.width));
  }
  const Function function = spec.kind == "log1p" ? &log1p : spec.kind == "box_cox" ? &box_cox : &yeo_johnson;
  if (in.type == RegisterType::kFloat32)
    return std::unique_ptr<FieldStep>(std::make_unique<FunctionStep<float>>(function, std::move(parameters), spec.inputs[0], spec.output));
  return std::unique_ptr<FieldStep>(std::make_unique<FunctionStep<double>>(function, std::move(parameters), spec.inputs[0], spec.output));
}

}  // namespace headrace::ops
