// Parts of dates, in the calendar that numpy's datetime64 counts in (Gregorian, also before its time; no leap seconds).
#include <cmath>
#include <limits>
#include <optional>

#include "headrace/ops/field_step_kinds.h"

namespace headrace::ops {
namespace {

using Wide = __int128;
constexpr std::int64_t kMostDays = std::int64_t{1} << 55;

enum class Part : std::uint8_t { kYear, kMonth, kDay, kWeekday, kHour, kMinute, kSecond, kDayOfYear };
constexpr std::int64_t kParts = 8;
enum class Form : std::uint8_t { kValue, kSin, kCos };

struct Unit {
  std::int64_t per_day = 0;   // units of a day, or
  std::int64_t days = 0;      // days of a unit, or
  std::int64_t months = 0;    // months of one
  std::int64_t per_unit = 1;  // smaller ones still: so many of it are one of per_day
};

std::optional<Unit> unit_of(const std::string& name) {
  constexpr std::int64_t kNano = 86400ll * 1000000000ll;
  if (name == "Y") return Unit{0, 0, 12, 1};
  if (name == "M") return Unit{0, 0, 1, 1};
  if (name == "W") return Unit{0, 7, 0, 1};
  if (name == "D") return Unit{1, 0, 0, 1};
  if (name == "h") return Unit{24, 0, 0, 1};
  if (name == "m") return Unit{1440, 0, 0, 1};
  if (name == "s") return Unit{86400, 0, 0, 1};
  if (name == "ms") return Unit{86400 * 1000ll, 0, 0, 1};
  if (name == "us") return Unit{86400 * 1000000ll, 0, 0, 1};
  if (name == "ns") return Unit{kNano, 0, 0, 1};
  if (name == "ps") return Unit{kNano, 0, 0, 1000};
  if (name == "fs") return Unit{kNano, 0, 0, 1000000};
  if (name == "as") return Unit{kNano, 0, 0, 1000000000};
  return std::nullopt;
}

Wide floor_div(Wide a, Wide b) { return a / b - (a % b < 0 ? 1 : 0); }

struct Civil {
  std::int64_t year = 0, month = 0, day = 0;
};

// Hinnant, "chrono-compatible low-level date algorithms": days since 1970-01-01 of the first of a month, and back.
std::int64_t days_of(std::int64_t year, std::int64_t month, std::int64_t day) {
  const std::int64_t y = month <= 2 ? year - 1 : year;
  const std::int64_t era = (y >= 0 ? y : y - 399) / 400, of_era = y - era * 400;
  const std::int64_t of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
  return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

Civil civil_of(std::int64_t days) {
  const std::int64_t z = days + 719468;
  const std::int64_t era = (z >= 0 ? z : z - 146096) / 146097, doe = z - era * 146097;
  const std::int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
  const std::int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;
  const std::int64_t month = mp < 10 ? mp + 3 : mp - 9;
  return {yoe + era * 400 + (month <= 2 ? 1 : 0), month, doy - (153 * mp + 2) / 5 + 1};
}

struct Moment {
  std::int64_t days = 0, second = 0;  // since 1970-01-01, of the day
};

std::optional<Moment> moment_of(std::int64_t count, const Unit& unit, std::int64_t multiple) {
  Wide value = static_cast<Wide>(count) * multiple;
  if (unit.months != 0) {
    value *= unit.months;
    const Wide year = 1970 + floor_div(value, 12);
    if (year < -kMostDays / 400 || year > kMostDays / 400) return std::nullopt;
    return Moment{days_of(static_cast<std::int64_t>(year), static_cast<std::int64_t>(value - floor_div(value, 12) * 12) + 1, 1), 0};
  }
  const Wide days = unit.days != 0 ? value * unit.days : floor_div(value, static_cast<Wide>(unit.per_day) * unit.per_unit);
  if (days < -kMostDays || days > kMostDays) return std::nullopt;
  if (unit.days != 0) return Moment{static_cast<std::int64_t>(days), 0};
  const Wide rest = floor_div(value - days * unit.per_day * unit.per_unit, unit.per_unit);
  return Moment{static_cast<std::int64_t>(days), static_cast<std::int64_t>(rest * 86400 / unit.per_day)};
}

struct Wanted {
  Part part;
  Form form;
};

// The part, and what of it is a whole turn.
struct Number {
  double value, from, period;
};

Number number_of(Part part, const Moment& at, const Civil& civil) {
  switch (part) {
    case Part::kYear: return {static_cast<double>(civil.year), 0, 1};
    case Part::kMonth: return {static_cast<double>(civil.month), 1, 12};
    case Part::kDay: return {static_cast<double>(civil.day), 1, 31};
    case Part::kWeekday: return {static_cast<double>(((at.days + 3) % 7 + 7) % 7), 0, 7};  // 1970-01-01 was a Thursday
    case Part::kHour: return {static_cast<double>(at.second / 3600), 0, 24};
    case Part::kMinute: return {static_cast<double>(at.second / 60 % 60), 0, 60};
    case Part::kSecond: return {static_cast<double>(at.second % 60), 0, 60};
    case Part::kDayOfYear: return {static_cast<double>(at.days - days_of(civil.year, 1, 1) + 1), 1, 365.25};
  }
  return {0, 0, 1};
}

class DateParts : public FieldStep {
 public:
  DateParts(Unit unit, std::int64_t multiple, std::vector<Wanted> wanted, const StepSpec& spec, std::uint32_t width)
      : unit_(unit), multiple_(multiple), wanted_(std::move(wanted)), from_(spec.inputs[0]), to_(spec.output), width_(width) {}
  void run(const FieldTile& tile) const override {
    const auto* in = tile.values<std::int64_t>(from_);
    double* out = tile.values<double>(to_);
    for (std::size_t i = 0; i < tile.rows * width_; ++i, out += wanted_.size()) write(in[i], out);
  }

 private:
  void write(std::int64_t count, double* out) const {
    const std::optional<Moment> at = count == kNullInt ? std::nullopt : moment_of(count, unit_, multiple_);
    const Civil civil = at ? civil_of(at->days) : Civil{};
    for (std::size_t k = 0; k < wanted_.size(); ++k) {
      const Number number = at ? number_of(wanted_[k].part, *at, civil) : Number{std::numeric_limits<double>::quiet_NaN(), 0, 1};
      const double turn = 2 * M_PI * (number.value - number.from) / number.period;
      out[k] = wanted_[k].form == Form::kValue ? number.value : wanted_[k].form == Form::kSin ? std::sin(turn) : std::cos(turn);
    }
  }
  Unit unit_;
  std::int64_t multiple_;
  std::vector<Wanted> wanted_;
  std::uint32_t from_, to_, width_;
};

}  // namespace

Result<std::unique_ptr<FieldStep>> make_date_parts(const StepSpec& spec, std::span<const Register> registers) {
  if (spec.inputs.size() != 1) return spec.error(strf("it has %zu inputs; expected 1", spec.inputs.size()));
  const Register &in = registers[spec.inputs[0]], &out = registers[spec.output];
  if (in.type != RegisterType::kInt64) return spec.error("its input is no int64");
  HR_ASSIGN_OR_RETURN(const std::vector<std::int64_t> parts, spec.integers_of("parts"));
  HR_ASSIGN_OR_RETURN(const std::vector<std::int64_t> forms, spec.integers_of("forms", parts.size()));
  HR_ASSIGN_OR_RETURN(const std::vector<std::int64_t> multiple, spec.integers_of("multiple", 1));
  HR_ASSIGN_OR_RETURN(const std::vector<std::string> unit, spec.texts_of("unit"));
  const std::optional<Unit> known = unit.size() == 1 ? unit_of(unit[0]) : std::nullopt;
  if (!known) return spec.error("its unit is none of Y, M, W, D, h, m, s, ms, us, ns, ps, fs, as");
  if (multiple[0] < 1) return spec.error("the multiple of its unit is below 1");
  std::vector<Wanted> wanted;
  for (std::size_t k = 0; k < parts.size(); ++k) {
    if (parts[k] < 0 || parts[k] >= kParts || forms[k] < 0 || forms[k] > 2)
      return spec.error(strf("there is no part or form %zu of these", k));
    wanted.push_back({static_cast<Part>(parts[k]), static_cast<Form>(forms[k])});
  }
  if (wanted.empty() || out.type != RegisterType::kFloat64 || out.width != static_cast<std::uint64_t>(in.width) * wanted.size())
    return spec.error(strf("its output is no float64 x %zu", in.width * wanted.size()));
  return std::unique_ptr<FieldStep>(std::make_unique<DateParts>(*known, multiple[0], std::move(wanted), spec, in.width));
}

}  // namespace headrace::ops
