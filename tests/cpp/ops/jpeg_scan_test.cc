#include "headrace/ops/jpeg_scan.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <memory>
#include <random>
#include <vector>

namespace headrace::ops {
namespace {

// Codes of many lengths, up to 16 bits: `count` symbols, 2 of each length from 2 bits on while they last, then the rest with 16.
HuffmanCodes codes_of(const std::vector<std::uint8_t>& symbols) {
  HuffmanCodes codes;
  std::size_t left = symbols.size();
  for (std::size_t bits = 2; bits < 16 && left > 0; ++bits) {
    codes.counts[bits] = static_cast<std::uint8_t>(std::min<std::size_t>(left, bits < 6 ? 1 : 3));
    left -= codes.counts[bits];
  }
  codes.counts[16] = static_cast<std::uint8_t>(left);
  std::copy(symbols.begin(), symbols.end(), codes.symbols.begin());
  return codes;
}

struct Writer {
  std::vector<std::uint8_t> bytes;
  std::uint32_t held = 0, bits = 0;

  void put(std::uint32_t value, std::uint32_t count) {
    while (count-- > 0) {
      held = held << 1 | (value >> count & 1);
      if (++bits == 8) flush();
    }
  }
  void flush() {
    bytes.push_back(static_cast<std::uint8_t>(held));
    if (held == 0xFF) bytes.push_back(0);
    held = bits = 0;
  }
  void end() {
    while (bits != 0) put(1, 1);
  }
  void symbol(const HuffmanCodes& codes, std::uint8_t wanted) {
    std::uint32_t code = 0;
    std::size_t at = 0;
    for (std::uint32_t length = 1; length <= 16; ++length, code <<= 1) {
      for (std::size_t i = 0; i < codes.counts[length]; ++i, ++at, ++code) {
        if (codes.symbols[at] == wanted) return put(code, length);
      }
    }
    FAIL("no code for the symbol");
  }
  void value(int value, std::uint32_t size) { put(static_cast<std::uint32_t>(value < 0 ? value + (1 << size) - 1 : value), size); }
};

std::uint32_t size_of(int value) {
  std::uint32_t size = 0;
  for (int rest = std::abs(value); rest != 0; rest >>= 1) ++size;
  return size;
}

constexpr std::array<std::uint8_t, 64> kZigzag = {0,  1,  8,  16, 9,  2,  3,  10, 17, 24, 32, 25, 18, 11, 4,  5,  12, 19, 26, 33, 40, 48,
                                                  41, 34, 27, 20, 13, 6,  7,  14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23,
                                                  30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63};

using Coefficients = std::array<std::int16_t, 64>;

struct Scan {
  HuffmanCodes dc, ac;
  std::vector<Coefficients> blocks;
  std::vector<std::uint8_t> bytes;
};

// Random blocks, of few and many coefficients, small and large, written by the plain rules of the standard.
Scan make_scan(std::size_t count, std::uint32_t interval, unsigned seed) {
  std::mt19937 random(seed);
  const auto below = [&](unsigned bound) { return static_cast<int>(random() % bound); };
  std::vector<std::uint8_t> dc_symbols, ac_symbols{0x00, 0x01, 0x11, 0x02, 0x21, 0x03, 0x31, 0xF0};
  for (std::uint8_t i = 0; i < 12; ++i) dc_symbols.push_back(i);
  for (unsigned i = 0; i < 256; ++i) {
    const auto symbol = static_cast<std::uint8_t>(i);
    if ((i & 15) >= 1 && (i & 15) <= 10 && std::find(ac_symbols.begin(), ac_symbols.end(), symbol) == ac_symbols.end())
      ac_symbols.push_back(symbol);
  }
  Scan scan{codes_of(dc_symbols), codes_of(ac_symbols), {}, {}};
  Writer out;
  int last = 0;
  std::uint8_t marker = 0;
  for (std::size_t i = 0; i < count; ++i) {
    if (interval != 0 && i != 0 && i % interval == 0) {
      out.end();
      out.bytes.insert(out.bytes.end(), {0xFF, static_cast<std::uint8_t>(0xD0 + marker++ % 8)});
      last = 0;
    }
    Coefficients block{};
    block[0] = static_cast<std::int16_t>(below(2001) - 1000);
    const int density = below(5);
    for (std::size_t k = 1; k < 64; ++k) {
      if (density == 4 || (density > 0 && below(density == 3 ? 3 : 12) == 0))
        block[kZigzag[k]] = static_cast<std::int16_t>(below(4) == 0 ? below(1601) - 800 : below(7) - 3);
    }
    const int difference = block[0] - last;
    last = block[0];
    out.symbol(scan.dc, static_cast<std::uint8_t>(size_of(difference)));
    out.value(difference, size_of(difference));
    unsigned zeros = 0;
    for (std::size_t k = 1; k < 64; ++k) {
      const int value = block[kZigzag[k]];
      if (value == 0) {
        ++zeros;
        continue;
      }
      for (; zeros > 15; zeros -= 16) out.symbol(scan.ac, 0xF0);
      out.symbol(scan.ac, static_cast<std::uint8_t>(zeros << 4 | size_of(value)));
      out.value(value, size_of(value));
      zeros = 0;
    }
    if (zeros > 0) out.symbol(scan.ac, 0x00);
    scan.blocks.push_back(block);
  }
  out.end();
  out.bytes.insert(out.bytes.end(), {0xFF, 0xD9});
  scan.bytes = std::move(out.bytes);
  return scan;
}

struct Decoder {
  std::unique_ptr<HuffmanTable> dc = std::make_unique<HuffmanTable>(), ac = std::make_unique<HuffmanTable>();
  JpegScan scan;
  void begin(const Scan& from, Bytes bytes, std::uint32_t interval, bool dc_alone = false) {
    REQUIRE(dc->set(from.dc, false));
    REQUIRE(ac->set(from.ac, true));
    const JpegScan::Block block{0, dc.get(), ac.get(), dc_alone};
    scan.begin(bytes, {&block, 1}, interval, 0);
  }
  bool decode(Coefficients* out) {
    std::int16_t block[64] = {};
    std::int16_t (*blocks[1])[64] = {&block};
    const bool is_whole = scan.decode(blocks);
    std::copy(std::begin(block), std::end(block), out->begin());
    return is_whole;
  }
};

}  // namespace

TEST_CASE("coefficients are those that were written, whatever is passed over between them") {
  for (const std::uint32_t interval : {0u, 1u, 7u}) {
    for (unsigned seed = 0; seed < 20; ++seed) {
      const Scan scan = make_scan(400, interval, seed);
      for (const unsigned kept : {1u, 2u, 5u, 31u}) {
        Decoder decoder;
        decoder.begin(scan, scan.bytes, interval);
        bool all = true;
        for (std::size_t i = 0; i < scan.blocks.size(); ++i) {
          Coefficients got{};
          if (i % kept != 0) {
            decoder.scan.skip();
          } else {
            all = all && decoder.decode(&got) && got == scan.blocks[i];
          }
        }
        CHECK(all);
      }
      Decoder decoder;
      decoder.begin(scan, scan.bytes, interval, true);
      bool all = true;
      for (const Coefficients& block : scan.blocks) {
        Coefficients got{};
        all = all && decoder.decode(&got) && got[0] == block[0];
      }
      CHECK(all);
    }
  }
}

TEST_CASE("a scan that ends early is told, and nothing behind it is read") {
  const Scan scan = make_scan(50, 0, 1);
  for (std::size_t size = 0; size + 2 < scan.bytes.size(); size += 3) {
    const std::vector<std::uint8_t> cut(scan.bytes.begin(), scan.bytes.begin() + static_cast<std::ptrdiff_t>(size));
    Decoder decoder;
    decoder.begin(scan, cut, 0);
    std::size_t decoded = 0;
    Coefficients got{};
    while (decoded < scan.blocks.size() && decoder.decode(&got)) ++decoded;
    CHECK(decoded < scan.blocks.size());
  }
}

TEST_CASE("damaged bytes end somewhere") {
  std::mt19937 random(3);
  const Scan scan = make_scan(60, 5, 2);
  for (int i = 0; i < 3000; ++i) {
    std::vector<std::uint8_t> bytes = scan.bytes;
    for (int j = 0; j < 3; ++j) bytes[random() % bytes.size()] = static_cast<std::uint8_t>(random());
    Decoder decoder;
    decoder.begin(scan, bytes, 5);
    Coefficients got{};
    std::size_t decoded = 0;
    while (decoded < 1000 && decoder.decode(&got)) {
      ++decoded;
      for (int j = 0; j < i % 4 * 3; ++j) decoder.scan.skip();
    }
    CHECK(decoded < 1000);
  }
}

TEST_CASE("tables that are none are refused") {
  auto table = std::make_unique<HuffmanTable>();
  HuffmanCodes codes;
  codes.counts[1] = 3;  // There are two codes of a bit.
  CHECK_FALSE(table->set(codes, true));
  codes.counts[1] = 1;
  codes.symbols[0] = 16;  // Of a DC that is 16 bits, which no file of 8 bits has.
  CHECK_FALSE(table->set(codes, false));
  CHECK(table->set(codes, true));
  codes.counts[8] = 255;
  codes.counts[16] = 255;
  CHECK_FALSE(table->set(codes, true));
}

}  // namespace headrace::ops
