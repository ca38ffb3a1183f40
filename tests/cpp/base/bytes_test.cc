#include "headrace/base/bytes.h"

#include <doctest/doctest.h>

#include <cstdint>
#include <limits>
#include <vector>

namespace headrace {
namespace {

TEST_CASE("integers are stored lowest byte first, at any alignment") {
  std::vector<std::uint8_t> bytes(9, 0xee);
  store_le(bytes.data() + 1, std::uint64_t{0x8877665544332211});
  CHECK(bytes == std::vector<std::uint8_t>{0xee, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88});
  CHECK(load_le<std::uint64_t>(bytes.data() + 1) == 0x8877665544332211);
  CHECK(load_le<std::uint16_t>(bytes.data() + 7) == 0x8877);
  CHECK(load_le<std::int16_t>(bytes.data() + 7) == static_cast<std::int16_t>(0x8877));
}

TEST_CASE("rounding and dividing up") {
  CHECK(round_up(0, 4096) == 0);
  CHECK(round_up(1, 4096) == 4096);
  CHECK(round_up(4096, 4096) == 4096);
  CHECK(round_up(4097, 4096) == 8192);
  CHECK(ceil_div(0, 8) == 0);
  CHECK(ceil_div(8, 8) == 1);
  CHECK(ceil_div(9, 8) == 2);
}

TEST_CASE("sums and products that do not fit are refused") {
  constexpr auto kMax = std::numeric_limits<std::uint64_t>::max();
  std::uint64_t out = 0;
  CHECK(checked_add(kMax - 1, 1, &out));
  CHECK(out == kMax);
  CHECK_FALSE(checked_add(kMax, 1, &out));
  CHECK(checked_mul(kMax / 2, 2, &out));
  CHECK(out == kMax - 1);
  CHECK_FALSE(checked_mul(kMax / 2 + 1, 2, &out));
}

TEST_CASE("a reader answers what a writer wrote") {
  ByteWriter writer;
  writer.bytes().reserve(64);  // Else gcc 12 warns of an overflow that is none, once all is inlined.
  writer.write(std::uint8_t{7});
  writer.write(std::uint32_t{0xdeadbeef});
  writer.write_string("name");
  writer.pad_to(8);
  CHECK(writer.bytes().size() == 16);
  writer.write(std::int64_t{-2});
  writer.pad_to(8);
  CHECK(writer.bytes().size() == 24);

  ByteReader reader(writer.bytes());
  CHECK(reader.read<std::uint8_t>() == 7);
  CHECK(reader.read<std::uint32_t>() == 0xdeadbeef);
  CHECK(reader.read_string(4) == "name");
  CHECK(reader.position() == 9);
  CHECK(reader.remaining() == 15);
  const Bytes padding = reader.read_bytes(7);
  for (const std::uint8_t byte : padding) CHECK(byte == 0);
  CHECK(reader.read<std::int64_t>() == -2);
  CHECK(reader.ok());
  CHECK(reader.remaining() == 0);
}

TEST_CASE("a reader that is asked for too much stays failed and stays inside") {
  const std::vector<std::uint8_t> bytes = {1, 2, 3};
  ByteReader reader(bytes);
  CHECK(reader.read<std::uint32_t>() == 0);
  CHECK_FALSE(reader.ok());
  CHECK(reader.read<std::uint8_t>() == 0);  // There is a byte, but not for a reader that failed.
  CHECK(reader.position() == 0);
  ByteReader huge(bytes);
  CHECK(huge.read_bytes(std::numeric_limits<std::uint64_t>::max()).empty());
  CHECK_FALSE(huge.ok());
  ByteReader text(bytes);
  CHECK(text.read_string(4).empty());
  CHECK_FALSE(text.ok());
}

}  // namespace
}  // namespace headrace
