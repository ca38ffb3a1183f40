// Blocks that codecs find easy, hard and in between. Tests only.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

namespace headrace::codec {

inline std::vector<std::uint8_t> incompressible(std::size_t bytes, std::uint64_t seed = 1) {
  std::mt19937_64 random(seed);
  std::vector<std::uint8_t> out(bytes);
  for (std::uint8_t& byte : out) byte = static_cast<std::uint8_t>(random() >> 56);
  return out;
}

inline std::vector<std::uint8_t> repetitive(std::size_t bytes) {
  std::vector<std::uint8_t> out(bytes);
  for (std::size_t i = 0; i < bytes; ++i) out[i] = static_cast<std::uint8_t>(i % 97 + i / 5000);
  return out;
}

// Stretches of noise between stretches of repetition, so that frames mix stored and compressed blocks.
inline std::vector<std::uint8_t> mixed(std::size_t bytes) {
  std::vector<std::uint8_t> out = repetitive(bytes);
  const std::vector<std::uint8_t> noise = incompressible(bytes, 2);
  for (std::size_t i = 0; i < bytes; ++i) {
    if (i / (std::size_t{5} << 20) % 2 == 1 || i / 300 % 3 == 0) out[i] = noise[i];
  }
  return out;
}

}  // namespace headrace::codec
