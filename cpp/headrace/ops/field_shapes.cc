// Steps between registers of different type or width, and those that look at a row as a whole.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "headrace/ops/field_step_kinds.h"

namespace headrace::ops {
namespace {

using Made = Result<std::unique_ptr<FieldStep>>;

template <typename To, typename From>
To converted(From x) {
  if constexpr (std::is_same_v<To, std::int64_t> && !std::is_same_v<From, std::int64_t>) {
    // Towards zero, as numpy; what int64 cannot hold is null.
    constexpr double kEnd = 9223372036854775808.0;
    const auto wide = static_cast<double>(x);
    return wide >= -kEnd && wide < kEnd ? static_cast<std::int64_t>(wide) : kNullInt;
  } else if constexpr (std::is_same_v<From, std::int64_t> && !std::is_same_v<To, std::int64_t>) {
    return x == kNullInt ? std::numeric_limits<To>::quiet_NaN() : static_cast<To>(x);
  } else {
    return static_cast<To>(x);
  }
}

// Calls visit with a value of the type's C++ type.
template <typename Visit>
void with_type(RegisterType type, const Visit& visit) {
  switch (type) {
    case RegisterType::kFloat32: return visit(float{});
    case RegisterType::kFloat64: return visit(double{});
    case RegisterType::kInt64: return visit(std::int64_t{});
    case RegisterType::kText: return;
  }
}

struct Part {
  std::uint32_t index;
  Register kind;
};

// Registers side by side in one, converted to its type.
class Concat : public FieldStep {
 public:
  Concat(std::vector<Part> parts, Part out) : parts_(std::move(parts)), out_(out) {}
  void run(const FieldTile& tile) const override {
    with_type(out_.kind.type, [&](auto to) {
      using To = decltype(to);
      std::size_t at = 0;
      for (const Part& part : parts_) {
        with_type(part.kind.type, [&](auto from) { copy<To, decltype(from)>(tile, part, at); });
        at += part.kind.width;
      }
    });
  }

 private:
  template <typename To, typename From>
  void copy(const FieldTile& tile, const Part& part, std::size_t at) const {
    const From* in = tile.values<From>(part.index);
    To* out = tile.values<To>(out_.index) + at;
    for (std::size_t row = 0; row < tile.rows; ++row, in += part.kind.width, out += out_.kind.width) {
      for (std::uint32_t j = 0; j < part.kind.width; ++j) out[j] = converted<To, From>(in[j]);
    }
  }
  std::vector<Part> parts_;
  Part out_;
};

// Some components of a register.
class Take : public FieldStep {
 public:
  Take(std::vector<std::int64_t> chosen, Part in, Part out) : chosen_(std::move(chosen)), in_(in), out_(out) {}
  void run(const FieldTile& tile) const override {
    with_type(in_.kind.type, [&](auto kind) {
      using T = decltype(kind);
      const T* in = tile.values<T>(in_.index);
      T* out = tile.values<T>(out_.index);
      for (std::size_t row = 0; row < tile.rows; ++row, in += in_.kind.width) {
        for (const std::int64_t j : chosen_) *out++ = in[j];
      }
    });
  }

 private:
  std::vector<std::int64_t> chosen_;
  Part in_, out_;
};

template <typename T>
bool is_null(T x) {
  if constexpr (std::is_same_v<T, std::int64_t>)
    return x == kNullInt;
  else
    return x != x;
}

// 1 where a value is null, else 0.
class IsNull : public FieldStep {
 public:
  IsNull(Part in, Part out) : in_(in), out_(out) {}
  void run(const FieldTile& tile) const override {
    float* const out = tile.values<float>(out_.index);
    if (in_.kind.type == RegisterType::kText) {
      for (std::size_t row = 0; row < tile.rows; ++row) out[row] = tile.texts[in_.index].is_null(row) ? 1.0f : 0.0f;
    }
    with_type(in_.kind.type, [&](auto kind) {
      const auto* in = tile.values<decltype(kind)>(in_.index);
      for (std::size_t i = 0; i < tile.rows * in_.kind.width; ++i) out[i] = is_null(in[i]) ? 1.0f : 0.0f;
    });
  }

 private:
  Part in_, out_;
};

// A number a row: 1 where all its components lie within bounds (or are null, if that is allowed), else 0.
template <typename T>
class Inside : public FieldStep {
 public:
  Inside(std::vector<double> low, std::vector<double> high, bool nulls, std::uint32_t from, std::uint32_t to)
      : low_(low.begin(), low.end()), high_(high.begin(), high.end()), nulls_(nulls), from_(from), to_(to) {}
  void run(const FieldTile& tile) const override {
    const T* in = tile.values<T>(from_);
    float* const out = tile.values<float>(to_);
    for (std::size_t row = 0; row < tile.rows; ++row, in += low_.size()) {
      bool inside = true;
      for (std::size_t j = 0; j < low_.size(); ++j) inside = inside && (in[j] != in[j] ? nulls_ : in[j] >= low_[j] && in[j] <= high_[j]);
      out[row] = inside ? 1.0f : 0.0f;
    }
  }

 private:
  std::vector<T> low_, high_;
  bool nulls_;
  std::uint32_t from_, to_;
};

enum class Norm : std::uint8_t { kL1, kL2, kMax };

constexpr double kLeastNorm = 10 * std::numeric_limits<double>::epsilon();  // scikit-learn's: what is smaller does not divide

// Each row divided by its norm; a row of zeros, or nearly, stays.
template <typename T>
class Normalize : public FieldStep {
 public:
  Normalize(Norm norm, Part in, std::uint32_t to) : norm_(norm), in_(in), to_(to) {}
  void run(const FieldTile& tile) const override {
    const T* in = tile.values<T>(in_.index);
    T* out = tile.values<T>(to_);
    const std::uint32_t width = in_.kind.width;
    for (std::size_t row = 0; row < tile.rows; ++row, in += width, out += width) {
      double sum = 0;
      for (std::uint32_t j = 0; j < width; ++j) {
        const double size = std::fabs(static_cast<double>(in[j]));
        if (norm_ == Norm::kMax)
          sum = size > sum || size != size ? size : sum;
        else
          sum += norm_ == Norm::kL1 ? size : size * size;
      }
      const double by = norm_ == Norm::kL2 ? std::sqrt(sum) : sum;
      for (std::uint32_t j = 0; j < width; ++j) out[j] = by < kLeastNorm ? in[j] : static_cast<T>(static_cast<double>(in[j]) / by);
    }
  }

 private:
  Norm norm_;
  Part in_;
  std::uint32_t to_;
};

Part part_of(std::uint32_t index, std::span<const Register> registers) { return {index, registers[index]}; }

Status check_output(const StepSpec& spec, const Register& out, RegisterType type, std::uint64_t width) {
  if (out.type == type && out.width == width) return Status::ok();
  return spec.error(strf("its output is %s x %u; expected %s x %llu", register_type_name(out.type), out.width, register_type_name(type),
                         static_cast<unsigned long long>(width)));
}

Status check_apart(const StepSpec& spec) {
  if (std::find(spec.inputs.begin(), spec.inputs.end(), spec.output) == spec.inputs.end()) return Status::ok();
  return spec.error("its output is one of its inputs");
}

Status check_one(const StepSpec& spec) {
  return spec.inputs.size() == 1 ? Status::ok() : spec.error(strf("it has %zu inputs; expected 1", spec.inputs.size()));
}

}  // namespace

Made make_concat(const StepSpec& spec, std::span<const Register> registers) {
  HR_RETURN_IF_ERROR(check_apart(spec));
  const Register& out = registers[spec.output];
  std::uint64_t width = 0;
  std::vector<Part> parts;
  for (const std::uint32_t index : spec.inputs) {
    if (registers[index].type == RegisterType::kText) return spec.error(strf("register %u holds texts; expected numbers", index));
    width += registers[index].width;
    parts.push_back(part_of(index, registers));
  }
  if (out.type == RegisterType::kText) return spec.error("its output holds texts; expected numbers");
  HR_RETURN_IF_ERROR(check_output(spec, out, out.type, width));
  return std::unique_ptr<FieldStep>(std::make_unique<Concat>(std::move(parts), part_of(spec.output, registers)));
}

// One register as another type is a Concat of it alone.
Made make_convert(const StepSpec& spec, std::span<const Register> registers) {
  HR_RETURN_IF_ERROR(check_one(spec));
  return make_concat(spec, registers);
}

Made make_take(const StepSpec& spec, std::span<const Register> registers) {
  HR_RETURN_IF_ERROR(check_one(spec));
  HR_RETURN_IF_ERROR(check_apart(spec));
  const Part in = part_of(spec.inputs[0], registers);
  HR_ASSIGN_OR_RETURN(std::vector<std::int64_t> chosen, spec.integers_of("components"));
  for (const std::int64_t j : chosen) {
    if (j < 0 || j >= static_cast<std::int64_t>(in.kind.width))
      return spec.error(strf("there is no component %lld of %u", static_cast<long long>(j), in.kind.width));
  }
  if (in.kind.type == RegisterType::kText) return spec.error("its input holds texts; expected numbers");
  HR_RETURN_IF_ERROR(check_output(spec, registers[spec.output], in.kind.type, chosen.size()));
  return std::unique_ptr<FieldStep>(std::make_unique<Take>(std::move(chosen), in, part_of(spec.output, registers)));
}

Made make_is_null(const StepSpec& spec, std::span<const Register> registers) {
  HR_RETURN_IF_ERROR(check_one(spec));
  HR_RETURN_IF_ERROR(check_apart(spec));
  const Part in = part_of(spec.inputs[0], registers);
  HR_RETURN_IF_ERROR(check_output(spec, registers[spec.output], RegisterType::kFloat32, in.kind.width));
  return std::unique_ptr<FieldStep>(std::make_unique<IsNull>(in, part_of(spec.output, registers)));
}

Made make_inside(const StepSpec& spec, std::span<const Register> registers) {
  HR_RETURN_IF_ERROR(check_floats(spec, registers, 1));
  HR_RETURN_IF_ERROR(check_apart(spec));
  const Register& in = registers[spec.inputs[0]];
  HR_RETURN_IF_ERROR(check_output(spec, registers[spec.output], RegisterType::kFloat32, 1));
  HR_ASSIGN_OR_RETURN(std::vector<double> low, spec.numbers_of("low", in.width));
  HR_ASSIGN_OR_RETURN(std::vector<double> high, spec.numbers_of("high", in.width));
  HR_ASSIGN_OR_RETURN(const std::vector<std::int64_t> nulls, spec.integers_of("nulls", 1));
  if (in.type == RegisterType::kFloat32)
    return std::unique_ptr<FieldStep>(std::make_unique<Inside<float>>(low, high, nulls[0] != 0, spec.inputs[0], spec.output));
  return std::unique_ptr<FieldStep>(std::make_unique<Inside<double>>(low, high, nulls[0] != 0, spec.inputs[0], spec.output));
}

Made make_normalize(const StepSpec& spec, std::span<const Register> registers) {
  HR_RETURN_IF_ERROR(check_floats(spec, registers, 1));
  HR_RETURN_IF_ERROR(check_same(spec, registers));
  HR_ASSIGN_OR_RETURN(const std::vector<std::int64_t> which, spec.integers_of("norm", 1));
  if (which[0] < 0 || which[0] > 2) return spec.error("the norm is none of 0 (l1), 1 (l2), 2 (max)");
  const auto norm = static_cast<Norm>(which[0]);
  const Part in = part_of(spec.inputs[0], registers);
  if (in.kind.type == RegisterType::kFloat32) return std::unique_ptr<FieldStep>(std::make_unique<Normalize<float>>(norm, in, spec.output));
  return std::unique_ptr<FieldStep>(std::make_unique<Normalize<double>>(norm, in, spec.output));
}

}  // namespace headrace::ops
