#include "headrace/pipeline/view.h"

#include "headrace/base/bytes.h"
#include "headrace/ops/cast.h"

namespace headrace::pipeline {
namespace {

constexpr std::uint64_t kMaxSampleBytes = 1ull << 40;

Status refuse(const format::Field& field, const std::string& what) {
  return {Code::kInvalidArgument, "field '" + field.name + "': " + what};
}

Status set_delivered_dtype(const std::string& name, format::Field& field) {
  format::Field to = field;
  HR_RETURN_IF_ERROR(format::set_dtype(name, to).with_context("field '" + field.name + "'"));
  if (format::dtype_name(to) == format::dtype_name(field)) return Status::ok();
  const bool numbers = field.kind == format::Kind::kTensor || field.kind == format::Kind::kRagged;
  if (!numbers) return refuse(field, strf("cast to %s: it holds %s values, not numbers", name.c_str(), format::kind_name(field.kind)));
  if (!ops::can_cast(field.dtype, to.dtype)) {
    return refuse(field,
                  strf("cast from %s to %s is not offered: it would lose values; integers go to wider integers and to floats, floats to "
                       "floats",
                       format::dtype_name(field).c_str(), format::dtype_name(to).c_str()));
  }
  field = std::move(to);
  return Status::ok();
}

}  // namespace

std::uint64_t View::num_starts(std::uint64_t num_rows) const {
  return length == 0 ? num_rows : num_rows < length ? 0 : (num_rows - length) / stride + 1;
}

Result<format::Schema> delivered_schema(const format::Schema& stored, const View& view, std::uint64_t num_rows) {
  format::Schema out = stored;
  for (const auto& [number, dtype] : view.dtypes) {
    if (number >= out.fields.size()) return Status(Code::kInvalidArgument, strf("there is no field number %u", number));
    HR_RETURN_IF_ERROR(set_delivered_dtype(dtype, out.fields[number]));
  }
  for (const std::uint32_t number : view.fields) {
    if (number >= out.fields.size()) return Status(Code::kInvalidArgument, strf("there is no field number %u", number));
  }
  if (view.length == 0) return out;
  if (view.stride == 0) return Status(Code::kInvalidArgument, "sequences: stride is 0; expected at least 1 row");
  if (view.length > num_rows) {
    return Status(Code::kInvalidArgument, strf("sequences: length is %llu; the dataset has %llu samples",
                                               static_cast<unsigned long long>(view.length), static_cast<unsigned long long>(num_rows)));
  }
  for (const std::uint32_t number : view.fields) {
    format::Field& field = out.fields[number];
    if (field.kind != format::Kind::kTensor)
      return refuse(field, strf("sequences need samples of a fixed shape, it holds %s values; select() the fields that have one",
                                format::kind_name(field.kind)));
    if (field.nullable) return refuse(field, "sequences of values that may be null are not offered; select() the other fields");
    std::uint64_t bytes = 0;
    if (!checked_mul(field.row_bytes(), view.length, &bytes) || bytes > kMaxSampleBytes) {
      return Status(Code::kLimitExceeded,
                    "field '" + field.name +
                        strf("': a sequence of %llu samples of %llu bytes is beyond the limit of 2^40 bytes",
                             static_cast<unsigned long long>(view.length), static_cast<unsigned long long>(field.row_bytes())));
    }
    field.shape.insert(field.shape.begin(), view.length);
  }
  return out;
}

}  // namespace headrace::pipeline
