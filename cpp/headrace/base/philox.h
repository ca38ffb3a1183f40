// Philox4x64-10: random words by counter, so that any draw is computed alone.
//
// Source: Salmon, Moraes, Dror, Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3". Equal to numpy.random.Philox's stream.
// Plain functions; any thread.
#pragma once

#include <array>
#include <cstdint>

namespace headrace {

struct Philox {
  std::array<std::uint64_t, 2> key;

  std::array<std::uint64_t, 4> block(std::uint64_t counter) const {
    std::array<std::uint64_t, 4> c{counter, 0, 0, 0};
    std::uint64_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; ++round) {
      const unsigned __int128 a = static_cast<unsigned __int128>(0xD2E7470EE14C6C93ull) * c[0];
      const unsigned __int128 b = static_cast<unsigned __int128>(0xCA5A826395121157ull) * c[2];
      c = {static_cast<std::uint64_t>(b >> 64) ^ c[1] ^ k0, static_cast<std::uint64_t>(b), static_cast<std::uint64_t>(a >> 64) ^ c[3] ^ k1,
           static_cast<std::uint64_t>(a)};
      k0 += 0x9E3779B97F4A7C15ull;
      k1 += 0xBB67AE8584CAA73Bull;
    }
    return c;
  }
};

}  // namespace headrace
