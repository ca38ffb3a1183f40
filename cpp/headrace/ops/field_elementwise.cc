// Steps that change each value by itself, with parameters for each component of a row.
//
// A tile's rows lie one after the other, so parameters repeat with the width; they are laid out often enough that the inner loop is long
// even where a row is a single number. The commonest steps, fill, clip and affine, become one loop where they follow each other in this
// order.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>

#include "headrace/base/multiversion.h"
#include "headrace/ops/field_step_kinds.h"

namespace headrace::ops {
namespace {

constexpr std::size_t kLeastPeriod = 64;  // values of the inner loop

// What a chain does, in this order. kLow and kShift: the affine step's second part of the centre, and its shift, are not all zero.
enum : std::uint32_t { kFill = 1, kClip = 2, kAffine = 4, kLow = 8, kShift = 16 };
enum Parameter : std::size_t { kFillWith, kLowest, kHighest, kCenter, kCenterLow, kFactor, kShiftBy, kParameters };
enum class Kind : std::uint8_t { kChain, kNullOutside, kAffineDiv, kBinarize };

template <typename T>
struct Parameters {
  std::size_t period = 0;
  std::array<std::vector<T>, kParameters> values;
};

// Null stays null in all but the fill: comparisons with NaN are false. The centre has two parts, so that float32 loses nothing of what
// float64 would keep: x - center is exact where it matters. V is a number or a vector of them.
template <std::uint32_t kDoes, typename V>
HR_INLINE void change(const V (&p)[kParameters], V& x) {
  if constexpr ((kDoes & kFill) != 0) x = x != x ? p[kFillWith] : x;
  if constexpr ((kDoes & kClip) != 0) {
    x = p[kLowest] > x ? p[kLowest] : x;
    x = p[kHighest] < x ? p[kHighest] : x;
  }
  if constexpr ((kDoes & kAffine) != 0) {
    x = x - p[kCenter];
    if constexpr ((kDoes & kLow) != 0) x = x - p[kCenterLow];
    x = x * p[kFactor];
    if constexpr ((kDoes & kShift) != 0) x = x + p[kShiftBy];
  }
}

template <typename V, typename T>
HR_INLINE void take(const Parameters<T>& p, std::size_t j, V (&out)[kParameters]) {
  for (std::size_t k = 0; k < kParameters; ++k) {
    if (!p.values[k].empty()) std::memcpy(&out[k], p.values[k].data() + j, sizeof(V));
  }
}

// Some components of all rows, a step apart: their parameters stay in registers meanwhile.
template <std::uint32_t kDoes, typename V, typename T>
HR_INLINE void chain_down(const Parameters<T>& p, std::size_t j, std::size_t rows, const T* in, T* out) {
  V parameters[kParameters] = {};
  take(p, j, parameters);
  for (std::size_t row = 0; row < rows; ++row) {
    V x;
    std::memcpy(&x, in + row * p.period + j, sizeof(V));
    change<kDoes>(parameters, x);
    std::memcpy(out + row * p.period + j, &x, sizeof(V));
  }
}

template <std::uint32_t kDoes, typename T>
HR_INLINE void chain(const Parameters<T>& p, std::size_t count, const T* in, T* out) {
  constexpr std::size_t kLanes = 64 / sizeof(T);
  typedef T Vector __attribute__((vector_size(64)));
  const std::size_t rows = count / p.period, left = count % p.period;
  std::size_t j = 0;
  for (; j + kLanes <= p.period; j += kLanes) chain_down<kDoes, Vector>(p, j, rows, in, out);
  for (; j < p.period; ++j) chain_down<kDoes, T>(p, j, rows, in, out);
  for (j = 0; j < left; ++j) chain_down<kDoes, T>(p, j, 1, in + rows * p.period, out + rows * p.period);
}

template <std::uint32_t kDoes, typename T>
HR_INLINE void chain_from(std::uint32_t does, const Parameters<T>& p, std::size_t count, const T* in, T* out) {
  if constexpr (kDoes < 32) {
    // Without the affine step its parts are none either.
    if constexpr ((kDoes & kAffine) != 0 || kDoes < kLow) {
      if (does == kDoes) return chain<kDoes>(p, count, in, out);
    }
    chain_from<kDoes + 1>(does, p, count, in, out);
  }
}

// A function of one value and two parameters.
template <typename T, typename Function>
HR_INLINE void each(const Parameters<T>& p, std::size_t count, const T* in, T* out, const T* a, const T* b, const T* c, Function function) {
  for (std::size_t base = 0; base < count; base += p.period) {
    const std::size_t n = std::min(p.period, count - base);
    for (std::size_t j = 0; j < n; ++j) out[base + j] = function(in[base + j], a[j], b[j], c[j]);
  }
}

template <typename T>
void run_single(Kind kind, const Parameters<T>& p, std::size_t count, const T* in, T* out) {
  const auto at = [&](Parameter which) { return p.values[which].data(); };
  if (kind == Kind::kNullOutside) {
    each(p, count, in, out, at(kLowest), at(kHighest), at(kHighest),
         [](T x, T low, T high, T) { return x >= low && x <= high ? x : std::numeric_limits<T>::quiet_NaN(); });
  } else if (kind == Kind::kAffineDiv) {
    // With the centre's second part gone before: it is 0 in float64, and where float32 needs a division the values are tiny.
    each(p, count, in, out, at(kCenter), at(kFactor), at(kShiftBy),
         [](T x, T center, T divisor, T shift) { return (x - center) / divisor + shift; });
  } else {
    each(p, count, in, out, at(kLowest), at(kLowest), at(kLowest), [](T x, T threshold, T, T) {
      return x != x ? x : x > threshold ? T{1} : T{0};
    });
  }
}

HR_MULTIVERSION
void run_floats(std::uint32_t does, const Parameters<float>& p, std::size_t count, const float* in, float* out) {
  chain_from<1>(does, p, count, in, out);
}

HR_MULTIVERSION
void run_doubles(std::uint32_t does, const Parameters<double>& p, std::size_t count, const double* in, double* out) {
  chain_from<1>(does, p, count, in, out);
}

template <typename T>
class Elementwise : public FieldStep {
 public:
  Elementwise(Kind kind, std::uint32_t does, Parameters<T> parameters, std::uint32_t from, std::uint32_t to, std::size_t width)
      : kind_(kind), does_(does), parameters_(std::move(parameters)), from_(from), to_(to), width_(width) {}

  void run(const FieldTile& tile) const override {
    const T* const in = tile.values<T>(from_);
    T* const out = tile.values<T>(to_);
    const std::size_t count = tile.rows * width_;
    if (kind_ != Kind::kChain) return run_single(kind_, parameters_, count, in, out);
    if constexpr (sizeof(T) == 4) {
      run_floats(does_, parameters_, count, in, out);
    } else {
      run_doubles(does_, parameters_, count, in, out);
    }
  }

  // What comes later in a chain's order, on the same register.
  bool absorb(const FieldStep& next) override {
    const auto* other = dynamic_cast<const Elementwise*>(&next);
    if (other == nullptr || kind_ != Kind::kChain || other->kind_ != Kind::kChain) return false;
    if (other->from_ != to_ || other->to_ != to_ || other->lowest() <= does_) return false;
    for (std::size_t i = 0; i < kParameters; ++i) {
      if (!other->parameters_.values[i].empty()) parameters_.values[i] = other->parameters_.values[i];
    }
    does_ |= other->does_;
    return true;
  }

 private:
  std::uint32_t lowest() const { return does_ & (~does_ + 1); }

  Kind kind_;
  std::uint32_t does_;
  Parameters<T> parameters_;
  std::uint32_t from_, to_;
  std::size_t width_;
};

struct Form {
  Kind kind;
  std::uint32_t does;
  std::vector<std::pair<const char*, Parameter>> parameters;
};

const std::map<std::string, Form>& forms() {
  static const std::map<std::string, Form> kForms{
      {"fill", {Kind::kChain, kFill, {{"value", kFillWith}}}},
      {"clip", {Kind::kChain, kClip, {{"low", kLowest}, {"high", kHighest}}}},
      {"affine", {Kind::kChain, kAffine, {{"center", kCenter}, {"factor", kFactor}, {"shift", kShiftBy}}}},
      {"null_outside", {Kind::kNullOutside, 0, {{"low", kLowest}, {"high", kHighest}}}},
      {"affine_div", {Kind::kAffineDiv, 0, {{"center", kCenter}, {"factor", kFactor}, {"shift", kShiftBy}}}},
      {"binarize", {Kind::kBinarize, 0, {{"threshold", kLowest}}}},
  };
  return kForms;
}

template <typename T>
bool any(const std::vector<T>& values) {
  return std::any_of(values.begin(), values.end(), [](T x) { return x != T{0}; });
}

template <typename T>
Result<std::unique_ptr<FieldStep>> made(const StepSpec& spec, const Form& form, std::size_t width) {
  Parameters<T> p;
  p.period = width * ((kLeastPeriod + width - 1) / width);
  for (const auto& [name, which] : form.parameters) {
    HR_ASSIGN_OR_RETURN(const std::vector<double> given, spec.numbers_of(name, width));
    std::vector<T>& values = p.values[which];
    for (std::size_t j = 0; j < p.period; ++j) values.push_back(static_cast<T>(given[j % width]));
    if (which != kCenter) continue;
    for (std::size_t j = 0; j < p.period; ++j)
      p.values[kCenterLow].push_back(std::isfinite(values[j]) ? static_cast<T>(given[j % width] - static_cast<double>(values[j])) : T{0});
  }
  std::uint32_t does = form.does;
  if (form.does == kAffine) does |= (any(p.values[kCenterLow]) ? kLow : 0u) | (any(p.values[kShiftBy]) ? kShift : 0u);
  return std::unique_ptr<FieldStep>(std::make_unique<Elementwise<T>>(form.kind, does, std::move(p), spec.inputs[0], spec.output, width));
}

}  // namespace

Result<std::unique_ptr<FieldStep>> make_elementwise(const StepSpec& spec, std::span<const Register> registers) {
  HR_RETURN_IF_ERROR(check_floats(spec, registers, 1));
  HR_RETURN_IF_ERROR(check_same(spec, registers));
  const Register& in = registers[spec.inputs[0]];
  const Form& form = forms().at(spec.kind);
  return in.type == RegisterType::kFloat32 ? made<float>(spec, form, in.width) : made<double>(spec, form, in.width);
}

}  // namespace headrace::ops
