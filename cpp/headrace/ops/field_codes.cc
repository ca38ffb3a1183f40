// Numbers to the bucket that they lie in, and codes to zeros with a one among them.
#include <algorithm>

#include "headrace/ops/field_step_kinds.h"

namespace headrace::ops {
namespace {

using Made = Result<std::unique_ptr<FieldStep>>;

// How many edges lie at or below a value (`right`: below it), a component's own edges.
template <typename T>
class Bucketize : public FieldStep {
 public:
  Bucketize(std::vector<std::vector<double>> edges, bool right, std::int64_t null, const StepSpec& spec)
      : edges_(std::move(edges)), right_(right), null_(null), from_(spec.inputs[0]), to_(spec.output) {}
  void run(const FieldTile& tile) const override {
    const T* in = tile.values<T>(from_);
    auto* out = tile.values<std::int64_t>(to_);
    for (std::size_t row = 0; row < tile.rows; ++row) {
      for (const std::vector<double>& edges : edges_) *out++ = bucket(edges, static_cast<double>(*in++));
    }
  }

 private:
  std::int64_t bucket(const std::vector<double>& edges, double x) const {
    if (x != x) return null_;
    return (right_ ? std::lower_bound(edges.begin(), edges.end(), x) : std::upper_bound(edges.begin(), edges.end(), x)) - edges.begin();
  }
  std::vector<std::vector<double>> edges_;
  bool right_;
  std::int64_t null_;
  std::uint32_t from_, to_;
};

// Component j's code is a one among its sizes[j] values; a code beyond them is zeros.
template <typename T>
class OneHot : public FieldStep {
 public:
  OneHot(std::vector<std::int64_t> sizes, std::uint32_t width, const StepSpec& spec)
      : sizes_(std::move(sizes)), width_(width), from_(spec.inputs[0]), to_(spec.output) {}
  void run(const FieldTile& tile) const override {
    const auto* in = tile.values<std::int64_t>(from_);
    T* out = tile.values<T>(to_);
    std::fill_n(out, tile.rows * width_, T{0});
    for (std::size_t row = 0; row < tile.rows; ++row) {
      for (const std::int64_t size : sizes_) {
        if (const std::int64_t code = *in++; code >= 0 && code < size) out[code] = T{1};
        out += size;
      }
    }
  }

 private:
  std::vector<std::int64_t> sizes_;
  std::uint32_t width_, from_, to_;
};

}  // namespace

Made make_bucketize(const StepSpec& spec, std::span<const Register> registers) {
  HR_RETURN_IF_ERROR(check_floats(spec, registers, 1));
  const Register &in = registers[spec.inputs[0]], &out = registers[spec.output];
  if (out.type != RegisterType::kInt64 || out.width != in.width) return spec.error(strf("its output is no int64 x %u", in.width));
  HR_ASSIGN_OR_RETURN(const std::vector<double> all, spec.numbers_of("edges"));
  HR_ASSIGN_OR_RETURN(const std::vector<std::int64_t> sizes, spec.integers_of("sizes", in.width));
  HR_ASSIGN_OR_RETURN(const std::vector<std::int64_t> right, spec.integers_of("right", 1));
  HR_ASSIGN_OR_RETURN(const std::vector<std::int64_t> null, spec.integers_of("null", 1));
  std::vector<std::vector<double>> edges;
  auto at = all.begin();
  for (const std::int64_t size : sizes) {
    if (size < 0 || size > all.end() - at) return spec.error(strf("component %zu has more edges than there are", edges.size()));
    edges.emplace_back(at, at + size);
    at += size;
    const bool has_nan = std::any_of(edges.back().begin(), edges.back().end(), [](double x) { return x != x; });
    if (has_nan || !std::is_sorted(edges.back().begin(), edges.back().end()))
      return spec.error(strf("the edges of component %zu do not rise", edges.size() - 1));
  }
  if (at != all.end()) return spec.error(strf("%td edges belong to no component", all.end() - at));
  if (in.type == RegisterType::kFloat32)
    return std::unique_ptr<FieldStep>(std::make_unique<Bucketize<float>>(std::move(edges), right[0] != 0, null[0], spec));
  return std::unique_ptr<FieldStep>(std::make_unique<Bucketize<double>>(std::move(edges), right[0] != 0, null[0], spec));
}

Made make_one_hot(const StepSpec& spec, std::span<const Register> registers) {
  if (spec.inputs.size() != 1) return spec.error(strf("it has %zu inputs; expected 1", spec.inputs.size()));
  const Register &in = registers[spec.inputs[0]], &out = registers[spec.output];
  if (in.type != RegisterType::kInt64) return spec.error("its input is no int64");
  HR_ASSIGN_OR_RETURN(std::vector<std::int64_t> sizes, spec.integers_of("sizes", in.width));
  std::uint64_t width = 0;
  for (const std::int64_t size : sizes) {
    if (size < 0 || size > out.width)
      return spec.error(strf("%lld codes; its output has %u values", static_cast<long long>(size), out.width));
    width += static_cast<std::uint64_t>(size);
  }
  if (width != out.width)
    return spec.error(strf("%llu codes; its output has %u values", static_cast<unsigned long long>(width), out.width));
  if (out.type == RegisterType::kFloat32)
    return std::unique_ptr<FieldStep>(std::make_unique<OneHot<float>>(std::move(sizes), out.width, spec));
  if (out.type == RegisterType::kFloat64)
    return std::unique_ptr<FieldStep>(std::make_unique<OneHot<double>>(std::move(sizes), out.width, spec));
  return spec.error("its output is none of float32, float64");
}

}  // namespace headrace::ops
