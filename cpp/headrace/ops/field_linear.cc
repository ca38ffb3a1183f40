// Products of a row: with a matrix, as projections are, and of its components with each other.
#include <algorithm>

#include "headrace/base/multiversion.h"
#include "headrace/ops/field_step_kinds.h"

namespace headrace::ops {
namespace {

using Made = Result<std::unique_ptr<FieldStep>>;

// to[k] += by * from[k], in an order of additions that no processor changes.
HR_MULTIVERSION
void add_scaled(double by, const double* from, std::size_t count, double* to) {
#pragma GCC ivdep
  for (std::size_t k = 0; k < count; ++k) to[k] += by * from[k];
}

// (x - center) M + shift, summed in float64, component after component.
template <typename T>
class Linear : public FieldStep {
 public:
  Linear(std::vector<double> center, std::vector<double> matrix, std::vector<double> shift, const StepSpec& spec)
      : center_(std::move(center)), matrix_(std::move(matrix)), shift_(std::move(shift)), from_(spec.inputs[0]), to_(spec.output) {}
  void run(const FieldTile& tile) const override {
    const T* in = tile.values<T>(from_);
    T* out = tile.values<T>(to_);
    std::vector<double> sums(shift_.size());
    for (std::size_t row = 0; row < tile.rows; ++row, out += sums.size()) {
      std::copy(shift_.begin(), shift_.end(), sums.begin());
      for (std::size_t j = 0; j < center_.size(); ++j)
        add_scaled(static_cast<double>(*in++) - center_[j], matrix_.data() + j * sums.size(), sums.size(), sums.data());
      for (std::size_t k = 0; k < sums.size(); ++k) out[k] = static_cast<T>(sums[k]);
    }
  }

 private:
  std::vector<double> center_, matrix_, shift_;  // [in], [in][out], [out]
  std::uint32_t from_, to_;
};

// Each output is the product of some components; of none: 1.
template <typename T>
class Products : public FieldStep {
 public:
  Products(std::vector<std::vector<std::uint32_t>> factors, const StepSpec& spec, std::uint32_t width)
      : factors_(std::move(factors)), from_(spec.inputs[0]), to_(spec.output), width_(width) {}
  void run(const FieldTile& tile) const override {
    const T* in = tile.values<T>(from_);
    T* out = tile.values<T>(to_);
    for (std::size_t row = 0; row < tile.rows; ++row, in += width_) {
      for (const std::vector<std::uint32_t>& factors : factors_) {
        T product{1};
        for (const std::uint32_t j : factors) product *= in[j];
        *out++ = product;
      }
    }
  }

 private:
  std::vector<std::vector<std::uint32_t>> factors_;
  std::uint32_t from_, to_, width_;
};

Status check_floats_apart(const StepSpec& spec, std::span<const Register> registers) {
  HR_RETURN_IF_ERROR(check_floats(spec, registers, 1));
  if (spec.inputs[0] == spec.output) return spec.error("its output is its input");
  return registers[spec.inputs[0]].type == registers[spec.output].type ? Status::ok()
                                                                       : spec.error("its output is of another type than its input");
}

}  // namespace

Made make_linear(const StepSpec& spec, std::span<const Register> registers) {
  HR_RETURN_IF_ERROR(check_floats_apart(spec, registers));
  const Register &in = registers[spec.inputs[0]], &out = registers[spec.output];
  HR_ASSIGN_OR_RETURN(std::vector<double> center, spec.numbers_of("center", in.width));
  HR_ASSIGN_OR_RETURN(std::vector<double> matrix, spec.numbers_of("matrix", std::size_t{in.width} * out.width));
  HR_ASSIGN_OR_RETURN(std::vector<double> shift, spec.numbers_of("shift", out.width));
  if (in.type == RegisterType::kFloat32)
    return std::unique_ptr<FieldStep>(std::make_unique<Linear<float>>(std::move(center), std::move(matrix), std::move(shift), spec));
  return std::unique_ptr<FieldStep>(std::make_unique<Linear<double>>(std::move(center), std::move(matrix), std::move(shift), spec));
}

Made make_products(const StepSpec& spec, std::span<const Register> registers) {
  HR_RETURN_IF_ERROR(check_floats_apart(spec, registers));
  const Register &in = registers[spec.inputs[0]], &out = registers[spec.output];
  HR_ASSIGN_OR_RETURN(const std::vector<std::int64_t> sizes, spec.integers_of("sizes", out.width));
  HR_ASSIGN_OR_RETURN(const std::vector<std::int64_t> all, spec.integers_of("components"));
  std::vector<std::vector<std::uint32_t>> factors;
  auto at = all.begin();
  for (const std::int64_t size : sizes) {
    if (size < 0 || size > all.end() - at) return spec.error(strf("product %zu has more factors than there are", factors.size()));
    factors.emplace_back();
    for (const auto end = at + size; at != end; ++at) {
      if (*at < 0 || *at >= in.width) return spec.error(strf("there is no component %lld of %u", static_cast<long long>(*at), in.width));
      factors.back().push_back(static_cast<std::uint32_t>(*at));
    }
  }
  if (at != all.end()) return spec.error(strf("%td factors belong to no product", all.end() - at));
  if (in.type == RegisterType::kFloat32)
    return std::unique_ptr<FieldStep>(std::make_unique<Products<float>>(std::move(factors), spec, in.width));
  return std::unique_ptr<FieldStep>(std::make_unique<Products<double>>(std::move(factors), spec, in.width));
}

}  // namespace headrace::ops
