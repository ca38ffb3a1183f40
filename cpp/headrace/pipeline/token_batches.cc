#include "headrace/pipeline/token_batches.h"

#include <map>

namespace headrace::pipeline {

std::vector<std::uint64_t> cut_by_longest(std::span<const std::uint64_t> lengths, std::uint64_t budget, std::uint64_t ranks) {
  std::vector<std::uint64_t> counts;
  std::size_t begin = 0;
  while (lengths.size() - begin >= ranks) {
    // The cost grows with the count, so the largest that fits is found by halving.
    std::uint64_t low = 1, high = (lengths.size() - begin) / ranks;
    while (low < high) {
      const std::uint64_t middle = high - (high - low) / 2;
      const std::uint64_t longest = lengths[begin + middle * ranks - 1];
      const bool fits = longest == 0 || middle <= budget / longest;
      (fits ? low : high) = fits ? middle : middle - 1;
    }
    counts.push_back(low);
    begin += low * ranks;
  }
  return counts;
}

std::vector<std::uint64_t> pack_best_fit(std::span<const std::uint64_t> lengths, std::uint64_t capacity) {
  std::vector<std::uint64_t> bins;
  bins.reserve(lengths.size());
  std::multimap<std::uint64_t, std::uint64_t> room;  // what is left -> bin
  std::uint64_t next = 0;
  for (const std::uint64_t length : lengths) {
    auto found = room.lower_bound(length);
    const std::uint64_t bin = found == room.end() ? next++ : found->second;
    const std::uint64_t left = (found == room.end() ? capacity : found->first) - length;
    if (found != room.end()) room.erase(found);
    if (left > 0) room.emplace(left, bin);
    bins.push_back(bin);
  }
  return bins;
}

}  // namespace headrace::pipeline
