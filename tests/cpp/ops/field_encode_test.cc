// Steps that encode: what they make, and what of their parameters they refuse. The values of real data are compared in tests/prep.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "headrace/codec/xxh3.h"
#include "headrace/ops/category_table.h"
#include "headrace/ops/field_plan.h"

namespace headrace::ops {
namespace {

using Integers = std::vector<std::int64_t>;
using Numbers = std::vector<double>;
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

format::Field field(const char* name, const char* dtype, std::vector<std::uint64_t> shape = {}) {
  format::Field out;
  out.name = name;
  REQUIRE(format::set_dtype(dtype, out).is_ok());
  out.shape = std::move(shape);
  return out;
}

format::Field texts_field() {
  format::Field out;
  out.name = "t";
  out.kind = format::Kind::kString;
  out.nullable = true;
  return out;
}

struct Texts {
  std::string values;
  Integers offsets{0};
  std::vector<std::uint8_t> valid;
  explicit Texts(const std::vector<const char*>& texts) {
    for (const char* const text : texts) {
      values += text == nullptr ? "" : text;
      offsets.push_back(static_cast<std::int64_t>(values.size()));
      valid.push_back(text == nullptr ? 0 : 1);
    }
  }
  InputRows rows() const { return {reinterpret_cast<const std::uint8_t*>(values.data()), offsets.data(), valid.data()}; }
};

// The plan's only made output of one tile.
template <typename To>
std::vector<To> run(const FieldPlan& plan, const InputRows& rows, std::size_t count, std::size_t width) {
  std::vector<To> out(count * width);
  auto* const at = reinterpret_cast<std::uint8_t*>(out.data());
  FieldScratch scratch(plan);
  REQUIRE(count <= plan.tile_rows());
  scratch.begin(count, {&at, 1});
  scratch.load(0, rows);
  scratch.run();
  return out;
}

template <typename T>
InputRows rows_of(const std::vector<T>& values) {
  return {reinterpret_cast<const std::uint8_t*>(values.data()), nullptr, nullptr};
}

std::shared_ptr<const FieldPlan> plan_of(const format::Field& in, Register from, Register to, StepSpec step, const format::Field& out) {
  auto plan = FieldPlan::create({{0, in, 0}}, {from, to}, {std::move(step)}, {{false, 1, out}});
  REQUIRE_MESSAGE(plan.is_ok(), plan.status().message());
  return plan.value();
}

std::string refusal(const format::Field& in, Register from, Register to, StepSpec step) {
  const auto plan = FieldPlan::create({{0, in, 0}}, {from, to}, {std::move(step)}, {});
  REQUIRE_FALSE(plan.is_ok());
  CHECK(plan.status().code() == Code::kInvalidArgument);
  return plan.status().message();
}

bool says(const std::string& message, const char* part) {
  const bool found = message.find(part) != std::string::npos;
  if (!found) MESSAGE(message);
  return found;
}

StepSpec lookup_of_texts() {
  return {
      "lookup", {0}, 1, {{"values", {10, 20, 30}}, {"unknown", {-1}}, {"null", {-2}}}, {{"sizes", {3}}}, {{"keys", {"", "b", "\xC3\x9F"}}}};
}

TEST_CASE("a category table finds what it was given, and refuses equal ones") {
  std::vector<std::string> many;
  for (int i = 0; i < 5000; ++i) many.push_back("category " + std::to_string(i));
  const auto table = CategoryTable::of_texts(many);
  REQUIRE(table.is_ok());
  for (int i = 0; i < 5000; ++i) CHECK(table.value().find(std::string_view(many[static_cast<std::size_t>(i)])) == i);
  CHECK(table.value().find(std::string_view("category 5000")) == -1);
  CHECK(CategoryTable::of_keys({}).value().find(std::uint64_t{0}) == -1);
  CHECK(says(CategoryTable::of_keys({7, 8, 7}).status().message(), "categories 0 and 2 are equal"));
}

TEST_CASE("lookup of texts: known, unknown, empty, null") {
  const auto plan = plan_of(texts_field(), {RegisterType::kText, 1}, {RegisterType::kInt64, 1}, lookup_of_texts(), field("o", "int64"));
  const Texts texts({"b", "", nullptr, "\xC3\x9F", "B", "b "});
  CHECK(run<std::int64_t>(*plan, texts.rows(), 6, 1) == Integers{20, 10, -2, 30, -1, -1});
}

TEST_CASE("lookup of floats, a table a component; zeros are one, infinity is a value") {
  const double inf = std::numeric_limits<double>::infinity();
  const StepSpec step{
      "lookup", {0}, 1, {{"keys", {0.0, inf, 1.5}}, {"values", {1, 2, 3}}, {"unknown", {7, 8}}, {"null", {kNan, 9}}}, {{"sizes", {2, 1}}},
      {}};
  const auto plan =
      plan_of(field("x", "float32", {2}), {RegisterType::kFloat32, 2}, {RegisterType::kFloat64, 2}, step, field("o", "float64", {2}));
  const std::vector<float> in{-0.0f, 1.5f, static_cast<float>(inf), static_cast<float>(kNan), static_cast<float>(kNan), 0.0f};
  const Numbers out = run<double>(*plan, rows_of(in), 3, 2);
  CHECK(Numbers(out.begin(), out.begin() + 4) == Numbers{1, 3, 2, 9});
  CHECK(std::isnan(out[4]));
  CHECK(out[5] == 8);
}

TEST_CASE("lookups with parameters that do not fit are refused") {
  const Register text{RegisterType::kText, 1}, whole{RegisterType::kInt64, 1};
  StepSpec step = lookup_of_texts();
  step.integers["sizes"] = {4};
  CHECK(says(refusal(texts_field(), text, whole, step), "component 0 has 4 keys; there are 3 left"));
  step.integers["sizes"] = {-1};
  CHECK(says(refusal(texts_field(), text, whole, step), "has -1 keys"));
  step.integers["sizes"] = {2};
  CHECK(says(refusal(texts_field(), text, whole, step), "it has 3 keys, its components 2"));
  step = lookup_of_texts();
  step.texts["keys"] = {"a", "b", "a"};
  CHECK(says(refusal(texts_field(), text, whole, step), "component 0: categories 0 and 2 are equal"));
  step.numbers["values"] = {1};
  CHECK(says(refusal(texts_field(), text, whole, step), "parameter 'values' has 1 values; expected 3"));
  CHECK(says(refusal(texts_field(), text, {RegisterType::kInt64, 2}, lookup_of_texts()), "its output has 2 values a row"));
  StepSpec nan{"lookup", {0}, 1, {{"keys", {kNan}}, {"values", {1}}, {"unknown", {0}}, {"null", {0}}}, {{"sizes", {1}}}, {}};
  CHECK(says(refusal(field("x", "float64"), {RegisterType::kFloat64, 1}, {RegisterType::kFloat64, 1}, nan), "NaN among its keys"));
}

TEST_CASE("hash is XXH3 of the bytes, modulo the buckets") {
  const StepSpec step{"hash", {0}, 1, {}, {{"buckets", {1000}}, {"seed", {5}}, {"null", {-3}}}, {}};
  const auto plan = plan_of(texts_field(), {RegisterType::kText, 1}, {RegisterType::kInt64, 1}, step, field("o", "int64"));
  const auto expected = static_cast<std::int64_t>(codec::xxh3_baseline("abc", 3, 5) % 1000);
  CHECK(run<std::int64_t>(*plan, Texts({"abc", nullptr}).rows(), 2, 1) == Integers{expected, -3});
  StepSpec none = step;
  none.integers["buckets"] = {0};
  CHECK(says(refusal(texts_field(), {RegisterType::kText, 1}, {RegisterType::kInt64, 1}, none), "0 buckets"));
}

TEST_CASE("buckets between edges, and codes as zeros and a one") {
  const StepSpec buckets{"bucketize", {0}, 1, {{"edges", {0, 1, 5}}}, {{"sizes", {2, 1}}, {"right", {0}}, {"null", {-1}}}, {}};
  const StepSpec spread{"one_hot", {1}, 2, {}, {{"sizes", {3, 2}}}, {}};
  const auto made = FieldPlan::create({{0, field("x", "float64", {2}), 0}},
                                      {{RegisterType::kFloat64, 2}, {RegisterType::kInt64, 2}, {RegisterType::kFloat32, 5}},
                                      {buckets, spread}, {{false, 2, field("o", "float32", {5})}});
  REQUIRE(made.is_ok());
  const Numbers in{0, 5, -1, 4.9, kNan, kNan};
  CHECK(run<float>(*made.value(), rows_of(in), 3, 5) == std::vector<float>{0, 1, 0, 0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0});
  const Register from{RegisterType::kFloat64, 2}, to{RegisterType::kInt64, 2};
  StepSpec wrong = buckets;
  wrong.numbers["edges"] = {1, 0, 5};
  CHECK(says(refusal(field("x", "float64", {2}), from, to, wrong), "the edges of component 0 do not rise"));
  wrong.numbers["edges"] = {0, 1, kNan};
  CHECK(says(refusal(field("x", "float64", {2}), from, to, wrong), "the edges of component 1 do not rise"));
  wrong.numbers["edges"] = {0, 1};
  CHECK(says(refusal(field("x", "float64", {2}), from, to, wrong), "component 1 has more edges"));
  StepSpec wide{"one_hot", {0}, 1, {}, {{"sizes", {3}}}, {}};
  CHECK(says(refusal(field("x", "int64"), {RegisterType::kInt64, 1}, {RegisterType::kFloat32, 4}, wide), "3 codes; its output has 4"));
}

TEST_CASE("parts of dates at the ends of what int64 holds") {
  const StepSpec step{"date_parts", {0}, 1, {}, {{"parts", {0, 1, 2, 3}}, {"forms", {0, 0, 0, 0}}, {"multiple", {1}}}, {{"unit", {"D"}}}};
  const auto plan =
      plan_of(field("x", "datetime64[D]"), {RegisterType::kInt64, 1}, {RegisterType::kFloat64, 4}, step, field("o", "float64", {4}));
  const Integers in{0, -1, kNullInt, kNullInt + 1, std::numeric_limits<std::int64_t>::max(), -719468};
  const Numbers out = run<double>(*plan, rows_of(in), 6, 4);
  CHECK(Numbers(out.begin(), out.begin() + 8) == Numbers{1970, 1, 1, 3, 1969, 12, 31, 2});
  for (std::size_t i = 8; i < 20; ++i) CHECK(std::isnan(out[i]));
  CHECK(Numbers(out.begin() + 20, out.end()) == Numbers{0, 3, 1, 2});
  StepSpec wrong = step;
  wrong.texts["unit"] = {"fortnight"};
  CHECK(says(refusal(field("x", "datetime64[D]"), {RegisterType::kInt64, 1}, {RegisterType::kFloat64, 4}, wrong), "its unit is none of"));
  wrong = step;
  wrong.integers["parts"] = {0, 1, 2, 99};
  CHECK(says(refusal(field("x", "datetime64[D]"), {RegisterType::kInt64, 1}, {RegisterType::kFloat64, 4}, wrong), "no part or form 3"));
}

TEST_CASE("cleaned texts are in the scratch; a step may look them up, and bytes that are no UTF-8 stay") {
  const StepSpec clean{
      "clean",
      {0},
      1,
      {},
      {{"what", {1, 1, 1}}, {"replacements_there", {0, 1}}},
      {{"folds", {"\xC3\x9F", "ss"}}, {"spaces", {" ", "\xE2\x80\x83"}}, {"replaced", {"x", "y"}}, {"replacements", {"", "z"}}}};
  format::Field out = texts_field();
  auto plan = FieldPlan::create({{0, texts_field(), 0}}, {{RegisterType::kText, 1}, {RegisterType::kText, 1}}, {clean}, {{false, 1, out}});
  REQUIRE_MESSAGE(plan.is_ok(), plan.status().message());
  CHECK(plan.value()->makes_texts());
  const Texts texts(
      {" \xE2\x80\x83"
       "A\xC3\x9F ",
       nullptr, "X", "Y", "1.50", "\xFF\xC3", " ", "NaN", "\xE2\x80"});
  FieldScratch scratch(*plan.value());
  std::uint8_t* none = nullptr;
  for (int round = 0; round < 2; ++round) {
    scratch.begin(9, {&none, 1});
    scratch.load(0, texts.rows());
    scratch.run();
    const TextRows& made = scratch.texts(0);
    const std::vector<const char*> expected{"ass", nullptr, nullptr, "z", "1.5", "\xFF\xC3", nullptr, nullptr, "\xE2\x80"};
    for (std::size_t i = 0; i < 9; ++i) {
      CHECK(made.is_null(i) == (expected[i] == nullptr));
      CHECK(made.at(i) == (expected[i] == nullptr ? "" : expected[i]));
    }
  }
  StepSpec wrong = clean;
  wrong.texts["folds"] = {"a"};
  CHECK(says(refusal(texts_field(), {RegisterType::kText, 1}, {RegisterType::kText, 1}, wrong), "'folds' holds no pairs"));
  wrong = clean;
  wrong.output = 0;
  CHECK(says(refusal(texts_field(), {RegisterType::kText, 1}, {RegisterType::kText, 1}, wrong), "which holds texts already"));
}

TEST_CASE("products with a matrix and of components; a null spreads to what it is a factor of") {
  const StepSpec linear{"linear", {0}, 1, {{"center", {1, 2}}, {"matrix", {1, 0, 2, 3}}, {"shift", {10, 20}}}, {}, {}};
  const auto plan =
      plan_of(field("x", "float64", {2}), {RegisterType::kFloat64, 2}, {RegisterType::kFloat64, 2}, linear, field("o", "float64", {2}));
  CHECK(run<double>(*plan, rows_of(Numbers{1, 2, 3, 5}), 2, 2) == Numbers{10, 20, 18, 29});
  const StepSpec products{"products", {0}, 1, {}, {{"sizes", {0, 1, 2}}, {"components", {1, 0, 0}}}, {}};
  const auto powers =
      plan_of(field("x", "float64", {2}), {RegisterType::kFloat64, 2}, {RegisterType::kFloat64, 3}, products, field("o", "float64", {3}));
  const Numbers out = run<double>(*powers, rows_of(Numbers{3, 4, 2, kNan}), 2, 3);
  CHECK(Numbers(out.begin(), out.begin() + 4) == Numbers{1, 4, 9, 1});
  CHECK(std::isnan(out[4]));
  CHECK(out[5] == 4);
  StepSpec wrong = products;
  wrong.integers["components"] = {1, 0, 2};
  CHECK(says(refusal(field("x", "float64", {2}), {RegisterType::kFloat64, 2}, {RegisterType::kFloat64, 3}, wrong), "no component 2 of 2"));
  wrong.integers["components"] = {1};
  CHECK(says(refusal(field("x", "float64", {2}), {RegisterType::kFloat64, 2}, {RegisterType::kFloat64, 3}, wrong),
             "product 2 has more factors"));
}

}  // namespace
}  // namespace headrace::ops
