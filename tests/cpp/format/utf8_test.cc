#include "headrace/format/utf8.h"

#include <doctest/doctest.h>

#include <string>

namespace headrace::format {
namespace {

std::uint64_t prefix(const std::string& text) { return utf8_prefix({reinterpret_cast<const std::uint8_t*>(text.data()), text.size()}); }

}  // namespace

TEST_CASE("valid text of every length of character is accepted whole") {
  for (const std::string text : {"", "a", "plain ascii, longer than sixteen bytes", "\xC2\x80", "\xDF\xBF", "\xE0\xA0\x80", "\xED\x9F\xBF",
                                 "\xEE\x80\x80", "\xEF\xBF\xBF", "\xF0\x90\x80\x80", "\xF4\x8F\xBF\xBF", "0123456789abcde\xC3\xA9",
                                 "\xF0\x9F\x98\x80 0123456789abcdef \xE2\x82\xAC"}) {
    CAPTURE(text);
    CHECK(prefix(text) == text.size());
  }
}

TEST_CASE("the prefix ends before the first bad character, at any alignment") {
  for (const std::string bad :
       {"\x80", "\xBF", "\xC0\x80", "\xC1\xBF", "\xC2", "\xC2\x41", "\xE0\x9F\xBF", "\xE2\x82", "\xE2\x82\x41", "\xED\xA0\x80",
        "\xED\xBF\xBF", "\xF0\x8F\xBF\xBF", "\xF0\x9F\x98", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xFF"}) {
    for (std::size_t before = 0; before < 40; ++before) {
      const std::string good(before, 'x');
      CHECK(prefix(good + bad) == before);
      CHECK(prefix(good + bad + "tail that is long enough for a word") == before);
    }
  }
}

}  // namespace headrace::format
