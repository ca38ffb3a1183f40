#include "headrace/ops/resample.h"

#include <doctest/doctest.h>

#include <cstdlib>
#include <utility>
#include <vector>

namespace headrace::ops {
namespace {

std::vector<std::uint8_t> noise(std::size_t count) {
  std::vector<std::uint8_t> out(count);
  std::uint32_t state = 99;
  for (std::uint8_t& byte : out) {
    state = state * 1664525u + 1013904223u;
    byte = static_cast<std::uint8_t>(state >> 24);
  }
  return out;
}

}  // namespace

TEST_CASE("every filter, size, window and direction: the vectors' bits are the plain loops'") {
  for (const Filter filter : {Filter::kNearest, Filter::kBox, Filter::kBilinear, Filter::kHamming, Filter::kBicubic, Filter::kLanczos}) {
    for (const auto& [in, out] : {std::pair{1u, 1u}, {1u, 33u}, {97u, 1u}, {97u, 64u}, {97u, 65u}, {31u, 224u}, {500u, 17u}}) {
      for (const std::uint32_t channels : {1u, 3u}) {
        for (const bool backwards : {false, true}) {
          Axis columns, rows;
          const std::uint32_t begin = out / 3, count = out - begin;
          make_axis(filter, in, 0, in, out, begin, count, backwards, &columns);
          make_axis(filter, 53, 2.5, 50.25, 20, 3, 15, !backwards, &rows);
          const std::size_t stride = in * channels + 5;
          const std::vector<std::uint8_t> pixels = noise(stride * 53 + 16);
          const std::uint8_t* first = pixels.data() + rows.begin * stride + columns.begin * channels;
          std::vector<std::uint8_t> fast(std::size_t{count} * 15 * channels), plain(fast.size());
          resample(first, stride, channels, columns, rows, fast.data());
          resample_reference(first, stride, channels, columns, rows, plain.data());
          CHECK(fast == plain);
        }
      }
    }
  }
}

TEST_CASE("an axis stays inside its input, its weights add up to one, and a window is a part of the whole") {
  for (const Filter filter : {Filter::kNearest, Filter::kBox, Filter::kBilinear, Filter::kBicubic, Filter::kLanczos}) {
    Axis whole, window, backwards;
    make_axis(filter, 100, 10.25, 77.5, 30, 0, 30, false, &whole);
    make_axis(filter, 100, 10.25, 77.5, 30, 5, 7, false, &window);
    make_axis(filter, 100, 10.25, 77.5, 30, 0, 30, true, &backwards);
    CHECK(whole.end <= 100);
    for (std::size_t i = 0; i < 30; ++i) {
      std::int64_t sum = 0;
      for (std::size_t tap = 0; tap < whole.taps[i]; ++tap) sum += whole.weights[i * whole.most + tap];
      CHECK(std::abs(sum - (1 << 22)) <= static_cast<std::int64_t>(whole.taps[i]));
      CHECK(whole.begin + whole.first[i] + whole.taps[i] <= whole.end);
      CHECK(backwards.first[29 - i] == whole.first[i]);
      if (i >= 5 && i < 12) CHECK(window.begin + window.first[i - 5] == whole.begin + whole.first[i]);
    }
  }
}

}  // namespace headrace::ops
