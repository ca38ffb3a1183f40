#include "headrace/codec/filter.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "codec/codec_samples.h"

namespace headrace::codec {
namespace {

using Block = std::vector<std::uint8_t>;

constexpr Filter kFilters[] = {Filter::kNone, Filter::kShuffle, Filter::kDelta, Filter::kDeltaShuffle, Filter::kBitShuffle};

// FORMAT.md section 5, word for word.
Block shuffled(const Block& in, std::size_t s) {
  const std::size_t m = in.size() / s;
  Block out = in;
  for (std::size_t j = 0; j < m; ++j) {
    for (std::size_t k = 0; k < s; ++k) out[k * m + j] = in[j * s + k];
  }
  return out;
}

Block deltas(const Block& in, std::size_t s) {
  Block out = in;
  for (std::size_t j = in.size() / s; j-- > 1;) {
    int borrow = 0;
    for (std::size_t k = 0; k < s; ++k) {  // Byte by byte, lowest first, as on paper.
      const int difference = in[j * s + k] - in[(j - 1) * s + k] - borrow;
      borrow = difference < 0 ? 1 : 0;
      out[j * s + k] = static_cast<std::uint8_t>(difference & 0xff);
    }
  }
  return out;
}

Block bit_shuffled(const Block& in, std::size_t s) {
  const std::size_t r = in.size() / s / 8;
  Block out = in;
  std::fill_n(out.begin(), 8 * r * s, std::uint8_t{0});
  for (std::size_t j = 0; j < 8 * r; ++j) {
    for (std::size_t k = 0; k < s; ++k) {
      for (std::size_t b = 0; b < 8; ++b) {
        std::uint8_t& to = out[(8 * k + b) * r + j / 8];
        to = static_cast<std::uint8_t>(to | (in[j * s + k] >> b & 1) << (j % 8));
      }
    }
  }
  return out;
}

Block reference(Filter filter, std::size_t s, const Block& in) {
  switch (filter) {
    case Filter::kNone: return in;
    case Filter::kShuffle: return shuffled(in, s);
    case Filter::kDelta: return deltas(in, s);
    case Filter::kDeltaShuffle: return shuffled(deltas(in, s), s);
    case Filter::kBitShuffle: return bit_shuffled(in, s);
  }
  return {};
}

Block applied(Filter filter, std::uint32_t s, const Block& in) {
  Block out(in.size(), 0xee);
  apply_filter(filter, s, in, out);
  return out;
}

Block reverted(Filter filter, std::uint32_t s, const Block& in) {
  Block out(in.size(), 0xee);
  revert_filter(filter, s, in, out);
  return out;
}

TEST_CASE("names and ids go both ways") {
  for (const Filter filter : kFilters) CHECK(filter_from_name(filter_name(filter)).value() == filter);
  CHECK(static_cast<int>(filter_from_name("none").value()) == 0);
  CHECK(static_cast<int>(filter_from_name("shuffle").value()) == 1);
  CHECK(static_cast<int>(filter_from_name("delta").value()) == 2);
  CHECK(static_cast<int>(filter_from_name("delta+shuffle").value()) == 3);
  CHECK(static_cast<int>(filter_from_name("bitshuffle").value()) == 4);
  const Status status = filter_from_name("bytedelta").status();
  CHECK(status.code() == Code::kInvalidArgument);
  CHECK(status.message() == "filter 'bytedelta' is unknown; expected none, shuffle, delta, delta+shuffle or bitshuffle");
  CHECK(filter_name(static_cast<Filter>(9)) == std::string("unknown"));
}

TEST_CASE("which element sizes a filter serves") {
  for (const std::uint32_t s : {1u, 2u, 4u, 8u}) {
    for (const Filter filter : kFilters) CHECK(filter_allows(filter, s));
  }
  for (const std::uint32_t s : {3u, 16u, 1000u}) {
    CHECK(filter_allows(Filter::kShuffle, s));
    CHECK(filter_allows(Filter::kBitShuffle, s));
    CHECK_FALSE(filter_allows(Filter::kDelta, s));
    CHECK_FALSE(filter_allows(Filter::kDeltaShuffle, s));
  }
  CHECK_FALSE(filter_allows(Filter::kShuffle, 0));
  CHECK_FALSE(filter_allows(static_cast<Filter>(5), 4));
  CHECK_FALSE(filter_allows(Filter::kBitShuffle, 0));
}

TEST_CASE("a shuffle by hand") {
  const Block in = {0x11, 0x12, 0x21, 0x22, 0x31, 0x32};
  CHECK(applied(Filter::kShuffle, 2, in) == Block{0x11, 0x21, 0x31, 0x12, 0x22, 0x32});
  CHECK(reverted(Filter::kShuffle, 2, {0x11, 0x21, 0x31, 0x12, 0x22, 0x32}) == in);
}

TEST_CASE("a delta by hand wraps") {
  const Block in = {0x05, 0x00, 0x03, 0x00, 0x00, 0x01};   // 5, 3, 256
  const Block out = {0x05, 0x00, 0xfe, 0xff, 0xfd, 0x00};  // 5, -2, 253
  CHECK(applied(Filter::kDelta, 2, in) == out);
  CHECK(reverted(Filter::kDelta, 2, out) == in);
  CHECK(applied(Filter::kDeltaShuffle, 2, in) == Block{0x05, 0xfe, 0xfd, 0x00, 0xff, 0x00});
}

TEST_CASE("every filter equals the reference, and reverts, at every size") {
  for (const Filter filter : kFilters) {
    for (const std::uint32_t s : {1u, 2u, 3u, 4u, 5u, 6u, 7u, 8u, 12u, 16u, 20u, 24u, 32u, 100u, 1000u}) {
      if (!filter_allows(filter, s)) continue;
      std::vector<std::size_t> counts = {0, 1, 2, 3, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 255, 256, 257};
      // Around the borders of the tiles (8 KiB), and well past them.
      for (const std::size_t bytes : {8192, 16384, 65536}) {
        for (const std::size_t off : {0, 1, 2, 15, 16, 17}) {
          counts.push_back(bytes / s + off);
          if (bytes / s >= off) counts.push_back(bytes / s - off);
        }
      }
      for (const std::size_t count : counts) {
        CAPTURE(filter_name(filter));
        CAPTURE(s);
        CAPTURE(count);
        const Block in = incompressible(count * s, count + s);
        const Block out = applied(filter, s, in);
        CHECK((out == reference(filter, s, in)));
        CHECK((reverted(filter, s, out) == in));
      }
    }
  }
}

TEST_CASE("blocks need not be aligned") {
  const Block in = incompressible(20'000);
  for (const Filter filter : kFilters) {
    for (const std::uint32_t s : {2u, 4u, 8u}) {
      for (std::size_t shift = 1; shift < 8; shift += 2) {
        Block from(in.size() + shift), out(in.size() + 7), back(in.size() + shift);
        std::copy(in.begin(), in.end(), from.begin() + static_cast<std::ptrdiff_t>(shift));
        const MutableBytes middle(out.data() + 3, in.size());
        apply_filter(filter, s, Bytes(from).subspan(shift), middle);
        revert_filter(filter, s, middle, MutableBytes(back).subspan(shift));
        CHECK((Block(back.begin() + static_cast<std::ptrdiff_t>(shift), back.end()) == in));
      }
    }
  }
}

TEST_CASE("bytes after the last whole element are copied") {
  for (const Filter filter : kFilters) {
    for (const std::uint32_t s : {2u, 4u, 8u}) {
      const Block in = incompressible(1000 * s + s - 1, s);
      const Block out = applied(filter, s, in);
      CHECK((Block(out.end() - (s - 1), out.end()) == Block(in.end() - (s - 1), in.end())));
      CHECK((reverted(filter, s, out) == in));
    }
  }
  CHECK(applied(Filter::kShuffle, 100, {1, 2, 3}) == Block{1, 2, 3});
}

TEST_CASE("sums carry over vectors and tiles") {
  for (const std::uint32_t s : {1u, 2u, 4u, 8u}) {
    Block ones(std::size_t{40'000} * s, 0);
    for (std::size_t j = 0; j < 40'000; ++j) ones[j * s] = 1;
    for (const Filter filter : {Filter::kDelta, Filter::kDeltaShuffle}) {
      const Block out = reverted(filter, s, reference(filter == Filter::kDelta ? Filter::kNone : Filter::kShuffle, s, ones));
      for (const std::size_t j :
           {std::size_t{0}, std::size_t{15}, std::size_t{16}, std::size_t{255}, std::size_t{8192}, std::size_t{39'999}}) {
        std::uint64_t value = 0;
        for (std::size_t k = 0; k < s; ++k) value |= std::uint64_t{out[j * s + k]} << (8 * k);
        CHECK(value == ((j + 1) & (s == 8 ? ~std::uint64_t{0} : (std::uint64_t{1} << (8 * s)) - 1)));
      }
    }
  }
}

}  // namespace
}  // namespace headrace::codec
