#include "headrace/ops/gather.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <random>
#include <vector>

namespace headrace::ops {
namespace {

constexpr std::size_t kGuard = 64;

std::vector<std::uint8_t> random_bytes(std::size_t size, unsigned seed) {
  std::mt19937_64 random(seed);
  std::vector<std::uint8_t> bytes(size);
  for (std::uint8_t& byte : bytes) byte = static_cast<std::uint8_t>(random());
  return bytes;
}

// Rows from anywhere in `source`, each at its own alignment; the very last bytes are among them, so that reading past a row is found.
void check_gather(const std::vector<std::uint8_t>& source, std::size_t row_bytes, std::size_t count, std::size_t out_shift) {
  std::mt19937_64 random(row_bytes * 1000 + count);
  std::vector<const std::uint8_t*> rows;
  for (std::size_t i = 0; i < count; ++i) rows.push_back(source.data() + random() % (source.size() - row_bytes + 1));
  if (count > 0) rows[count / 2] = source.data() + source.size() - row_bytes;
  std::vector<std::uint8_t> out(count * row_bytes + 2 * kGuard, 0xA5), expected = out;
  for (std::size_t i = 0; i < count; ++i) {
    for (std::size_t b = 0; b < row_bytes; ++b) expected[out_shift + i * row_bytes + b] = rows[i][b];
  }
  gather_rows(rows, row_bytes, out.data() + out_shift);
  REQUIRE(out == expected);
}

TEST_CASE("gather copies rows of every size up to 600 bytes") {
  const auto source = random_bytes(4096, 1);
  for (std::size_t row_bytes = 0; row_bytes <= 600; ++row_bytes) {
    check_gather(source, row_bytes, 71, row_bytes % kGuard);
  }
}

TEST_CASE("gather copies any number of rows") {
  const auto source = random_bytes(4096, 2);
  for (const std::size_t row_bytes : {1u, 4u, 8u, 12u, 64u, 100u, 512u}) {
    for (std::size_t count = 0; count <= 70; ++count) check_gather(source, row_bytes, count, 0);
  }
}

TEST_CASE("gather copies large rows") {
  const auto source = random_bytes(3'000'000, 3);
  for (const std::size_t row_bytes : {1023u, 1024u, 1025u, 4096u, 4097u, 12'288u, 65'537u, 150'528u, 1'000'001u}) {
    for (const std::size_t count : {1u, 3u, 4u, 9u}) check_gather(source, row_bytes, count, 1);
  }
}

// Any rows to all slots, once each.
void check_scatter(std::size_t row_bytes, std::size_t held, std::size_t count) {
  const auto source = random_bytes(held * row_bytes + 1, static_cast<unsigned>(row_bytes));
  const std::uint8_t* base = source.data() + 1;  // At no alignment.
  const std::uint32_t first = 1000;              // The block begins in the middle of a chunk.
  std::mt19937_64 random(row_bytes);
  std::vector<std::uint32_t> rows, slots;
  for (std::uint32_t i = 0; i < count; ++i) {
    rows.push_back(first + static_cast<std::uint32_t>(random() % held));
    slots.push_back(i * 2);  // Every other slot: what lies between must stay.
  }
  std::shuffle(slots.begin(), slots.end(), random);
  std::vector<std::uint8_t> out(2 * count * row_bytes + kGuard, 0xA5), expected = out;
  for (std::size_t i = 0; i < count; ++i) {
    for (std::size_t b = 0; b < row_bytes; ++b) expected[slots[i] * row_bytes + b] = base[(rows[i] - first) * row_bytes + b];
  }
  scatter_rows(base, first, rows, slots, row_bytes, out.data());
  REQUIRE(out == expected);
}

TEST_CASE("scatter copies rows of every size to their slots") {
  for (std::size_t row_bytes = 0; row_bytes <= 600; ++row_bytes) check_scatter(row_bytes, 33, 17);
  for (const std::size_t row_bytes : {4096u, 100'001u}) check_scatter(row_bytes, 5, 7);
  check_scatter(8, 10, 0);
}

}  // namespace
}  // namespace headrace::ops
