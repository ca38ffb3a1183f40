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
// field_lookup.cc: categories to numbers, by their table; values to buckets by their hash.
Result<std::unique_ptr<FieldStep>> make_lookup(const StepSpec& spec, std::span<const Register> registers);
Result<std::unique_ptr<FieldStep>> make_hash(const StepSpec& spec, std::span<const Register> registers);
// field_codes.cc: numbers to the bucket between edges; codes to zeros and a one.
Result<std::unique_ptr<FieldStep>> make_bucketize(const StepSpec& spec, std::span<const Register> registers);
Result<std::unique_ptr<FieldStep>> make_one_hot(const StepSpec& spec, std::span<const Register> registers);
// field_dates.cc: parts of a date.
Result<std::unique_ptr<FieldStep>> make_date_parts(const StepSpec& spec, std::span<const Register> registers);
// field_texts.cc: texts of other texts.
Result<std::unique_ptr<FieldStep>> make_clean(const StepSpec& spec, std::span<const Register> registers);
Result<std::unique_ptr<FieldStep>> make_cross(const StepSpec& spec, std::span<const Register> registers);
// field_linear.cc: products of a row: with a matrix, and of its components with each other.
Result<std::unique_ptr<FieldStep>> make_linear(const StepSpec& spec, std::span<const Register> registers);
Result<std::unique_ptr<FieldStep>> make_products(const StepSpec& spec, std::span<const Register> registers);

}  // namespace headrace::ops
