// Values to quantiles, by landmarks: scikit-learn's QuantileTransformer.
//
// Between landmarks a value is interpolated; where several landmarks are equal, it gets the middle of what the search from below and the
// search from above give.
#include <algorithm>
#include <cmath>

#include "headrace/ops/field_step_kinds.h"

namespace headrace::ops {
namespace {

constexpr double kEdge = 1e-7;  // a normal's quantiles are cut there

// Acklam's rational approximation with one step of Halley's: to the last bits of float64.
double normal_quantile(double p) {
  constexpr double a[] = {-3.969683028665376e+01, 2.209460984245205e+02,  -2.759285104469687e+02,
                          1.383577518672690e+02,  -3.066479806614716e+01, 2.506628277459239e+00};
  constexpr double b[] = {-5.447609879822406e+01, 1.615858368580409e+02, -1.556989798598866e+02, 6.680131188771972e+01,
                          -1.328068155288572e+01};
  constexpr double c[] = {-7.784894002430293e-03, -3.223964580411365e-01, -2.400758277161838e+00,
                          -2.549732539343734e+00, 4.374664141464968e+00,  2.938163982698783e+00};
  constexpr double d[] = {7.784695709041462e-03, 3.224671290700398e-01, 2.445134137142996e+00, 3.754408661907416e+00};
  double x = 0;
  if (p < 0.02425 || p > 1 - 0.02425) {
    const double q = std::sqrt(-2 * std::log(p < 0.5 ? p : 1 - p));
    const double tail =
        (((((c[0] * q + c[1]) * q + c[2]) * q + c[3]) * q + c[4]) * q + c[5]) / ((((d[0] * q + d[1]) * q + d[2]) * q + d[3]) * q + 1);
    x = p < 0.5 ? tail : -tail;
  } else {
    const double q = p - 0.5, r = q * q;
    x = (((((a[0] * r + a[1]) * r + a[2]) * r + a[3]) * r + a[4]) * r + a[5]) * q /
        (((((b[0] * r + b[1]) * r + b[2]) * r + b[3]) * r + b[4]) * r + 1);
  }
  for (int round = 0; round < 2; ++round) {
    // From the nearer tail, where the difference keeps its digits.
    const double error = x < 0 ? 0.5 * std::erfc(-x / std::sqrt(2.0)) - p : (1 - p) - 0.5 * std::erfc(x / std::sqrt(2.0));
    const double u = error * std::sqrt(2 * M_PI) * std::exp(x * x / 2);
    x -= u / (1 + x * u / 2);
  }
  return x;
}

// numpy.interp over rising landmarks.
double interpolate(const double* x, const double* y, std::size_t count, double at) {
  const std::size_t right = static_cast<std::size_t>(std::upper_bound(x, x + count, at) - x);
  if (right == 0) return y[0];
  if (right == count) return y[count - 1];
  const double slope = (y[right] - y[right - 1]) / (x[right] - x[right - 1]);
  return slope * (at - x[right - 1]) + y[right - 1];
}

template <typename T>
class QuantileStep : public FieldStep {
 public:
  QuantileStep(std::vector<double> landmarks, std::vector<double> references, bool normal, const StepSpec& spec, std::uint32_t width)
      : landmarks_(std::move(landmarks)),
        references_(std::move(references)),
        normal_(normal),
        from_(spec.inputs[0]),
        to_(spec.output),
        width_(width) {
    for (auto at = landmarks_.rbegin(); at != landmarks_.rend(); ++at) negated_.push_back(-*at);
    for (auto at = references_.rbegin(); at != references_.rend(); ++at) negated_references_.push_back(-*at);
  }
  void run(const FieldTile& tile) const override {
    const T* in = tile.values<T>(from_);
    T* out = tile.values<T>(to_);
    for (std::size_t row = 0; row < tile.rows; ++row) {
      for (std::uint32_t j = 0; j < width_; ++j, ++in, ++out) *out = static_cast<T>(of(static_cast<double>(*in), j));
    }
  }

 private:
  double of(double x, std::uint32_t component) const {
    if (x != x) return x;
    const std::size_t count = references_.size();
    const double* const marks = landmarks_.data() + component * count;
    // Reversed as a whole, so this component's begin where the others' end.
    const double* const negated = negated_.data() + (width_ - 1 - component) * count;
    double share = 0.5 * (interpolate(marks, references_.data(), count, x) - interpolate(negated, negated_references_.data(), count, -x));
    const double threshold = normal_ ? kEdge : 0;
    if (x + threshold > marks[count - 1] || x >= marks[count - 1]) share = 1;
    if (x - threshold < marks[0] || x <= marks[0]) share = 0;
    return normal_ ? normal_quantile(std::clamp(share, kEdge - 2.220446049250313e-16, 1 - (kEdge - 2.220446049250313e-16))) : share;
  }

  std::vector<double> landmarks_, references_;  // [component][mark], [mark]
  std::vector<double> negated_, negated_references_;
  bool normal_;
  std::uint32_t from_, to_, width_;
};

}  // namespace

Result<std::unique_ptr<FieldStep>> make_quantile(const StepSpec& spec, std::span<const Register> registers) {
  HR_RETURN_IF_ERROR(check_floats(spec, registers, 1));
  HR_RETURN_IF_ERROR(check_same(spec, registers));
  const Register& in = registers[spec.inputs[0]];
  HR_ASSIGN_OR_RETURN(std::vector<double> references, spec.numbers_of("references"));
  if (references.empty()) return spec.error("it has no references");
  HR_ASSIGN_OR_RETURN(std::vector<double> landmarks, spec.numbers_of("landmarks", references.size() * in.width));
  for (std::uint32_t j = 0; j < in.width; ++j) {
    const auto first = landmarks.begin() + static_cast<std::ptrdiff_t>(j * references.size());
    if (!std::is_sorted(first, first + static_cast<std::ptrdiff_t>(references.size())))
      return spec.error(strf("the landmarks of component %u do not rise", j));
  }
  HR_ASSIGN_OR_RETURN(const std::vector<std::int64_t> normal, spec.integers_of("normal", 1));
  const bool is_normal = normal[0] != 0;
  if (in.type == RegisterType::kFloat32)
    return std::unique_ptr<FieldStep>(
        std::make_unique<QuantileStep<float>>(std::move(landmarks), std::move(references), is_normal, spec, in.width));
  return std::unique_ptr<FieldStep>(
      std::make_unique<QuantileStep<double>>(std::move(landmarks), std::move(references), is_normal, spec, in.width));
}

}  // namespace headrace::ops
