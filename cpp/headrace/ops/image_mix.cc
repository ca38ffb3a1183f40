#include "headrace/ops/image_mix.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "headrace/ops/cast.h"

namespace headrace::ops {
namespace {

constexpr std::uint32_t kOperation = 1u << 20;  // no step of a plan has this number
constexpr std::size_t kRun = 1024;              // values that are mixed at a time

// The logarithm of a draw from Gamma(alpha, 1): Marsaglia and Tsang 2000; for alpha below 1 by way of alpha + 1, in logarithms, since the
// draws of a small alpha are smaller than any double.
double log_gamma_draw(double alpha, Draws& draws) {
  const double boost = alpha < 1 ? std::log(1.0 - draws.unit()) / alpha : 0.0;
  const double d = (alpha < 1 ? alpha + 1 : alpha) - 1.0 / 3.0, c = 1.0 / std::sqrt(9.0 * d);
  while (true) {
    const double x = draws.normal();
    const double v = std::pow(1.0 + c * x, 3);
    const double u = 1.0 - draws.unit();
    if (v > 0 && std::log(u) < 0.5 * x * x + d - d * v + d * std::log(v)) return std::log(d) + std::log(v) + boost;
  }
}

double beta_draw(double alpha, Draws& draws) {
  const double a = log_gamma_draw(alpha, draws), b = log_gamma_draw(alpha, draws);
  return 1.0 / (1.0 + std::exp(b - a));
}

// torchvision's box: around a pixel, with about 1 - share of the image, cut off at the edges.
ImageRect box_of(double share, std::uint32_t height, std::uint32_t width, Draws& draws) {
  const std::uint32_t x = draws.below(width), y = draws.below(height);
  const double half = 0.5 * std::sqrt(1.0 - share);
  const auto half_width = static_cast<std::uint32_t>(half * width), half_height = static_cast<std::uint32_t>(half * height);
  const std::uint32_t left = x - std::min(x, half_width), top = y - std::min(y, half_height);
  return {left, top, std::min(width, x + half_width) - left, std::min(height, y + half_height) - top};
}

// own = other * (1 - share), rounded, + own * share, rounded; `other` may hold what own was.
void mix_floats(const float* other, float share, float rest, std::size_t count, float* own) {
  for (std::size_t i = 0; i < count; ++i) {
    const float a = other[i] * rest, b = own[i] * share;
    own[i] = a + b;
  }
}

// The same for halves: each product is rounded to one before they are added.
void mix_halves(format::DType dtype, const std::uint8_t* other, float share, float rest, std::size_t count, std::uint8_t* own) {
  float a[kRun], b[kRun];
  std::uint8_t rounded[kRun * 2];
  const auto round = [&](float* values, std::size_t run) {
    cast(format::DType::kFloat32, dtype, reinterpret_cast<const std::uint8_t*>(values), run, rounded);
    cast(dtype, format::DType::kFloat32, rounded, run, reinterpret_cast<std::uint8_t*>(values));
  };
  for (std::size_t from = 0; from < count; from += kRun) {
    const std::size_t run = std::min(kRun, count - from);
    cast(dtype, format::DType::kFloat32, other + from * 2, run, reinterpret_cast<std::uint8_t*>(a));
    cast(dtype, format::DType::kFloat32, own + from * 2, run, reinterpret_cast<std::uint8_t*>(b));
    for (std::size_t i = 0; i < run; ++i) a[i] *= rest;
    for (std::size_t i = 0; i < run; ++i) b[i] *= share;
    round(a, run);
    round(b, run);
    for (std::size_t i = 0; i < run; ++i) a[i] += b[i];
    cast(format::DType::kFloat32, dtype, reinterpret_cast<const std::uint8_t*>(a), run, own + from * 2);
  }
}

void mix_up(const Mix& mix, format::DType dtype, const std::uint8_t* other, std::size_t bytes, std::uint8_t* own) {
  const auto share = static_cast<float>(mix.share), rest = static_cast<float>(1.0 - mix.share);
  if (dtype == format::DType::kFloat32) {
    mix_floats(reinterpret_cast<const float*>(other), share, rest, bytes / 4, reinterpret_cast<float*>(own));
  } else {
    mix_halves(dtype, other, share, rest, bytes / 2, own);
  }
}

void cut_mix(const ImageRect& box, const ImageShape& shape, const std::uint8_t* other, std::uint8_t* own) {
  const std::size_t planes = shape.channels_last ? 1 : 3, pixel = std::size_t{shape.item_bytes} * (shape.channels_last ? 3 : 1);
  for (std::size_t plane = 0; plane < planes; ++plane) {
    for (std::size_t y = box.y; y < std::size_t{box.y} + box.height; ++y) {
      const std::size_t at = ((plane * shape.height + y) * shape.width + box.x) * pixel;
      std::memcpy(own + at, other + at, box.width * pixel);
    }
  }
}

}  // namespace

Result<std::shared_ptr<const ImageMix>> ImageMix::create(std::vector<MixChoice> choices, std::uint32_t classes) {
  if (choices.empty()) return Status(Code::kInvalidArgument, "mix images: there is nothing to choose from; expected MixUp or CutMix");
  for (const MixChoice& choice : choices) {
    if (!(choice.alpha > 0 && std::isfinite(choice.alpha)))
      return Status(Code::kInvalidArgument, strf("mix images: alpha is %g; expected a number above 0", choice.alpha));
    if (!(choice.weight > 0 && std::isfinite(choice.weight)))
      return Status(Code::kInvalidArgument, strf("mix images: a probability of %g; expected a number above 0", choice.weight));
  }
  constexpr std::uint32_t kMostClasses = 1u << 24;
  if (classes < 1 || classes > kMostClasses)
    return Status(Code::kInvalidArgument, strf("mix images: num_classes is %u; expected 1 to %u", classes, kMostClasses));
  std::shared_ptr<ImageMix> made(new ImageMix());
  made->choices_ = std::move(choices);
  made->classes_ = classes;
  return std::shared_ptr<const ImageMix>(std::move(made));
}

bool ImageMix::has(MixKind kind) const {
  return std::any_of(choices_.begin(), choices_.end(), [&](const MixChoice& choice) { return choice.kind == kind; });
}

Mix ImageMix::draw(const DrawKey& key, std::uint32_t height, std::uint32_t width) const {
  Draws draws(key, kOperation);
  double total = 0;
  for (const MixChoice& choice : choices_) total += choice.weight;
  double left = draws.unit() * total;
  std::size_t chosen = 0;
  while (chosen + 1 < choices_.size() && left >= choices_[chosen].weight) left -= choices_[chosen++].weight;
  Mix mix;
  mix.kind = choices_[chosen].kind;
  if (mix.kind == MixKind::kNone) return mix;
  mix.share = beta_draw(choices_[chosen].alpha, draws);
  if (mix.kind == MixKind::kMixUp) return mix;
  mix.box = box_of(mix.share, height, width, draws);
  mix.share = 1.0 - static_cast<double>(std::uint64_t{mix.box.width} * mix.box.height) / static_cast<double>(std::uint64_t{width} * height);
  return mix;
}

void mix_images(const Mix& mix, format::DType dtype, const ImageShape& shape, std::size_t count, std::uint8_t* images) {
  if (mix.kind == MixKind::kNone || count == 0) return;
  // From the last one on, so that the one before is still as it was; only the last itself is needed twice.
  const std::size_t bytes = shape.bytes();
  std::uint8_t* const last_place = images + (count - 1) * bytes;
  const std::vector<std::uint8_t> last(last_place, last_place + bytes);
  for (std::size_t i = count; i-- > 0;) {
    const std::uint8_t* const other = i == 0 ? last.data() : images + (i - 1) * bytes;
    if (mix.kind == MixKind::kMixUp) {
      mix_up(mix, dtype, other, bytes, images + i * bytes);
    } else {
      cut_mix(mix.box, shape, other, images + i * bytes);
    }
  }
}

void mix_labels(const Mix& mix, const std::vector<std::uint32_t>& labels, std::uint32_t classes, float* out) {
  const auto share = static_cast<float>(mix.share), rest = static_cast<float>(1.0 - mix.share);
  std::fill(out, out + labels.size() * classes, 0.0f);
  for (std::size_t i = 0; i < labels.size(); ++i) {
    float* const to = out + i * classes;
    if (mix.kind != MixKind::kNone) to[labels[i == 0 ? labels.size() - 1 : i - 1]] = rest;
    to[labels[i]] += share;
  }
}

}  // namespace headrace::ops
