#include "headrace/ops/text_parts.h"

#include <doctest/doctest.h>

#include <string>

namespace headrace::ops {
namespace {

TextBuffer tile(const std::vector<const char*>& texts) {
  TextBuffer made;
  made.clear();
  for (const char* text : texts) {
    if (text != nullptr) made.append(text);
    made.end_row(text != nullptr);
  }
  return made;
}

}  // namespace

TEST_CASE("parts are joined in the order of rows, whichever was filled first; empty ones hold no rows") {
  TextParts parts(4);
  add_texts(tile({"c", nullptr}).rows(), 2, parts.part(2));
  add_texts(tile({"", "ab", "not added"}).rows(), 2, parts.part(0));
  add_texts(tile({nullptr, "de"}).rows(), 2, parts.part(2));
  CHECK(parts.rows() == 6);
  REQUIRE(parts.bytes() == 5);
  std::string values(5, '?');
  std::vector<std::int64_t> offsets(7, -1);
  std::vector<std::uint8_t> valid(6, 9);
  parts.join(reinterpret_cast<std::uint8_t*>(values.data()), offsets.data(), valid.data());
  CHECK(values == "abcde");
  CHECK(offsets == std::vector<std::int64_t>{0, 0, 2, 3, 3, 3, 5});
  CHECK(valid == std::vector<std::uint8_t>{1, 1, 1, 0, 0, 1});
}

TEST_CASE("no parts are no rows") {
  std::int64_t offset = -1;
  TextParts(0).join(nullptr, &offset, nullptr);
  CHECK(offset == 0);
}

}  // namespace headrace::ops
