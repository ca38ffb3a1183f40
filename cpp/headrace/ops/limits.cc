#include "headrace/ops/limits.h"

#include <algorithm>
#include <barrier>
#include <cstring>
#include <functional>
#include <memory>
#include <thread>

#include "headrace/base/clock.h"
#include "headrace/base/multiversion.h"
#include "headrace/storage/slab_pool.h"

namespace headrace::ops {
namespace {

// `prepare` and `work` get the thread's number; only `work` is timed.
double timed(int threads, const std::function<void(int)>& prepare, const std::function<void(int)>& work) {
  std::barrier ready(threads);
  std::vector<std::thread> all;
  // By their own clocks: on a busy machine the caller may see the start long after it was.
  std::vector<std::int64_t> begins(static_cast<std::size_t>(threads)), ends(begins.size());
  for (int t = 0; t < threads; ++t) {
    all.emplace_back([&, t] {
      prepare(t);
      ready.arrive_and_wait();
      begins[static_cast<std::size_t>(t)] = now_ns();
      work(t);
      ends[static_cast<std::size_t>(t)] = now_ns();
    });
  }
  for (std::thread& thread : all) thread.join();
  return static_cast<double>(*std::max_element(ends.begin(), ends.end()) - *std::min_element(begins.begin(), begins.end())) * 1e-9;
}

struct Buffers {
  explicit Buffers(int threads) : all(static_cast<std::size_t>(threads)) {}
  std::vector<std::unique_ptr<storage::Slab>> all;
  void make(int thread, std::size_t bytes, int value) {
    auto slab = storage::Slab::allocate(bytes);
    if (!slab.is_ok()) return;
    std::memset((*slab)->data(), value, (*slab)->capacity());
    all[static_cast<std::size_t>(thread)] = std::move(*slab);
  }
  std::uint8_t* of(int thread) const {
    const auto& slab = all[static_cast<std::size_t>(thread)];
    return slab == nullptr ? nullptr : slab->data();
  }
};

template <std::size_t kRow>
HR_INLINE void gather(const LimitColumn& column, std::span<const std::int64_t> rows, std::uint8_t* out) {
  const std::size_t size = kRow != 0 ? kRow : column.row_bytes;
  for (const std::int64_t row : rows) {
    std::memcpy(out, column.data + static_cast<std::size_t>(row) * size, size);
    out += size;
  }
}

HR_MULTIVERSION
void gather_column(const LimitColumn& column, std::span<const std::int64_t> rows, std::uint8_t* out) {
  switch (column.row_bytes) {
    case 8: return gather<8>(column, rows, out);
    case 256: return gather<256>(column, rows, out);
    default: return gather<0>(column, rows, out);
  }
}

HR_MULTIVERSION
void widen(const std::uint16_t* __restrict in, std::size_t count, std::int64_t* __restrict out) {
  for (std::size_t i = 0; i < count; ++i) out[i] = in[i];
}

}  // namespace

double gather_limit_seconds(const std::vector<LimitColumn>& columns, std::span<const std::int64_t> order, std::size_t batch_size,
                            int threads) {
  std::size_t sample_bytes = 0;
  for (const LimitColumn& column : columns) sample_bytes += column.row_bytes;
  Buffers out(threads);
  const auto work = [&](int thread) {
    for (std::size_t begin = static_cast<std::size_t>(thread) * batch_size; begin < order.size();
         begin += static_cast<std::size_t>(threads) * batch_size) {
      const std::span<const std::int64_t> rows = order.subspan(begin, std::min(batch_size, order.size() - begin));
      std::uint8_t* to = out.of(thread);
      if (to == nullptr) return;
      for (const LimitColumn& column : columns) {
        gather_column(column, rows, to);
        to += batch_size * column.row_bytes;
      }
    }
  };
  return timed(threads, [&](int thread) { out.make(thread, batch_size * sample_bytes, 1); }, work);
}

double widen_limit_seconds(const std::uint16_t* values, std::span<const std::int64_t> starts, std::size_t length, std::size_t batch_size,
                           int threads) {
  Buffers out(threads);
  const auto work = [&](int thread) {
    auto* const to = reinterpret_cast<std::int64_t*>(out.of(thread));
    if (to == nullptr) return;
    for (std::size_t begin = static_cast<std::size_t>(thread) * batch_size; begin < starts.size();
         begin += static_cast<std::size_t>(threads) * batch_size) {
      const std::span<const std::int64_t> batch = starts.subspan(begin, std::min(batch_size, starts.size() - begin));
      for (std::size_t i = 0; i < batch.size(); ++i) widen(values + batch[i], length, to + i * length);
    }
  };
  return timed(threads, [&](int thread) { out.make(thread, batch_size * length * sizeof(std::int64_t), 1); }, work);
}

double copy_limit_seconds(std::size_t bytes, std::size_t piece_bytes, std::size_t source_bytes, int threads) {
  Buffers from(threads), to(threads);
  const auto prepare = [&](int thread) {
    from.make(thread, std::max(source_bytes, piece_bytes), 7);
    to.make(thread, piece_bytes, 1);
  };
  const auto work = [&](int thread) {
    if (from.of(thread) == nullptr || to.of(thread) == nullptr) return;
    const std::size_t places = std::max<std::size_t>(1, source_bytes / piece_bytes);
    for (std::size_t i = static_cast<std::size_t>(thread), pieces = bytes / piece_bytes; i < pieces;
         i += static_cast<std::size_t>(threads)) {
      std::memcpy(to.of(thread), from.of(thread) + i % places * piece_bytes, piece_bytes);
    }
  };
  return timed(threads, prepare, work);
}

}  // namespace headrace::ops
