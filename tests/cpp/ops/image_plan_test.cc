#include "headrace/ops/image_plan.h"

#include <doctest/doctest.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

#include "ops/image_samples.h"
#include "ops/jpeg_samples.h"

namespace headrace::ops {
namespace {

std::shared_ptr<const ImagePlan> plan_of(std::vector<ImageStep> steps, const ImageOutput& output = {}, const ImageOptions& options = {}) {
  auto plan = ImagePlan::create(std::move(steps), output, options);
  REQUIRE_MESSAGE(plan.is_ok(), plan.status().message());
  return *plan;
}

std::vector<std::uint8_t> run(const ImagePlan& plan, const std::vector<std::uint8_t>& jpeg, const DrawKey& key) {
  std::vector<std::uint8_t> out(plan.bytes());
  const Status status = plan.run(jpeg, key, out.data());
  REQUIRE_MESSAGE(status.is_ok(), status.message());
  return out;
}

std::vector<ImageStep> train_steps(std::uint32_t size) {
  ColorJitter jitter;
  jitter.present = {true, true, true, true};
  jitter.ranges = {Range{0.6, 1.4}, Range{0.6, 1.4}, Range{0.6, 1.4}, Range{-0.1, 0.1}};
  return {RandomResizedCrop{size, size, {0.08, 1.0}, {0.75, 4.0 / 3}, Filter::kBilinear},
          RandomFlip{true, 0.5},
          RandomFlip{false, 0.5},
          jitter,
          RandomGrayscale{0.3},
          RandomErasing{0.5, {0.02, 0.33}, {0.3, 3.3}, {0.5f, 1.0f, 1.5f}, {1.0f, 0.0f, 0.0f}}};
}

}  // namespace

TEST_CASE("what a plan makes depends on the key alone, not on the thread or what it did before") {
  const std::vector<std::uint8_t> jpeg = make_jpeg({133, 97}), other = make_jpeg({64, 200, 90, true});
  const auto plan = plan_of(train_steps(48), {format::DType::kFloat32, false, true, {0.4f, 0.5f, 0.6f}, {0.2f, 0.3f, 0.4f}});
  std::vector<std::vector<std::uint8_t>> first;
  for (std::uint64_t sample = 0; sample < 20; ++sample) first.push_back(run(*plan, jpeg, {1, sample}));
  CHECK(first[0] != first[1]);
  CHECK(run(*plan, jpeg, {2, 0}) != first[0]);
  for (const int threads : {1, 2, 8}) {
    std::vector<std::vector<std::uint8_t>> again(20, std::vector<std::uint8_t>(plan->bytes()));
    std::vector<std::thread> workers;
    for (int t = 0; t < threads; ++t) {
      workers.emplace_back([&, t] {
        for (std::size_t sample = 20; sample-- > 0;) {
          if (sample % static_cast<std::size_t>(threads) != static_cast<std::size_t>(t)) continue;
          std::vector<std::uint8_t> scratch(plan->bytes());
          (void)plan->run(other, {9, sample}, scratch.data());
          (void)plan->run(jpeg, {1, sample}, again[sample].data());
        }
      });
    }
    for (std::thread& worker : workers) worker.join();
    CHECK(again == first);
  }
}

TEST_CASE("a flip is a flip: twice is none, and it moves each pixel to its place") {
  const std::vector<std::uint8_t> jpeg = make_jpeg({60, 40});
  const Resize small{16, 24, 0, 0, Filter::kBicubic};
  const auto plain = run(*plan_of({small}), jpeg, {});
  CHECK(run(*plan_of({RandomFlip{true, 1.0}, small, RandomFlip{true, 1.0}}), jpeg, {}) == plain);
  const auto flipped = run(*plan_of({small, RandomFlip{true, 1.0}, RandomFlip{false, 1.0}}), jpeg, {});
  for (std::size_t c = 0; c < 3; ++c) {
    for (std::size_t i = 0; i < 16 * 24; ++i) CHECK(flipped[c * 16 * 24 + i] == plain[c * 16 * 24 + 16 * 24 - 1 - i]);
  }
}

TEST_CASE("layouts and dtypes hold the same levels, small images and those that go past the caches") {
  const std::vector<std::uint8_t> jpeg = make_jpeg({50, 50});
  for (const std::uint32_t height : {20u, 301u}) {
    const std::size_t count = std::size_t{height} * 130;
    const std::vector<ImageStep> steps{Resize{height, 130, 0, 0, Filter::kBilinear}};
    const auto planar = run(*plan_of(steps), jpeg, {});
    const auto packed = run(*plan_of(steps, {format::DType::kUInt8, true}), jpeg, {});
    const ImageOutput output{format::DType::kFloat32, false, true, {0.5f, 0.5f, 0.5f}, {0.25f, 0.25f, 0.25f}};
    const auto plan = plan_of(steps, output);
    // Images of a batch lie one after the other, and only some begin at a cache line.
    for (const std::size_t shift : {0u, 4u, 64u}) {
      std::vector<std::uint8_t> memory(plan->bytes() + 192);
      std::uint8_t* const first = memory.data() + (64 - reinterpret_cast<std::uintptr_t>(memory.data()) % 64) + shift;
      REQUIRE(plan->run(jpeg, {}, first).is_ok());
      std::size_t wrong = 0;
      for (std::size_t i = 0; i < 3 * count; ++i) {
        float value = 0;
        std::memcpy(&value, first + i * 4, 4);
        wrong += value != (static_cast<float>(planar[i]) / 255.0f - 0.5f) / 0.25f;
        wrong += packed[i % count * 3 + i / count] != planar[i];
      }
      CHECK(wrong == 0);
      CHECK(first[plan->bytes()] == 0);
    }
  }
}

// HEADRACE_FUZZ_SECONDS=600 goes on for so long.
TEST_CASE("mutated files through a whole plan are an image or an error, never more") {
  std::vector<std::vector<std::uint8_t>> corpus{make_jpeg({90, 60}), make_jpeg({33, 70, 70, false, true}), make_jpeg({64, 64, 95, true}),
                                                make_jpeg({17, 5, 60, true, true})};
  corpus.push_back(*repack_jpeg(make_jpeg({50, 200}), {}));
  corpus.push_back(*repack_jpeg(make_jpeg({300, 40}), {}));
  for (const auto& file : {kPng, kPalettePng, kDeepPng, kAlphaPng, kWebp, kLosslessWebp, kAlphaWebp}) corpus.push_back(file);
  const auto files = static_cast<std::uint32_t>(corpus.size());
  std::vector<ImageStep> steps = train_steps(24);
  steps.insert(steps.begin() + 3, AutoAugment{});
  ImageOptions options;
  options.limits.max_pixels = 1u << 20;
  const auto plan = plan_of(steps, {format::DType::kFloat16, true, true}, options);
  std::vector<std::uint8_t> out(plan->bytes());
  const char* const given = std::getenv("HEADRACE_FUZZ_SECONDS");
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(given == nullptr ? 0 : std::atoi(given));
  std::uint64_t images = 0, errors = 0;
  for (std::uint64_t round = 0; round < 2000 || std::chrono::steady_clock::now() < end; ++round) {
    Draws draws({7, round}, 0);
    std::vector<std::uint8_t> bytes = corpus[draws.below(files)];
    for (std::uint32_t i = 0, flips = 1 + draws.below(8); i < flips; ++i) {
      bytes[draws.below(static_cast<std::uint32_t>(bytes.size()))] = static_cast<std::uint8_t>(draws.word());
    }
    if (draws.below(8) == 0) bytes.resize(draws.below(static_cast<std::uint32_t>(bytes.size())));
    if (draws.below(8) == 0) {  // A part of another file in the middle.
      const std::vector<std::uint8_t>& other = corpus[draws.below(files)];
      const std::uint32_t at = draws.below(static_cast<std::uint32_t>(other.size()));
      const auto where = bytes.begin() + draws.below(static_cast<std::uint32_t>(bytes.size() + 1));
      bytes.insert(where, other.begin() + at, other.begin() + at + draws.below(static_cast<std::uint32_t>(other.size()) - at));
    }
    (plan->run(bytes, {3, round}, out.data()).is_ok() ? images : errors) += 1;
    if (draws.below(8) == 0) (void)repack_jpeg(bytes, options.limits);
  }
  MESSAGE(images << " images and " << errors << " errors");
  CHECK(images > 100);
  CHECK(errors > 100);
}

TEST_CASE("plans without one size, and images without room, are errors that say so") {
  CHECK_FALSE(ImagePlan::create({}, {}, {}).is_ok());
  CHECK_FALSE(ImagePlan::create({Resize{0, 0, 256, 0, Filter::kBilinear}}, {}, {}).is_ok());
  CHECK_FALSE(ImagePlan::create({CenterCrop{0, 5}}, {}, {}).is_ok());
  CHECK_FALSE(ImagePlan::create({CenterCrop{5, 5}}, {format::DType::kInt64}, {}).is_ok());
  const std::vector<std::uint8_t> jpeg = make_jpeg({20, 10});
  std::vector<std::uint8_t> out(1 << 20);
  CHECK(plan_of({RandomCrop{30, 30}})->run(jpeg, {}, out.data()).code() == Code::kInvalidArgument);
  CHECK(plan_of({Pad{50, 0, 0, 0, PadMode::kReflect}, CenterCrop{5, 5}})->run(jpeg, {}, out.data()).code() == Code::kInvalidArgument);
  CHECK(run(*plan_of({CenterCrop{30, 40}}), jpeg, {}).size() == 30 * 40 * 3);
  CHECK(run(*plan_of({RandomCrop{30, 40, true}}), jpeg, {}).size() == 30 * 40 * 3);
  ImageOptions small;
  small.limits.max_pixels = 1000;
  const auto wide = plan_of({Resize{0, 0, 200, 0, Filter::kBilinear}, RandomGrayscale{1.0}, CenterCrop{5, 5}}, {}, small);
  CHECK(wide->run(jpeg, {}, out.data()).code() == Code::kLimitExceeded);
}

}  // namespace headrace::ops
