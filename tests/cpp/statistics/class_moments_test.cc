#include "headrace/statistics/class_moments.h"

#include <doctest/doctest.h>

#include <limits>
#include <random>

namespace headrace::statistics {
namespace {

using format::DType;

struct Data {
  std::size_t width;
  std::vector<double> values;
  std::vector<std::int64_t> labels;

  Data(std::size_t rows, std::size_t columns, std::int64_t classes) : width(columns), values(rows * columns), labels(rows) {
    std::mt19937_64 random(rows + columns);
    std::normal_distribution<double> normal(10, 1);
    for (double& value : values) value = normal(random);
    for (std::int64_t& label : labels) label = static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(classes));
  }
  Rows rows(std::size_t from, std::size_t count) const {
    return {DType::kFloat64, reinterpret_cast<const std::uint8_t*>(values.data() + from * width), count, width, nullptr, false};
  }
};

TEST_CASE("means and scatter are those of the definition, whatever threads and cut") {
  const Data data(9000, 19, 3);
  std::vector<long double> mean(3 * 19), count(3), within(19 * 19);
  for (std::size_t r = 0; r < 9000; ++r) {
    const auto k = static_cast<std::size_t>(data.labels[r]);
    count[k] += 1;
    for (std::size_t c = 0; c < 19; ++c) mean[k * 19 + c] += data.values[r * 19 + c];
  }
  for (std::size_t i = 0; i < mean.size(); ++i) mean[i] /= count[i / 19];
  for (std::size_t r = 0; r < 9000; ++r) {
    const long double* m = mean.data() + static_cast<std::size_t>(data.labels[r]) * 19;
    for (std::size_t i = 0; i < 19; ++i) {
      for (std::size_t j = i; j < 19; ++j) within[i * 19 + j] += (data.values[r * 19 + i] - m[i]) * (data.values[r * 19 + j] - m[j]);
    }
  }
  std::vector<std::uint8_t> state;
  for (const int threads : {0, 1, 2, 8}) {
    for (const std::size_t step : {9000u, 4097u, 77u}) {
      ClassMoments found = *ClassMoments::create(19, 3);
      for (std::size_t r = 0; r < 9000; r += step) {
        REQUIRE(found.update(data.rows(r, std::min(step, 9000 - r)), data.labels.data() + r, threads).is_ok());
      }
      REQUIRE(found.settle(threads).is_ok());
      if (state.empty()) state = *found.save();
      REQUIRE(*found.save() == state);
      for (std::size_t i = 0; i < 3 * 19; ++i) REQUIRE(found.mean()[i] == doctest::Approx(static_cast<double>(mean[i])).epsilon(1e-13));
      for (std::size_t i = 0; i < 19; ++i) {
        for (std::size_t j = i; j < 19; ++j) {
          REQUIRE(found.within()[i * found.pitch() + j] == doctest::Approx(static_cast<double>(within[i * 19 + j])).epsilon(1e-9));
        }
      }
    }
  }
  CHECK(*ClassMoments::load(state)->save() == state);
  for (std::size_t size = 0; size < state.size(); size += 13) REQUIRE(!ClassMoments::load({state.data(), size}).is_ok());
}

TEST_CASE("incomplete and unlabelled rows are left out; a wrong label changes nothing") {
  Data data(100, 2, 2);
  data.values[5] = std::numeric_limits<double>::quiet_NaN();
  data.values[20] = -std::numeric_limits<double>::infinity();
  data.labels[50] = -1;
  ClassMoments found = *ClassMoments::create(2, 2);
  REQUIRE(found.update(data.rows(0, 100), data.labels.data(), 0).is_ok());
  REQUIRE(found.settle(0).is_ok());
  CHECK(found.left_out() == 3);
  CHECK(found.count()[0] + found.count()[1] == 97);
  data.labels[99] = 2;
  const Status refused = found.update(data.rows(0, 100), data.labels.data(), 0);
  CHECK(refused.code() == Code::kInvalidArgument);
  CHECK(refused.message().find("row 99") != std::string::npos);
  REQUIRE(found.settle(0).is_ok());
  CHECK(found.count()[0] + found.count()[1] == 97);
  CHECK(!ClassMoments::create(2, std::size_t{1} << 40).is_ok());
}

}  // namespace
}  // namespace headrace::statistics
