#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <array>
#include <functional>
#include <map>
#include <new>
#include <string>
#include <tuple>
#include <utility>

#include "headrace/bindings/interpreter_lock.h"
#include "headrace/bindings/raise.h"
#include "headrace/bindings/register.h"
#include "headrace/ops/image_encode.h"
#include "headrace/ops/image_mix.h"
#include "headrace/ops/image_plan.h"
#include "headrace/ops/whole_image.h"
#include "headrace/pipeline/permutation.h"

namespace py = pybind11;

namespace headrace::bindings {
namespace {

using ops::ImagePlan;
using ops::ImageStep;

template <typename T>
T value(const py::dict& step, const char* name) {
  return py::cast<T>(step[name]);
}

ops::Range range(const py::dict& step, const char* name) {
  const auto pair = value<std::array<double, 2>>(step, name);
  return {pair[0], pair[1]};
}

ops::Filter filter(const py::dict& step) {
  const auto name = value<std::string>(step, "interpolation");
  const auto found = ops::filter_from_name(name);
  if (!found.has_value())
    throw py::value_error("interpolation is '" + name + "'; expected nearest, box, bilinear, hamming, bicubic or lanczos");
  return *found;
}

ops::PadMode pad_mode(const py::dict& step) {
  static const std::map<std::string, ops::PadMode> kModes{{"constant", ops::PadMode::kConstant},
                                                          {"edge", ops::PadMode::kEdge},
                                                          {"reflect", ops::PadMode::kReflect},
                                                          {"symmetric", ops::PadMode::kSymmetric}};
  const auto name = value<std::string>(step, "padding_mode");
  const auto found = kModes.find(name);
  if (found == kModes.end()) throw py::value_error("padding_mode is '" + name + "'; expected constant, edge, reflect or symmetric");
  return found->second;
}

std::uint32_t number(const py::dict& step, const char* name) { return value<std::uint32_t>(step, name); }

using Fill = std::array<std::uint8_t, 3>;

ImageStep jitter(const py::dict& step) {
  constexpr std::array<const char*, 4> kParts{"brightness", "contrast", "saturation", "hue"};
  ops::ColorJitter out;
  for (std::size_t i = 0; i < kParts.size(); ++i) {
    out.present[i] = !step[kParts[i]].is_none();
    if (out.present[i]) out.ranges[i] = range(step, kParts[i]);
  }
  return out;
}

// One step of a plan, from the plain values that headrace.images makes of a transform.
ImageStep step_of(const py::dict& s) {
  using Make = std::function<ImageStep(const py::dict&)>;
  static const std::map<std::string, Make> kMakers{
      {"resize", [](const py::dict& d) { return ops::Resize{number(d, "height"), number(d, "width"), 0, 0, filter(d)}; }},
      {"resize_shorter", [](const py::dict& d) { return ops::Resize{0, 0, number(d, "shorter"), number(d, "longest"), filter(d)}; }},
      {"center_crop", [](const py::dict& d) { return ops::CenterCrop{number(d, "height"), number(d, "width")}; }},
      {"pad",
       [](const py::dict& d) {
         return ops::Pad{number(d, "left"), number(d, "top"), number(d, "right"), number(d, "bottom"), pad_mode(d), value<Fill>(d, "fill")};
       }},
      {"random_crop",
       [](const py::dict& d) {
         return ops::RandomCrop{number(d, "height"), number(d, "width"), value<bool>(d, "if_needed"), pad_mode(d), value<Fill>(d, "fill")};
       }},
      {"random_resized_crop",
       [](const py::dict& d) {
         return ops::RandomResizedCrop{number(d, "height"), number(d, "width"), range(d, "scale"), range(d, "ratio"), filter(d)};
       }},
      {"random_horizontal_flip", [](const py::dict& d) { return ops::RandomFlip{true, value<double>(d, "p")}; }},
      {"random_vertical_flip", [](const py::dict& d) { return ops::RandomFlip{false, value<double>(d, "p")}; }},
      {"color_jitter", jitter},
      {"random_grayscale", [](const py::dict& d) { return ops::RandomGrayscale{value<double>(d, "p")}; }},
      {"auto_augment",
       [](const py::dict& d) {
         return ops::AutoAugment{value<bool>(d, "wide"), number(d, "operations"), number(d, "magnitude"), number(d, "bins"),
                                 value<Fill>(d, "fill")};
       }},
      {"random_erasing",
       [](const py::dict& d) {
         return ops::RandomErasing{value<double>(d, "p"), range(d, "scale"), range(d, "ratio"), value<std::array<float, 3>>(d, "value"),
                                   value<std::array<float, 3>>(d, "noise")};
       }},
  };
  const auto kind = value<std::string>(s, "kind");
  const auto found = kMakers.find(kind);
  if (found == kMakers.end()) throw py::value_error("there is no image step '" + kind + "'");
  return found->second(s);
}

std::shared_ptr<ImagePlan> make_plan(const std::vector<py::dict>& steps, const std::string& dtype, bool channels_last, bool scaled,
                                     const std::array<float, 3>& mean, const std::array<float, 3>& std_deviation, bool exact, bool exif,
                                     double reducing_gap, std::uint64_t max_pixels) {
  std::vector<ImageStep> native;
  for (const py::dict& step : steps) native.push_back(step_of(step));
  format::Field field;
  check(format::set_dtype(dtype, field));
  ops::ImageOptions options{exact, exif, reducing_gap, {}};
  options.limits.max_pixels = max_pixels;
  const auto plan = unwrap(ImagePlan::create(std::move(native), {field.dtype, channels_last, scaled, mean, std_deviation}, options));
  return std::const_pointer_cast<ImagePlan>(plan);  // Python's types know no const; it has no method that changes a plan.
}

// One image, as a batch would hold it. bfloat16 as uint16, whose bits they are.
py::array apply(const ImagePlan& plan, const py::bytes& encoded, std::uint64_t seed, std::uint64_t epoch, std::uint64_t sample) {
  const format::Field field = plan.field_of({});
  const std::vector<py::ssize_t> shape(field.shape.begin(), field.shape.end());
  const bool bits = field.dtype == format::DType::kBFloat16;
  py::array out(py::dtype::from_args(py::str(bits ? std::string("uint16") : format::dtype_name(field))), shape);
  const std::string_view bytes(encoded);
  auto* const to = static_cast<std::uint8_t*>(out.mutable_data());
  const ops::DrawKey key{pipeline::mix_key(seed, epoch), sample};
  check(without_lock([&] {
    try {
      return plan.run({reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()}, key, to);
    } catch (const std::bad_alloc&) {
      return Status(Code::kOutOfMemory, "decode an image: out of memory");
    }
  }));
  return out;
}

// (kind, alpha, weight) each.
std::shared_ptr<ops::ImageMix> make_mix(const std::vector<std::tuple<std::string, double, double>>& choices, std::uint32_t classes) {
  static const std::map<std::string, ops::MixKind> kKinds{
      {"none", ops::MixKind::kNone}, {"mixup", ops::MixKind::kMixUp}, {"cutmix", ops::MixKind::kCutMix}};
  std::vector<ops::MixChoice> native;
  for (const auto& [kind, alpha, weight] : choices) {
    const auto found = kKinds.find(kind);
    if (found == kKinds.end()) throw py::value_error("there is no way of mixing called '" + kind + "'");
    native.push_back({found->second, alpha, weight});
  }
  return std::const_pointer_cast<ops::ImageMix>(unwrap(ops::ImageMix::create(std::move(native), classes)));
}

// (kind, share, (x, y, width, height)).
py::tuple draw_mix(const ops::ImageMix& mix, std::uint64_t pass, std::uint64_t key, std::uint32_t height, std::uint32_t width) {
  constexpr std::array<const char*, 3> kNames{"none", "mixup", "cutmix"};
  if (height < 1 || width < 1) throw py::value_error("height and width are at least 1");
  const ops::Mix drawn = mix.draw({pass, key}, height, width);
  return py::make_tuple(kNames[static_cast<std::size_t>(drawn.kind)], drawn.share,
                        py::make_tuple(drawn.box.x, drawn.box.y, drawn.box.width, drawn.box.height));
}

py::bytes repack_jpeg(const py::bytes& encoded) {
  const std::string_view bytes(encoded);
  const std::vector<std::uint8_t> made = unwrap(without_lock([&]() -> Result<std::vector<std::uint8_t>> {
    try {
      return ops::repack_jpeg({reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()}, {});
    } catch (const std::bad_alloc&) {
      return Status(Code::kOutOfMemory, "repack JPEG: out of memory");
    }
  }));
  return {reinterpret_cast<const char*>(made.data()), made.size()};
}

py::bytes encode_image(const py::bytes& encoded, std::uint32_t max_side, int quality, bool pixels) {
  const std::string_view bytes(encoded);
  ops::EncodeOptions options;
  options.max_side = max_side;
  options.quality = quality;
  options.store = pixels ? ops::StoreAs::kPixels : ops::StoreAs::kJpeg;
  const std::vector<std::uint8_t> made = unwrap(without_lock([&]() -> Result<std::vector<std::uint8_t>> {
    try {
      return ops::encode_image({reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()}, options);
    } catch (const std::bad_alloc&) {
      return Status(Code::kOutOfMemory, "encode an image: out of memory");
    }
  }));
  return {reinterpret_cast<const char*>(made.data()), made.size()};
}

// (width, height) as stored, of the header alone.
std::pair<std::uint32_t, std::uint32_t> image_size(const py::bytes& encoded) {
  const std::string_view text(encoded);
  const Bytes bytes{reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
  const ops::ImageKind kind = ops::image_kind(bytes);
  if (kind == ops::ImageKind::kJpeg) {
    ops::JpegDecoder& decoder = ops::decoder_of_thread();
    check(decoder.open(bytes, {}));
    return {decoder.width(), decoder.height()};
  }
  ops::WholeImage image;
  check(image.open(kind, bytes, {}));
  return {image.width(), image.height()};
}

}  // namespace

void register_image(py::module_& m) {
  m.def("repack_jpeg", &repack_jpeg, py::arg("encoded"));
  m.def("encode_image", &encode_image, py::arg("encoded"), py::kw_only(), py::arg("max_side") = 0, py::arg("quality") = 90,
        py::arg("pixels") = false);
  m.def("image_size", &image_size, py::arg("encoded"));
  py::class_<ops::ImageMix, std::shared_ptr<ops::ImageMix>>(m, "ImageMix")
      .def(py::init(&make_mix), py::arg("choices"), py::arg("num_classes"))
      .def_property_readonly("num_classes", &ops::ImageMix::classes)
      .def("draw", &draw_mix, py::arg("pass_key"), py::arg("key"), py::kw_only(), py::arg("height"), py::arg("width"));
  py::class_<ImagePlan, std::shared_ptr<ImagePlan>>(m, "ImagePlan")
      .def(py::init(&make_plan), py::arg("steps"), py::kw_only(), py::arg("dtype"), py::arg("channels_last"), py::arg("scaled"),
           py::arg("mean"), py::arg("std"), py::arg("exact"), py::arg("exif"), py::arg("reducing_gap"), py::arg("max_pixels"))
      .def_property_readonly("height", &ImagePlan::height)
      .def_property_readonly("width", &ImagePlan::width)
      .def(
          "field", [](const ImagePlan& plan, const format::Field& field) { return plan.field_of(field); }, py::arg("field"))
      .def("apply", &apply, py::arg("encoded"), py::kw_only(), py::arg("seed") = 0, py::arg("epoch") = 0, py::arg("sample") = 0);
}

}  // namespace headrace::bindings
