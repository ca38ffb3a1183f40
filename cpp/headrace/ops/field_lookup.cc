// Categories to numbers: by the table of those that are known, or by a hash where none are.
#include <cmath>
#include <cstring>

#include "headrace/codec/xxh3.h"
#include "headrace/ops/category_table.h"
#include "headrace/ops/field_step_kinds.h"

namespace headrace::ops {
namespace {

using Made = Result<std::unique_ptr<FieldStep>>;

// Calls visit(row, component, is_null, value) for each value of a register: a text, or a number's 64-bit key.
template <typename Visit>
void each_value(const FieldTile& tile, std::uint32_t index, const Register& in, const Visit& visit) {
  const std::size_t width = in.width;
  if (in.type == RegisterType::kText) {
    const TextRows& texts = tile.texts[index];
    for (std::size_t row = 0; row < tile.rows; ++row) visit(row, 0, texts.is_null(row), texts.at(row));
    return;
  }
  const auto numbers = [&](const auto* values, const auto& is_null, const auto& key) {
    for (std::size_t row = 0; row < tile.rows; ++row) {
      for (std::size_t j = 0; j < width; ++j, ++values) visit(row, j, is_null(*values), key(*values));
    }
  };
  const auto is_nan = [](auto x) { return x != x; };
  const auto of_float = [](auto x) { return float_key(static_cast<double>(x)); };
  if (in.type == RegisterType::kFloat32) return numbers(tile.values<float>(index), is_nan, of_float);
  if (in.type == RegisterType::kFloat64) return numbers(tile.values<double>(index), is_nan, of_float);
  numbers(
      tile.values<std::int64_t>(index), [](std::int64_t x) { return x == kNullInt; },
      [](std::int64_t x) { return static_cast<std::uint64_t>(x); });
}

// What the values of one component become.
template <typename To>
struct Column {
  CategoryTable table;
  std::vector<To> values;  // [category]
  To unknown{}, null{};
};

template <typename To>
class Lookup : public FieldStep {
 public:
  Lookup(std::vector<Column<To>> columns, const StepSpec& spec, const Register& in)
      : columns_(std::move(columns)), from_(spec.inputs[0]), to_(spec.output), in_(in) {}
  void run(const FieldTile& tile) const override {
    To* out = tile.values<To>(to_);
    each_value(tile, from_, in_, [&](std::size_t, std::size_t j, bool is_null, auto value) {
      const Column<To>& column = columns_[j];
      const std::int64_t place = is_null ? -1 : column.table.find(value);
      *out++ = is_null ? column.null : place < 0 ? column.unknown : column.values[static_cast<std::size_t>(place)];
    });
  }

 private:
  std::vector<Column<To>> columns_;
  std::uint32_t from_, to_;
  Register in_;
};

template <typename To>
To number(double x) {
  if constexpr (std::is_same_v<To, std::int64_t>) {
    return x > -9.2e18 && x < 9.2e18 ? static_cast<std::int64_t>(x) : kNullInt;
  } else {
    return static_cast<To>(x);
  }
}

// Categories of component j: those from `first` on, so many.
Result<CategoryTable> table_of(const StepSpec& spec, const Register& in, std::size_t first, std::size_t size) {
  const auto cut = [&](const auto& all) {
    return std::vector(all.begin() + static_cast<std::ptrdiff_t>(first), all.begin() + static_cast<std::ptrdiff_t>(first + size));
  };
  if (in.type == RegisterType::kText) return CategoryTable::of_texts(cut(spec.texts.at("keys")));
  std::vector<std::uint64_t> keys;
  if (in.type == RegisterType::kInt64) {
    for (const std::int64_t key : cut(spec.integers.at("keys"))) keys.push_back(static_cast<std::uint64_t>(key));
  } else {
    for (const double key : cut(spec.numbers.at("keys"))) keys.push_back(float_key(key));
  }
  return CategoryTable::of_keys(std::move(keys));
}

Result<std::size_t> key_count(const StepSpec& spec, const Register& in) {
  if (in.type == RegisterType::kText) {
    HR_ASSIGN_OR_RETURN(const std::vector<std::string> keys, spec.texts_of("keys"));
    return keys.size();
  }
  if (in.type == RegisterType::kInt64) {
    HR_ASSIGN_OR_RETURN(const std::vector<std::int64_t> keys, spec.integers_of("keys"));
    return keys.size();
  }
  HR_ASSIGN_OR_RETURN(const std::vector<double> keys, spec.numbers_of("keys"));
  for (const double key : keys) {
    if (std::isnan(key)) return spec.error("NaN among its keys; what nulls become is a parameter of its own");
  }
  return keys.size();
}

template <typename To>
Made lookup_to(const StepSpec& spec, const Register& in) {
  HR_ASSIGN_OR_RETURN(const std::size_t count, key_count(spec, in));
  HR_ASSIGN_OR_RETURN(const std::vector<std::int64_t> sizes, spec.integers_of("sizes", in.width));
  HR_ASSIGN_OR_RETURN(const std::vector<double> values, spec.numbers_of("values", count));
  HR_ASSIGN_OR_RETURN(const std::vector<double> unknown, spec.numbers_of("unknown", in.width));
  HR_ASSIGN_OR_RETURN(const std::vector<double> null, spec.numbers_of("null", in.width));
  std::vector<Column<To>> columns;
  std::size_t first = 0;
  for (std::size_t j = 0; j < in.width; ++j) {
    if (sizes[j] < 0 || static_cast<std::uint64_t>(sizes[j]) > count - first)
      return spec.error(strf("component %zu has %lld keys; there are %zu left", j, static_cast<long long>(sizes[j]), count - first));
    const auto size = static_cast<std::size_t>(sizes[j]);
    Result<CategoryTable> table = table_of(spec, in, first, size);
    if (!table.is_ok()) return spec.error(strf("component %zu: ", j) + table.status().message());
    Column<To> column{std::move(table).value(), {}, number<To>(unknown[j]), number<To>(null[j])};
    for (std::size_t i = first; i < first + size; ++i) column.values.push_back(number<To>(values[i]));
    columns.push_back(std::move(column));
    first += size;
  }
  if (first != count) return spec.error(strf("it has %zu keys, its components %zu", count, first));
  return std::unique_ptr<FieldStep>(std::make_unique<Lookup<To>>(std::move(columns), spec, in));
}

// XXH3 of a text's bytes, or of a number's key, little-endian.
class Hash : public FieldStep {
 public:
  Hash(std::uint64_t buckets, std::uint64_t seed, std::int64_t null, const StepSpec& spec, const Register& in)
      : buckets_(buckets), seed_(seed), null_(null), from_(spec.inputs[0]), to_(spec.output), in_(in) {}
  void run(const FieldTile& tile) const override {
    auto* out = tile.values<std::int64_t>(to_);
    each_value(tile, from_, in_, [&](std::size_t, std::size_t, bool is_null, auto value) {
      *out++ = is_null ? null_ : static_cast<std::int64_t>(hash_of(value) % buckets_);
    });
  }

 private:
  std::uint64_t hash_of(std::string_view text) const { return codec::xxh3_baseline(text.data(), text.size(), seed_); }
  std::uint64_t hash_of(std::uint64_t key) const {
    std::uint8_t bytes[8];
    for (int i = 0; i < 8; ++i) bytes[i] = static_cast<std::uint8_t>(key >> (8 * i));
    return codec::xxh3_baseline(bytes, 8, seed_);
  }
  std::uint64_t buckets_, seed_;
  std::int64_t null_;
  std::uint32_t from_, to_;
  Register in_;
};

Status check_one_apart(const StepSpec& spec, std::span<const Register> registers) {
  if (spec.inputs.size() != 1) return spec.error(strf("it has %zu inputs; expected 1", spec.inputs.size()));
  if (spec.inputs[0] == spec.output) return spec.error("its output is its input");
  const Register &in = registers[spec.inputs[0]], &out = registers[spec.output];
  if (in.width != out.width) return spec.error(strf("its output has %u values a row, its input %u", out.width, in.width));
  return in.type == RegisterType::kText && in.width != 1 ? spec.error("texts have one value a row") : Status::ok();
}

}  // namespace

Made make_lookup(const StepSpec& spec, std::span<const Register> registers) {
  HR_RETURN_IF_ERROR(check_one_apart(spec, registers));
  const Register& in = registers[spec.inputs[0]];
  switch (registers[spec.output].type) {
    case RegisterType::kFloat32: return lookup_to<float>(spec, in);
    case RegisterType::kFloat64: return lookup_to<double>(spec, in);
    case RegisterType::kInt64: return lookup_to<std::int64_t>(spec, in);
    case RegisterType::kText: break;
  }
  return spec.error("its output holds texts; expected numbers");
}

Made make_hash(const StepSpec& spec, std::span<const Register> registers) {
  HR_RETURN_IF_ERROR(check_one_apart(spec, registers));
  if (registers[spec.output].type != RegisterType::kInt64) return spec.error("its output is no int64");
  HR_ASSIGN_OR_RETURN(const std::vector<std::int64_t> buckets, spec.integers_of("buckets", 1));
  HR_ASSIGN_OR_RETURN(const std::vector<std::int64_t> seed, spec.integers_of("seed", 1));
  HR_ASSIGN_OR_RETURN(const std::vector<std::int64_t> null, spec.integers_of("null", 1));
  if (buckets[0] < 1) return spec.error(strf("%lld buckets; expected at least 1", static_cast<long long>(buckets[0])));
  return std::unique_ptr<FieldStep>(std::make_unique<Hash>(static_cast<std::uint64_t>(buckets[0]), static_cast<std::uint64_t>(seed[0]),
                                                           null[0], spec, registers[spec.inputs[0]]));
}

}  // namespace headrace::ops
