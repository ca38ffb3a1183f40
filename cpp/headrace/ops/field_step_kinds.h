// The makers of all kinds of steps, for the table in field_steps.cc.
#pragma once

#include "headrace/ops/field_step.h"

namespace headrace::ops {

// field_elementwise.cc: value by value, with parameters a component.
Result<std::unique_ptr<FieldStep>> make_elementwise(const StepSpec& spec, std::span<const Register> registers);
// field_functions.cc: logarithms and powers, a component's own exponent.
Result<std::unique_ptr<FieldStep>> make_function(const StepSpec& spec, std::span<const Register> registers);
// field_quantile.cc: values to quantiles by landmarks.
Result<std::unique_ptr<FieldStep>> make_quantile(const StepSpec& spec, std::span<const Register> registers);
// field_shapes.cc: between registers.
Result<std::unique_ptr<FieldStep>> make_convert(const StepSpec& spec, std::span<const Register> registers);
Result<std::unique_ptr<FieldStep>> make_concat(const StepSpec& spec, std::span<const Register> registers);
Result<std::unique_ptr<FieldStep>> make_take(const StepSpec& spec, std::span<const Register> registers);
Result<std::unique_ptr<FieldStep>> make_is_null(const StepSpec& spec, std::span<const Register> registers);
Result<std::unique_ptr<FieldStep>> make_inside(const StepSpec& spec, std::span<const Register> registers);
Result<std::unique_ptr<FieldStep>> make_normalize(const StepSpec& spec, std::span<const Register> registers);

}  // namespace headrace::ops
