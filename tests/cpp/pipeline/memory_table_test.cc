#include "headrace/pipeline/memory_table.h"

#include <doctest/doctest.h>

#include <unistd.h>

#include <cstring>
#include <numeric>

#include "headrace/pipeline/pipeline.h"

using namespace headrace;
using namespace headrace::pipeline;

namespace {

format::Schema schema_of(const char* dtype, std::vector<std::uint64_t> shape) {
  format::Field field;
  field.name = "x";
  REQUIRE(format::set_dtype(dtype, field).is_ok());
  field.shape = std::move(shape);
  format::Schema schema;
  schema.fields.push_back(std::move(field));
  return schema;
}

MemoryPart part_of(const std::vector<std::int64_t>& values, std::int64_t stride_items = 1) {
  const auto step = static_cast<std::size_t>(stride_items);
  return {values.size() / step, {{reinterpret_cast<const std::uint8_t*>(values.data()), 8 * stride_items}}};
}

std::vector<std::int64_t> all(const std::shared_ptr<const MemoryTable>& table, int threads) {
  PipelineOptions options;
  options.fields = {0};
  options.partition.batch_size = 7;
  options.num_threads = threads;
  auto pipeline = Pipeline::create(Dataset::over(table), options);
  REQUIRE_MESSAGE(pipeline.is_ok(), pipeline.status().message());
  REQUIRE((*pipeline)->start(0, 0).is_ok());
  std::vector<std::int64_t> out;
  while (true) {
    Batch batch;
    auto next = (*pipeline)->next(std::int64_t{60} * 1'000'000'000, &batch);
    REQUIRE_MESSAGE(next.is_ok(), next.status().message());
    if (*next != Pipeline::Next::kBatch) break;
    const auto* values = reinterpret_cast<const std::int64_t*>(batch.at(batch.fields[0].values_at));
    out.insert(out.end(), values, values + batch.indices.size());
  }
  return out;
}

}  // namespace

TEST_CASE("parts follow each other, each with its own stride, and a subset chooses among all") {
  std::vector<std::int64_t> a(30), b(40);
  std::iota(a.begin(), a.end(), 100);
  std::iota(b.begin(), b.end(), 1000);
  std::vector<std::int64_t> expected = a;
  for (std::size_t i = 0; i < b.size(); i += 2) expected.push_back(b[i]);
  const auto table = MemoryTable::create(schema_of("int64", {}), {part_of(a), part_of({}), part_of(b, 2)}, nullptr);
  REQUIRE(table.is_ok());
  CHECK((*table)->num_rows() == 50);
  for (const int threads : {0, 1, 2, 8}) CHECK(all(*table, threads) == expected);
  const auto subset = (*table)->subset({49, 0, 30, 30, 29});
  REQUIRE(subset.is_ok());
  CHECK(all(*subset, 2) == std::vector<std::int64_t>{expected[49], expected[0], expected[30], expected[30], expected[29]});
  const auto again = (*subset)->subset({4, 1});
  REQUIRE(again.is_ok());
  CHECK(all(*again, 1) == std::vector<std::int64_t>{expected[29], expected[0]});
  CHECK((*subset)->subset({5}).status().code() == Code::kInvalidArgument);
}

TEST_CASE("a fingerprint tells values, length, dtype and order apart") {
  std::vector<std::int64_t> a(1000);
  std::iota(a.begin(), a.end(), 0);
  const auto print = [](const std::vector<std::int64_t>& values, const char* dtype) {
    return (*MemoryTable::create(schema_of(dtype, {}), {part_of(values)}, nullptr))->fingerprint();
  };
  const std::uint64_t base = print(a, "int64");
  CHECK(base == print(a, "int64"));
  CHECK(base != print(a, "uint64"));
  std::vector<std::int64_t> shorter(a.begin(), a.end() - 1);
  CHECK(base != print(shorter, "int64"));
  a.back() += 1;
  CHECK(base != print(a, "int64"));
  CHECK((*MemoryTable::create(schema_of("int64", {}), {part_of({})}, nullptr))->fingerprint() != base);
}

TEST_CASE("what cannot be read from memory is refused") {
  format::Schema nullable = schema_of("int64", {});
  nullable.fields[0].nullable = true;
  CHECK(MemoryTable::create(nullable, {}, nullptr).status().code() == Code::kInvalidArgument);
  format::Schema text = schema_of("int64", {});
  text.fields[0].kind = format::Kind::kString;
  CHECK(MemoryTable::create(text, {}, nullptr).status().code() == Code::kInvalidArgument);
  CHECK(MemoryTable::create(schema_of("int64", {}), {MemoryPart{3, {}}}, nullptr).status().code() == Code::kInvalidArgument);
}

TEST_CASE("columns live as long as anything that reads them") {
  auto values = std::make_shared<std::vector<std::int64_t>>(100, 7);
  std::weak_ptr<std::vector<std::int64_t>> watch = values;
  auto table = *MemoryTable::create(schema_of("int64", {}), {part_of(*values)}, values);
  auto subset = *table->subset({1, 2});
  values.reset();
  table.reset();
  CHECK_FALSE(watch.expired());
  CHECK(all(subset, 2) == std::vector<std::int64_t>{7, 7});
  subset.reset();
  // A pool thread may hold the last share for a moment after the pass ended.
  for (int i = 0; i < 1000 && !watch.expired(); ++i) ::usleep(1000);
  CHECK(watch.expired());
}
