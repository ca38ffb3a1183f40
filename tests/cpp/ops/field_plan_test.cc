#include "headrace/ops/field_plan.h"

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

namespace headrace::ops {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

format::Field field(const char* name, const char* dtype, std::vector<std::uint64_t> shape = {}, bool nullable = false) {
  format::Field out;
  out.name = name;
  REQUIRE(format::set_dtype(dtype, out).is_ok());
  out.shape = std::move(shape);
  out.nullable = nullable;
  return out;
}

StepSpec step(const char* kind, std::vector<std::uint32_t> inputs, std::uint32_t output,
              std::map<std::string, std::vector<double>> numbers = {}, std::map<std::string, std::vector<std::int64_t>> integers = {}) {
  return {kind, std::move(inputs), output, std::move(numbers), std::move(integers), {}};
}

std::string refusal(std::vector<PlanInput> inputs, std::vector<Register> registers, const std::vector<StepSpec>& steps,
                    std::vector<PlanOutput> outputs) {
  const auto plan = FieldPlan::create(std::move(inputs), std::move(registers), steps, std::move(outputs));
  REQUIRE_FALSE(plan.is_ok());
  CHECK(plan.status().code() == Code::kInvalidArgument);
  return plan.status().message();
}

// Runs a plan of one input over rows in pieces of its tiles.
template <typename To, typename From>
std::vector<To> run(const FieldPlan& plan, const std::vector<From>& in, std::size_t width, std::size_t out_width,
                    const std::vector<std::uint8_t>& valid = {}) {
  const std::size_t rows = in.size() / width;
  std::vector<To> out(rows * out_width + 1, To{77});
  FieldScratch scratch(plan);
  for (std::size_t row = 0; row < rows; row += plan.tile_rows()) {
    std::uint8_t* const to = reinterpret_cast<std::uint8_t*>(out.data() + row * out_width);
    scratch.begin(std::min(plan.tile_rows(), rows - row), {&to, 1});
    scratch.load(0,
                 {reinterpret_cast<const std::uint8_t*>(in.data() + row * width), nullptr, valid.empty() ? nullptr : valid.data() + row});
    scratch.run();
  }
  CHECK(out.back() == To{77});
  out.pop_back();
  return out;
}

std::shared_ptr<const FieldPlan> plan_of(const format::Field& in, RegisterType type, std::vector<StepSpec> steps,
                                         const char* to = "float32") {
  const auto width = static_cast<std::uint32_t>(in.row_bytes() / in.itemsize);
  auto plan = FieldPlan::create({{0, in, 0}}, {{type, width}}, steps, {{false, 0, field("out", to, in.shape)}});
  REQUIRE_MESSAGE(plan.is_ok(), plan.status().message());
  return *plan;
}

TEST_CASE("fill, clip and affine, in one plan, at widths around a vector's") {
  std::mt19937 random(1);
  for (const std::size_t width : {1u, 2u, 3u, 7u, 16u, 63u, 64u, 65u, 200u}) {
    std::vector<double> fill, low, high, center, factor, shift;
    for (std::size_t j = 0; j < width; ++j) {
      fill.push_back(static_cast<double>(j) + 0.5), low.push_back(-1.0 * static_cast<double>(j)),
          high.push_back(static_cast<double>(j) + 2);
      center.push_back(0.1 * static_cast<double>(j)), factor.push_back(1.5), shift.push_back(static_cast<double>(j % 3));
    }
    const auto plan = plan_of(field("x", "float32", {width}), RegisterType::kFloat32,
                              {step("fill", {0}, 0, {{"value", fill}}), step("clip", {0}, 0, {{"low", low}, {"high", high}}),
                               step("affine", {0}, 0, {{"center", center}, {"factor", factor}, {"shift", shift}})});
    std::vector<float> in(width * 1500);
    for (float& x : in) x = random() % 10 == 0 ? kNan : static_cast<float>(random() % 1000) / 10.0f - 50.0f;
    in[0] = std::numeric_limits<float>::infinity();
    const std::vector<float> out = run<float>(*plan, in, width, width);
    for (std::size_t i = 0; i < in.size(); ++i) {
      const std::size_t j = i % width;
      const float filled = std::isnan(in[i]) ? static_cast<float>(fill[j]) : in[i];
      const float cut = std::min(std::max(filled, static_cast<float>(low[j])), static_cast<float>(high[j]));
      const double expected = (static_cast<double>(cut) - center[j]) * factor[j] + shift[j];
      REQUIRE(out[i] == doctest::Approx(expected).epsilon(1e-6));
    }
  }
}

TEST_CASE("float32 keeps what a centre far from zero leaves") {
  const auto plan = plan_of(field("x", "float32", {1}), RegisterType::kFloat32,
                            {step("affine", {0}, 0, {{"center", {1e6 + 0.03125 / 3}}, {"factor", {1.0}}, {"shift", {0.0}}})});
  const std::vector<float> out = run<float>(*plan, std::vector<float>{1e6f, 1e6f + 1.0f}, 1, 1);
  CHECK(out[0] == doctest::Approx(-0.03125 / 3).epsilon(1e-5));
  CHECK(out[1] == doctest::Approx(1 - 0.03125 / 3).epsilon(1e-6));
}

TEST_CASE("null is NaN: of what validity says, and in every step but fill") {
  const auto plan = plan_of(field("x", "int32", {2}, true), RegisterType::kFloat64,
                            {step("clip", {0}, 0, {{"low", {0, 0}}, {"high", {5, 5}}})}, "float64");
  const std::vector<double> out = run<double>(*plan, std::vector<std::int32_t>{1, 9, -7, 4}, 2, 2, {1, 0});
  CHECK(out[0] == 1);
  CHECK(out[1] == 5);
  CHECK(std::isnan(out[2]));
  CHECK(std::isnan(out[3]));
}

TEST_CASE("integers keep all their bits, and null beside them") {
  const format::Field in = field("x", "int64", {}, true);
  auto plan = FieldPlan::create({{0, in, 0}}, {{RegisterType::kInt64, 1}}, {}, {{false, 0, field("out", "int64")}});
  REQUIRE(plan.is_ok());
  const std::int64_t large = (std::int64_t{1} << 60) + 1;
  const std::vector<std::int64_t> out = run<std::int64_t>(**plan, std::vector<std::int64_t>{large, 5}, 1, 1, {1, 0});
  CHECK(out == std::vector<std::int64_t>{large, kNullInt});
}

TEST_CASE("registers side by side, chosen, and counted as null") {
  const format::Field in = field("x", "float32", {3});
  auto plan = FieldPlan::create(
      {{0, in, 0}}, {{RegisterType::kFloat32, 3}, {RegisterType::kFloat32, 3}, {RegisterType::kFloat32, 2}, {RegisterType::kFloat64, 5}},
      {step("is_null", {0}, 1), step("take", {0}, 2, {}, {{"components", {2, 0}}}), step("concat", {2, 1}, 3)},
      {{false, 3, field("out", "float64", {5})}});
  REQUIRE_MESSAGE(plan.is_ok(), plan.status().message());
  const std::vector<double> out = run<double>(**plan, std::vector<float>{1, kNan, 3, 4, 5, 6}, 3, 5);
  CHECK(out == std::vector<double>{3, 1, 0, 1, 0, 6, 4, 0, 0, 0});
}

TEST_CASE("what does not fit is refused by name") {
  const format::Field in = field("x", "float32", {2});
  const std::vector<Register> two{{RegisterType::kFloat32, 2}, {RegisterType::kFloat32, 2}};
  const std::vector<PlanOutput> out{{false, 0, field("out", "float32", {2})}};
  CHECK(refusal({{0, in, 0}}, {{RegisterType::kFloat32, 0}}, {}, {}).find("width 0") != std::string::npos);
  CHECK(refusal({{0, in, 9}}, two, {}, out).find("'x'") != std::string::npos);
  CHECK(refusal({{0, in, 0}}, {{RegisterType::kFloat32, 3}}, {}, {}).find("2 values") != std::string::npos);
  CHECK(refusal({{0, in, 0}}, {{RegisterType::kInt64, 2}}, {}, {}).find("int64 does not hold") != std::string::npos);
  CHECK(refusal({{0, in, 0}}, {{RegisterType::kText, 1}}, {}, {}).find("text does not hold") != std::string::npos);
  CHECK(refusal({{0, in, 0}}, two, {step("juggle", {0}, 0)}, out).find("no such kind") != std::string::npos);
  CHECK(refusal({{0, in, 0}}, two, {step("fill", {0}, 0)}, out).find("lacks the parameter 'value'") != std::string::npos);
  CHECK(refusal({{0, in, 0}}, two, {step("fill", {0}, 0, {{"value", {1}}})}, out).find("1 values; expected 2") != std::string::npos);
  CHECK(refusal({{0, in, 0}}, two, {step("fill", {1}, 0, {{"value", {1, 1}}})}, out).find("before anything is written") !=
        std::string::npos);
  CHECK(refusal({{0, in, 0}}, two, {step("fill", {7}, 0, {{"value", {1, 1}}})}, out).find("no register 7") != std::string::npos);
  CHECK(refusal({{0, in, 0}}, two, {step("fill", {0}, 7, {{"value", {1, 1}}})}, out).find("no register 7") != std::string::npos);
  CHECK(refusal({{0, in, 0}}, two, {step("take", {0}, 1, {}, {{"components", {0, 2}}})}, out).find("no component 2") != std::string::npos);
  CHECK(refusal({{0, in, 0}}, two, {}, {{false, 1, field("out", "float32", {2})}}).find("nothing in register 1") != std::string::npos);
  CHECK(refusal({{0, in, 0}}, two, {}, {{false, 0, field("out", "float32", {3})}}).find("3 values") != std::string::npos);
  CHECK(refusal({{0, in, 0}}, two, {}, {{false, 0, field("out", "int32", {2})}}).find("not delivered as int32") != std::string::npos);
  CHECK(
      refusal({{0, in, 0}}, two, {step("quantile", {0}, 0, {{"references", {0, 1}}, {"landmarks", {0, 1, 1, 0}}}, {{"normal", {0}}})}, out)
          .find("do not rise") != std::string::npos);
}

TEST_CASE("a register that two outputs deliver is stored for each") {
  const format::Field in = field("x", "float32");
  auto plan = FieldPlan::create({{0, in, 0}}, {{RegisterType::kFloat32, 1}},
                                {step("affine", {0}, 0, {{"center", {1}}, {"factor", {2}}, {"shift", {0}}})},
                                {{false, 0, field("a", "float32")}, {false, 0, field("b", "float64")}, {false, 0, field("c", "float32")}});
  REQUIRE(plan.is_ok());
  float a = 0, c = 0;
  double b = 0;
  std::uint8_t* const out[] = {reinterpret_cast<std::uint8_t*>(&a), reinterpret_cast<std::uint8_t*>(&b),
                               reinterpret_cast<std::uint8_t*>(&c)};
  const float x = 4;
  FieldScratch scratch(**plan);
  scratch.begin(1, out);
  scratch.load(0, {reinterpret_cast<const std::uint8_t*>(&x), nullptr, nullptr});
  scratch.run();
  CHECK(a == 6);
  CHECK(b == 6);
  CHECK(c == 6);
}

}  // namespace
}  // namespace headrace::ops
