// Names of kinds, containers and dtypes, in numpy's spelling.
#include <algorithm>
#include <array>
#include <charconv>

#include "headrace/format/schema.h"

namespace headrace::format {
namespace {

struct DTypeInfo {
  const char* name;
  std::uint32_t itemsize;  // 0: says nothing, the length is the user's
};

// By DType.
constexpr std::array<DTypeInfo, 19> kDTypes = {{{"bool", 1},
                                                {"int8", 1},
                                                {"uint8", 1},
                                                {"int16", 2},
                                                {"uint16", 2},
                                                {"int32", 4},
                                                {"uint32", 4},
                                                {"int64", 8},
                                                {"uint64", 8},
                                                {"float16", 2},
                                                {"bfloat16", 2},
                                                {"float32", 4},
                                                {"float64", 8},
                                                {"complex64", 8},
                                                {"complex128", 16},
                                                {"datetime64", 8},
                                                {"timedelta64", 8},
                                                {"S", 0},
                                                {"U", 0}}};
constexpr std::array<const char*, 14> kUnits = {"generic", "Y", "M", "W", "D", "h", "m", "s", "ms", "us", "ns", "ps", "fs", "as"};
constexpr std::array<const char*, 5> kKinds = {"tensor", "ragged", "bytes", "string", "image"};
constexpr std::array<const char*, 3> kContainers = {"dict", "tuple", "single"};
constexpr std::uint32_t kMaxMultiple = (1u << 24) - 1;

template <typename E, std::size_t N>
Result<E> from_name(const std::array<const char*, N>& names, std::string_view name, const char* what) {
  std::string list;
  for (std::size_t i = 0; i < N; ++i) {
    if (name == names[i]) return static_cast<E>(i);
    list += list.empty() ? "" : ", ";
    list += names[i];
  }
  return Status(Code::kInvalidArgument,
                strf("unknown %s '%.*s'; expected one of %s", what, static_cast<int>(name.size()), name.data(), list.c_str()));
}

Status unknown_dtype(std::string_view name) {
  return {Code::kInvalidArgument, strf("dtype '%.*s' is not supported; supported are bool, int8 to int64, uint8 to uint64, float16, "
                                       "bfloat16, float32, float64, complex64, "
                                       "complex128, datetime64[unit], timedelta64[unit], S<bytes> and U<characters>",
                                       static_cast<int>(std::min<std::size_t>(name.size(), 64)), name.data())};
}

// All of `text` as a decimal number without sign or leading zero; false if it is none.
bool parse_number(std::string_view text, std::uint32_t* out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *out);
  return !text.empty() && text[0] != '0' && error == std::errc() && end == text.data() + text.size();
}

// "25s" -> unit; empty -> generic.
bool parse_unit(std::string_view text, std::uint32_t* out) {
  std::size_t digits = 0;
  while (digits < text.size() && text[digits] >= '0' && text[digits] <= '9') ++digits;
  std::uint32_t multiple = 1;
  if (digits > 0 && (!parse_number(text.substr(0, digits), &multiple) || multiple > kMaxMultiple)) return false;
  const auto found = std::find(kUnits.begin(), kUnits.end(), text.substr(digits));
  if (found == kUnits.end()) return false;
  *out = multiple << 8 | static_cast<std::uint32_t>(found - kUnits.begin());
  return digits == 0 || found != kUnits.begin();
}

Status set_date(std::string_view name, DType dtype, Field& field) {
  std::uint32_t unit = 1u << 8;
  const std::size_t bracket = name.find('[');
  if (bracket != std::string_view::npos) {
    if (name.back() != ']' || !parse_unit(name.substr(bracket + 1, name.size() - bracket - 2), &unit)) return unknown_dtype(name);
  }
  field.dtype = dtype;
  field.itemsize = 8;
  field.unit = unit;
  return {};
}

}  // namespace

const char* kind_name(Kind kind) { return kKinds[static_cast<std::size_t>(kind)]; }
Result<Kind> kind_from_name(std::string_view name) { return from_name<Kind>(kKinds, name, "kind"); }
const char* container_name(Container container) { return kContainers[static_cast<std::size_t>(container)]; }
Result<Container> container_from_name(std::string_view name) { return from_name<Container>(kContainers, name, "container"); }

std::string dtype_name(const Field& field) {
  const DTypeInfo& info = kDTypes[static_cast<std::size_t>(field.dtype)];
  if (field.dtype == DType::kFixedBytes) return strf("S%u", field.itemsize);
  if (field.dtype == DType::kFixedString) return strf("U%u", field.itemsize / 4);
  if (field.dtype != DType::kDateTime64 && field.dtype != DType::kTimeDelta64) return info.name;
  const std::uint32_t base = field.unit & 0xFFu;
  const std::uint32_t multiple = field.unit >> 8;
  if (base == 0 || base >= kUnits.size()) return info.name;
  return multiple == 1 ? strf("%s[%s]", info.name, kUnits[base]) : strf("%s[%u%s]", info.name, multiple, kUnits[base]);
}

Status set_dtype(std::string_view name, Field& field) {
  const std::string_view stem = name.substr(0, name.find('['));
  if (stem == "datetime64") return set_date(name, DType::kDateTime64, field);
  if (stem == "timedelta64") return set_date(name, DType::kTimeDelta64, field);
  for (std::size_t i = 0; i < kDTypes.size(); ++i) {
    if (name != kDTypes[i].name || kDTypes[i].itemsize == 0) continue;
    field.dtype = static_cast<DType>(i);
    field.itemsize = kDTypes[i].itemsize;
    field.unit = 0;
    return {};
  }
  std::uint32_t length = 0;
  if (name.size() < 2 || (name[0] != 'S' && name[0] != 'U') || !parse_number(name.substr(1), &length)) return unknown_dtype(name);
  const bool text = name[0] == 'U';
  if (text && length > UINT32_MAX / 4) return unknown_dtype(name);
  field.dtype = text ? DType::kFixedString : DType::kFixedBytes;
  field.itemsize = text ? length * 4 : length;
  field.unit = 0;
  return {};
}

}  // namespace headrace::format
