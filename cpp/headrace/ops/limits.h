// The bare work of a loader, with nothing of a loader around it: what benchmarks hold ours against, in the same run.
//
// Each function runs on `threads` threads of its own, started before the clock, and returns the seconds until the last is done.
// Owns nothing that lasts; any thread may call.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace headrace::ops {

struct LimitColumn {
  const std::uint8_t* data = nullptr;
  std::size_t row_bytes = 0;
};

// Copies the rows that `order` names, batch by batch, into one reused batch a thread; thread t takes batches t, t + threads, ...
double gather_limit_seconds(const std::vector<LimitColumn>& columns, std::span<const std::int64_t> order, std::size_t batch_size,
                            int threads);

// Widens the windows [start, start + length) of `values` to int64, batch by batch as above.
double widen_limit_seconds(const std::uint16_t* values, std::span<const std::int64_t> starts, std::size_t length, std::size_t batch_size,
                           int threads);

// Copies `bytes` in pieces of `piece_bytes` from a source of `source_bytes` (read in turn) into reused buffers of that size, one a thread.
double copy_limit_seconds(std::size_t bytes, std::size_t piece_bytes, std::size_t source_bytes, int threads);

}  // namespace headrace::ops
