// Steps that change each value by itself, with parameters for each component of a row.
//
// A tile's rows lie one after the other, so parameters repeat with the width; they are laid out often enough that the inner loop is long
// even where a row is a single number.
#include <algorithm>
#include <cmath>
#include <limits>

#include "headrace/base/multiversion.h"
#include "headrace/ops/field_step_kinds.h"

namespace headrace::ops {
namespace {

constexpr std::size_t kLeastPeriod = 64;  // values of the inner loop

// Null stays null in all but Fill: comparisons with NaN are false.
struct Fill {
  template <typename T>
  static HR_INLINE T of(T x, T a, T, T, T) {
    return x != x ? a : x;
  }
};
struct Clip {
  template <typename T>
  static HR_INLINE T of(T x, T low, T high, T, T) {
    const T above = x < low ? low : x;
    return above > high ? high : above;
  }
};
struct NullOutside {
  template <typename T>
  static HR_INLINE T of(T x, T low, T high, T, T) {
    return x >= low && x <= high ? x : std::numeric_limits<T>::quiet_NaN();
  }
};
// The centre in two parts, so that float32 loses nothing of what float64 would keep: x - high is exact where it matters.
struct Affine {
  template <typename T>
  static HR_INLINE T of(T x, T high, T low, T factor, T shift) {
    return ((x - high) - low) * factor + shift;
  }
};
struct AffineDiv {
  template <typename T>
  static HR_INLINE T of(T x, T high, T low, T divisor, T shift) {
    return ((x - high) - low) / divisor + shift;
  }
};
struct Binarize {
  template <typename T>
  static HR_INLINE T of(T x, T threshold, T, T, T) {
    return x != x ? x : x > threshold ? T{1} : T{0};
  }
};

enum class Kind : std::uint8_t { kFill, kClip, kNullOutside, kAffine, kAffineDiv, kBinarize };

template <typename T>
struct Parameters {
  std::size_t period = 0;
  std::vector<T> values[4];
};

template <typename Function, typename T>
HR_INLINE void each(const Parameters<T>& p, std::size_t count, const T* in, T* out) {
  const T *const a = p.values[0].data(), *const b = p.values[1].data(), *const c = p.values[2].data(), *const d = p.values[3].data();
  for (std::size_t base = 0; base < count; base += p.period) {
    const std::size_t n = std::min(p.period, count - base);
    const T* const from = in + base;
    T* const to = out + base;
#pragma GCC ivdep
    for (std::size_t j = 0; j < n; ++j) to[j] = Function::template of<T>(from[j], a[j], b[j], c[j], d[j]);
  }
}

template <typename T>
HR_INLINE void each_of(Kind kind, const Parameters<T>& p, std::size_t count, const T* in, T* out) {
  switch (kind) {
    case Kind::kFill: return each<Fill>(p, count, in, out);
    case Kind::kClip: return each<Clip>(p, count, in, out);
    case Kind::kNullOutside: return each<NullOutside>(p, count, in, out);
    case Kind::kAffine: return each<Affine>(p, count, in, out);
    case Kind::kAffineDiv: return each<AffineDiv>(p, count, in, out);
    case Kind::kBinarize: return each<Binarize>(p, count, in, out);
  }
}

HR_MULTIVERSION
void run_floats(Kind kind, const Parameters<float>& p, std::size_t count, const float* in, float* out) { each_of(kind, p, count, in, out); }

HR_MULTIVERSION
void run_doubles(Kind kind, const Parameters<double>& p, std::size_t count, const double* in, double* out) {
  each_of(kind, p, count, in, out);
}

template <typename T>
class Elementwise : public FieldStep {
 public:
  Elementwise(Kind kind, Parameters<T> parameters, std::uint32_t from, std::uint32_t to, std::size_t width)
      : kind_(kind), parameters_(std::move(parameters)), from_(from), to_(to), width_(width) {}
  void run(const FieldTile& tile) const override {
    const T* const in = tile.values<T>(from_);
    T* const out = tile.values<T>(to_);
    if constexpr (sizeof(T) == 4) {
      run_floats(kind_, parameters_, tile.rows * width_, in, out);
    } else {
      run_doubles(kind_, parameters_, tile.rows * width_, in, out);
    }
  }

 private:
  Kind kind_;
  Parameters<T> parameters_;
  std::uint32_t from_, to_;
  std::size_t width_;
};

struct Form {
  Kind kind;
  std::vector<const char*> names;
};

const std::map<std::string, Form>& forms() {
  static const std::map<std::string, Form> kForms{
      {"fill", {Kind::kFill, {"value"}}},
      {"clip", {Kind::kClip, {"low", "high"}}},
      {"null_outside", {Kind::kNullOutside, {"low", "high"}}},
      {"affine", {Kind::kAffine, {"center", "factor", "shift"}}},
      {"affine_div", {Kind::kAffineDiv, {"center", "factor", "shift"}}},
      {"binarize", {Kind::kBinarize, {"threshold"}}},
  };
  return kForms;
}

// The bounds of a clip in float32 are the nearest ones inside, so that no value beyond a bound passes.
template <typename T>
void lay_out(const std::vector<std::vector<double>>& given, bool centered, Parameters<T>& p, std::size_t width) {
  p.period = width * std::max<std::size_t>(1, (kLeastPeriod + width - 1) / width);
  for (std::vector<T>& values : p.values) values.assign(p.period, T{0});
  for (std::size_t k = 0; k < given.size(); ++k) {
    // The centre takes two places.
    std::vector<T>& values = p.values[centered && k > 0 ? k + 1 : k];
    for (std::size_t j = 0; j < p.period; ++j) {
      values[j] = static_cast<T>(given[k][j % width]);
      if (centered && k == 0 && std::isfinite(values[j]))
        p.values[1][j] = static_cast<T>(given[0][j % width] - static_cast<double>(values[j]));
    }
  }
}

template <typename T>
std::unique_ptr<FieldStep> made(const StepSpec& spec, const Form& form, const std::vector<std::vector<double>>& given, std::size_t width) {
  Parameters<T> parameters;
  lay_out(given, form.kind == Kind::kAffine || form.kind == Kind::kAffineDiv, parameters, width);
  return std::make_unique<Elementwise<T>>(form.kind, std::move(parameters), spec.inputs[0], spec.output, width);
}

}  // namespace

Result<std::unique_ptr<FieldStep>> make_elementwise(const StepSpec& spec, std::span<const Register> registers) {
  HR_RETURN_IF_ERROR(check_floats(spec, registers, 1));
  HR_RETURN_IF_ERROR(check_same(spec, registers));
  const Register& in = registers[spec.inputs[0]];
  const Form& form = forms().at(spec.kind);
  std::vector<std::vector<double>> given;
  for (const char* name : form.names) {
    HR_ASSIGN_OR_RETURN(std::vector<double> values, spec.numbers_of(name, in.width));
    given.push_back(std::move(values));
  }
  if (in.type == RegisterType::kFloat32) return made<float>(spec, form, given, in.width);
  return made<double>(spec, form, given, in.width);
}

}  // namespace headrace::ops
