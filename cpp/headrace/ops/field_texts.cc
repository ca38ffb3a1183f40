// Texts made of others: brought to one spelling, and two values as one text.
//
// What Unicode says of spaces and of letters without case comes as parameters, from the caller's tables: so texts fold as Python's do.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <string>
#include <unordered_map>

#include "headrace/ops/category_table.h"
#include "headrace/ops/field_step_kinds.h"

namespace headrace::ops {
namespace {

using Made = Result<std::unique_ptr<FieldStep>>;

// Bytes of the UTF-8 character that begins here; what is none is taken byte by byte.
std::size_t character(std::string_view text, std::size_t at) {
  const auto lead = static_cast<std::uint8_t>(text[at]);
  const std::size_t size = lead < 0xC0 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  if (at + size > text.size()) return 1;
  for (std::size_t i = 1; i < size; ++i) {
    if ((static_cast<std::uint8_t>(text[at + i]) & 0xC0) != 0x80) return 1;
  }
  return size;
}

void append_number(double x, std::string& out) {
  char digits[32];
  constexpr double kExact = 9007199254740992.0;  // whole numbers below are exact
  const bool is_whole = x == std::trunc(x) && std::fabs(x) < kExact;
  const auto end = is_whole ? std::to_chars(digits, digits + sizeof digits, static_cast<std::int64_t>(x))
                            : std::to_chars(digits, digits + sizeof digits, x);
  out.append(digits, end.ptr);
}

bool equals_ignoring_case(std::string_view text, std::string_view lower) {
  return text.size() == lower.size() && std::equal(text.begin(), text.end(), lower.begin(),
                                                   [](char a, char b) { return (a >= 'A' && a <= 'Z' ? a + ('a' - 'A') : a) == b; });
}

enum class Word : std::uint8_t { kOther, kNull, kTrue, kFalse };

Word word_of(std::string_view text) {
  for (const char* const null : {"", "na", "n/a", "nan", "null", "none"}) {
    if (equals_ignoring_case(text, null)) return Word::kNull;
  }
  return equals_ignoring_case(text, "true") ? Word::kTrue : equals_ignoring_case(text, "false") ? Word::kFalse : Word::kOther;
}

// A finite decimal number as a whole: sign, digits, point, exponent.
bool is_number(std::string_view text, double& out) {
  if (text.size() > 1 && text[0] == '+' && text[1] != '-') text.remove_prefix(1);
  if (text.empty() || !((text[0] >= '0' && text[0] <= '9') || text[0] == '.' || text[0] == '-')) return false;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return error == std::errc() && end == text.data() + text.size() && std::isfinite(out);
}

struct Cleaning {
  bool strip = false, fold = false, unify = false;
  std::unordered_map<std::string, std::string> folds;  // of characters beyond ASCII
  std::vector<std::string> spaces;
  CategoryTable replaced;
  std::vector<std::string> replacements;
  std::vector<bool> is_there;
};

class Clean : public FieldStep {
 public:
  Clean(Cleaning cleaning, const StepSpec& spec) : how_(std::move(cleaning)), from_(spec.inputs[0]), to_(spec.output) {}
  void run(const FieldTile& tile) const override {
    const TextRows& in = tile.texts[from_];
    TextBuffer& out = *tile.made[to_];
    out.clear();
    std::string text;
    for (std::size_t row = 0; row < tile.rows; ++row) out.end_row(!in.is_null(row) && clean(in.at(row), text, out));
  }

 private:
  // Appends the text as it is to be; false: it is null.
  bool clean(std::string_view given, std::string& text, TextBuffer& out) const {
    if (how_.strip) given = stripped(given);
    text.clear();
    if (how_.fold) {
      fold(given, text);
    } else {
      text = given;
    }
    const std::int64_t place = how_.replaced.find(std::string_view(text));
    if (place >= 0) {
      if (!how_.is_there[static_cast<std::size_t>(place)]) return false;
      text = how_.replacements[static_cast<std::size_t>(place)];
    }
    if (how_.unify && !unify(text)) return false;
    out.append(text);
    return true;
  }

  bool is_space(std::string_view one) const { return std::find(how_.spaces.begin(), how_.spaces.end(), one) != how_.spaces.end(); }

  std::string_view stripped(std::string_view text) const {
    while (!text.empty()) {
      const std::size_t size = character(text, 0);
      if (!is_space(text.substr(0, size))) break;
      text.remove_prefix(size);
    }
    while (!text.empty()) {
      std::size_t at = text.size() - 1;
      while (at > 0 && text.size() - at < 4 && (static_cast<std::uint8_t>(text[at]) & 0xC0) == 0x80) --at;
      if (at + character(text, at) != text.size()) at = text.size() - 1;
      if (!is_space(text.substr(at))) break;
      text.remove_suffix(text.size() - at);
    }
    return text;
  }

  void fold(std::string_view given, std::string& text) const {
    for (std::size_t at = 0; at < given.size();) {
      const auto lead = static_cast<std::uint8_t>(given[at]);
      if (lead < 0x80) {
        text.push_back(static_cast<char>(lead >= 'A' && lead <= 'Z' ? lead + ('a' - 'A') : lead));
        ++at;
        continue;
      }
      const std::string one(given.substr(at, character(given, at)));
      const auto found = how_.folds.find(one);
      text += found == how_.folds.end() ? one : found->second;
      at += one.size();
    }
  }

  static bool unify(std::string& text) {
    switch (word_of(text)) {
      case Word::kNull: return false;
      case Word::kTrue: text = "true"; return true;
      case Word::kFalse: text = "false"; return true;
      case Word::kOther: break;
    }
    if (double value = 0; is_number(text, value)) {
      text.clear();
      append_number(value, text);
    }
    return true;
  }

  Cleaning how_;
  std::uint32_t from_, to_;
};

struct Part {
  std::uint32_t index;
  RegisterType type;
};

// Values side by side as one text, with a bar between; bars and backslashes of their own have a backslash before them. Null if one is.
class Cross : public FieldStep {
 public:
  Cross(std::vector<Part> parts, std::uint32_t to) : parts_(std::move(parts)), to_(to) {}
  void run(const FieldTile& tile) const override {
    TextBuffer& out = *tile.made[to_];
    out.clear();
    std::string text;
    for (std::size_t row = 0; row < tile.rows; ++row) {
      text.clear();
      const bool is_there = std::all_of(parts_.begin(), parts_.end(), [&](const Part& part) {
        if (&part != parts_.data()) text.push_back('|');
        return append(tile, part, row, text);
      });
      out.append(text);
      out.end_row(is_there);
    }
  }

 private:
  static bool append(const FieldTile& tile, const Part& part, std::size_t row, std::string& text) {
    if (part.type == RegisterType::kText) {
      if (tile.texts[part.index].is_null(row)) return false;
      for (const char one : tile.texts[part.index].at(row)) {
        if (one == '|' || one == '\\') text.push_back('\\');
        text.push_back(one);
      }
      return true;
    }
    if (part.type == RegisterType::kInt64) {
      const std::int64_t value = tile.values<std::int64_t>(part.index)[row];
      if (value != kNullInt) text += std::to_string(value);
      return value != kNullInt;
    }
    const double value = part.type == RegisterType::kFloat32 ? static_cast<double>(tile.values<float>(part.index)[row])
                                                             : tile.values<double>(part.index)[row];
    if (value != value) return false;
    append_number(value, text);
    return true;
  }
  std::vector<Part> parts_;
  std::uint32_t to_;
};

Status check_text_output(const StepSpec& spec, std::span<const Register> registers) {
  const Register& out = registers[spec.output];
  if (out.type == RegisterType::kText && out.width == 1) return Status::ok();
  return spec.error(std::string("its output is ") + register_type_name(out.type) + "; expected text");
}

// `name`: pairs, first and second in turn.
Result<std::vector<std::string>> pairs_of(const StepSpec& spec, const std::string& name) {
  HR_ASSIGN_OR_RETURN(std::vector<std::string> texts, spec.texts_of(name));
  if (texts.size() % 2 != 0) return spec.error("parameter '" + name + "' holds no pairs");
  return texts;
}

}  // namespace

Made make_clean(const StepSpec& spec, std::span<const Register> registers) {
  HR_RETURN_IF_ERROR(check_text_output(spec, registers));
  if (spec.inputs.size() != 1 || registers[spec.inputs[0]].type != RegisterType::kText) return spec.error("its input is no text");
  HR_ASSIGN_OR_RETURN(const std::vector<std::int64_t> what, spec.integers_of("what", 3));
  HR_ASSIGN_OR_RETURN(std::vector<std::string> folds, pairs_of(spec, "folds"));
  HR_ASSIGN_OR_RETURN(std::vector<std::string> spaces, spec.texts_of("spaces"));
  HR_ASSIGN_OR_RETURN(std::vector<std::string> replaced, spec.texts_of("replaced"));
  HR_ASSIGN_OR_RETURN(std::vector<std::string> replacements, spec.texts_of("replacements"));
  HR_ASSIGN_OR_RETURN(const std::vector<std::int64_t> there, spec.integers_of("replacements_there", replaced.size()));
  if (replacements.size() != replaced.size()) return spec.error("as many replacements are needed as there are texts to replace");
  Result<CategoryTable> table = CategoryTable::of_texts(std::move(replaced));
  if (!table.is_ok()) return spec.error("replaced: " + table.status().message());
  Cleaning how{what[0] != 0, what[1] != 0, what[2] != 0, {}, std::move(spaces), std::move(table).value(), std::move(replacements), {}};
  for (std::size_t i = 0; i < folds.size(); i += 2) how.folds.emplace(folds[i], folds[i + 1]);
  for (const std::int64_t one : there) how.is_there.push_back(one != 0);
  return std::unique_ptr<FieldStep>(std::make_unique<Clean>(std::move(how), spec));
}

Made make_cross(const StepSpec& spec, std::span<const Register> registers) {
  HR_RETURN_IF_ERROR(check_text_output(spec, registers));
  std::vector<Part> parts;
  for (const std::uint32_t index : spec.inputs) {
    if (registers[index].width != 1) return spec.error(strf("register %u has %u values a row; expected 1", index, registers[index].width));
    parts.push_back({index, registers[index].type});
  }
  return std::unique_ptr<FieldStep>(std::make_unique<Cross>(std::move(parts), spec.output));
}

}  // namespace headrace::ops
