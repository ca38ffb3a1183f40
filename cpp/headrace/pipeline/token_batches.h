// Batches by what they hold rather than by how many samples: of padded tokens, or of tokens side by side.
//
// Plain functions; any thread.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace headrace::pipeline {

// Cuts samples, shortest first, into groups of `ranks` batches of as many samples each: returns how many. A batch of c samples counts as c
// times the longest of its group, at most `budget`; each group takes as many as fit. What is left at the end is fewer than `ranks` samples.
// REQUIRES: ascending, lengths.back() <= budget < 2^63, ranks >= 1.
std::vector<std::uint64_t> cut_by_longest(std::span<const std::uint64_t> lengths, std::uint64_t budget, std::uint64_t ranks);

// Puts samples into bins of `capacity`, longest first, each into the fullest bin that has room (Johnson et al. 1974: at most 11/9 of the
// fewest bins, and 1): returns the bin of each sample, in the order given. REQUIRES: descending, lengths.front() <= capacity.
std::vector<std::uint64_t> pack_best_fit(std::span<const std::uint64_t> lengths, std::uint64_t capacity);

}  // namespace headrace::pipeline
