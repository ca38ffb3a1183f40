#include "headrace/ops/ascii.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <utility>
#include <vector>

namespace headrace::ops {
namespace {

TEST_CASE("bytes are copied, and one that is not ASCII is noticed wherever it stands") {
  for (const std::size_t size : {0u, 1u, 7u, 31u, 32u, 33u, 64u, 65u, 129u, 1000u}) {
    std::vector<std::uint8_t> in(size), out(size + 1, 0xEE);
    for (std::size_t i = 0; i < size; ++i) in[i] = static_cast<std::uint8_t>(i % 128);
    CHECK(copy_ascii(in.data(), size, out.data()));
    CHECK(std::equal(in.begin(), in.end(), out.begin()));
    CHECK(out[size] == 0xEE);
    for (std::size_t at = 0; at < size; ++at) {
      const std::uint8_t kept = std::exchange(in[at], static_cast<std::uint8_t>(128 + at % 128));
      const bool ascii = copy_ascii(in.data(), size, out.data());
      const bool copied = std::equal(in.begin(), in.end(), out.begin());
      in[at] = kept;
      if (ascii || !copied) FAIL("size " << size << ", byte " << at);
    }
  }
}

}  // namespace
}  // namespace headrace::ops
