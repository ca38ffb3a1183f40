#include "headrace/ops/image_mix.h"

#include <doctest/doctest.h>

#include <cstring>
#include <vector>

namespace headrace::ops {
namespace {

using format::DType;

std::vector<float> counting(std::size_t count) {
  std::vector<float> values(count);
  for (std::size_t i = 0; i < count; ++i) values[i] = static_cast<float>(i);
  return values;
}

TEST_CASE("MixUp adds shares of neighbours, the first with the last, as it was") {
  std::vector<float> images = counting(3 * 12);
  const std::vector<float> was = images;
  mix_images({MixKind::kMixUp, 0.75, {}}, DType::kFloat32, {2, 2, 4, false}, 3, reinterpret_cast<std::uint8_t*>(images.data()));
  for (std::size_t i = 0; i < 3; ++i) {
    for (std::size_t j = 0; j < 12; ++j) CHECK(images[i * 12 + j] == was[(i + 2) % 3 * 12 + j] * 0.25f + was[i * 12 + j] * 0.75f);
  }
}

TEST_CASE("CutMix copies the box of the image before, in each layout") {
  for (const bool last : {false, true}) {
    std::vector<std::uint8_t> images(std::size_t{2} * 3 * 4 * 5);
    for (std::size_t i = 0; i < images.size(); ++i) images[i] = static_cast<std::uint8_t>(i);
    const std::vector<std::uint8_t> was = images;
    mix_images({MixKind::kCutMix, 0.7, {1, 2, 3, 2}}, DType::kUInt8, {4, 5, 1, last}, 2, images.data());
    for (std::size_t n = 0; n < 2; ++n) {
      for (std::size_t c = 0; c < 3; ++c) {
        for (std::size_t y = 0; y < 4; ++y) {
          for (std::size_t x = 0; x < 5; ++x) {
            const std::size_t at = last ? (y * 5 + x) * 3 + c : (c * 4 + y) * 5 + x;
            const bool inside = x >= 1 && x < 4 && y >= 2;
            CHECK(images[n * 60 + at] == was[(inside ? 1 - n : n) * 60 + at]);
          }
        }
      }
    }
  }
}

TEST_CASE("labels become shares, and whole again where neighbours are alike") {
  std::vector<float> out(3 * 4, 9.0f);
  mix_labels({MixKind::kMixUp, 0.25, {}}, {1, 1, 3}, 4, out.data());
  CHECK(out == std::vector<float>{0, 0.25f, 0, 0.75f, 0, 1, 0, 0, 0, 0.75f, 0, 0.25f});
  mix_labels({}, {1, 1, 3}, 4, out.data());
  CHECK(out == std::vector<float>{0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1});
}

TEST_CASE("a batch of none or one image is mixed without a neighbour") {
  std::uint8_t nothing = 7;
  mix_images({MixKind::kMixUp, 0.5, {}}, DType::kFloat32, {1, 1, 4, false}, 0, &nothing);
  CHECK(nothing == 7);
  std::vector<float> one{2, 4, 8};
  mix_images({MixKind::kMixUp, 0.5, {}}, DType::kFloat32, {1, 1, 4, false}, 1, reinterpret_cast<std::uint8_t*>(one.data()));
  CHECK(one == std::vector<float>{2, 4, 8});
}

TEST_CASE("draws depend on the key alone, and boxes stay inside") {
  const auto mix = *ImageMix::create({{MixKind::kCutMix, 0.3, 1.0}, {MixKind::kMixUp, 1e-6, 2.0}}, 5);
  CHECK(mix->has(MixKind::kMixUp));
  CHECK_FALSE(mix->has(MixKind::kNone));
  for (std::uint64_t i = 0; i < 2000; ++i) {
    const Mix a = mix->draw({1, i}, 3, 7), b = mix->draw({1, i}, 3, 7);
    CHECK((a.kind == b.kind && a.share == b.share && a.box == b.box));
    CHECK((a.share >= 0 && a.share <= 1));
    CHECK((a.box.x + a.box.width <= 7 && a.box.y + a.box.height <= 3));
  }
}

TEST_CASE("arguments are checked") {
  CHECK_FALSE(ImageMix::create({}, 3).is_ok());
  CHECK_FALSE(ImageMix::create({{MixKind::kMixUp, 0.0, 1.0}}, 3).is_ok());
  CHECK_FALSE(ImageMix::create({{MixKind::kMixUp, 1.0, -1.0}}, 3).is_ok());
  CHECK_FALSE(ImageMix::create({{MixKind::kMixUp, 1.0, 1.0}}, 0).is_ok());
}

}  // namespace
}  // namespace headrace::ops
