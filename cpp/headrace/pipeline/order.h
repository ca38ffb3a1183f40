// The order of an epoch: sample = order(seed, epoch, position), by arithmetic.
//
// global:     one bijection over all samples.
// window:     chunks are permuted; K neighbours in that order form a window; samples are permuted inside their window. So each
//             chunk is read once, while mixing spans K chunks. Random access: only chunks that are not full are listed.
// sequential: the identity.
// listed:     what a sampler drew, position by position.
// mixed:      several sources in fixed shares (mixture.h); an epoch has as many positions as one likes.
// strata:     each class of a label has its number of positions (strata.h).
// weighted:   each position draws a sample by its weight, with replacement; an epoch has as many positions as one likes.
//
// Immutable after making (but for the index of a list, made once); any thread. Holds O(shards) memory (O(chunks) only if shards differ in
// chunk size).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "headrace/base/status.h"
#include "headrace/pipeline/alias_table.h"
#include "headrace/pipeline/mixture.h"
#include "headrace/pipeline/permutation.h"
#include "headrace/pipeline/strata.h"

namespace headrace::pipeline {

enum class OrderKind : std::uint8_t { kSequential, kGlobal, kWindow, kListed, kWeighted, kMixed, kStrata };
Result<OrderKind> order_from_name(std::string_view name);

// Samples and chunks of the shards of a dataset, in order. Shared by every epoch's order.
class ChunkLayout {
 public:
  struct ShardChunks {
    std::uint64_t num_samples;
    std::uint32_t chunk_samples;
  };
  explicit ChunkLayout(const std::vector<ShardChunks>& shards);
  std::vector<ShardChunks> shards() const;

  std::uint64_t num_samples() const { return first_sample_.back(); }
  std::uint64_t num_chunks() const { return first_chunk_.back(); }
  std::uint32_t chunk_samples() const { return chunk_samples_; }  // the largest of any shard
  std::uint64_t first_sample(std::uint64_t chunk) const;
  std::uint32_t samples_in(std::uint64_t chunk) const;
  std::uint64_t chunk_of(std::uint64_t sample) const;  // REQUIRES: sample < num_samples()
  struct Short {
    std::uint64_t chunk;
    std::uint32_t missing;  // samples fewer than chunk_samples()
  };
  const std::vector<Short>& short_chunks() const { return short_; }

 private:
  std::size_t shard_of(std::uint64_t chunk) const;
  std::vector<std::uint64_t> first_sample_, first_chunk_;  // one more than shards
  std::vector<std::uint32_t> shard_chunk_samples_;
  std::vector<Short> short_;
  std::uint32_t chunk_samples_ = 1;
};

class Order {
 public:
  // `layout` is needed for kWindow, `weights` for kWeighted, where num_samples is the epoch's positions. REQUIRES: window >= 1.
  Order(OrderKind kind, std::uint64_t num_samples, std::uint64_t seed, std::uint64_t epoch, std::uint32_t window,
        std::shared_ptr<const ChunkLayout> layout, std::shared_ptr<const AliasTable> weights = nullptr);
  // kListed: samples[position], of any length.
  explicit Order(std::vector<std::uint64_t> samples);
  // kMixed, of so many positions.
  Order(std::shared_ptr<const Mixture> mixture, std::uint64_t num_samples, std::uint64_t seed, std::uint64_t epoch);

  // kStrata: its own number of positions.
  Order(std::shared_ptr<const Strata> strata, std::uint64_t seed, std::uint64_t epoch);

  const Strata* strata() const { return strata_.get(); }     // of kStrata, else null
  const Mixture* mixture() const { return mixture_.get(); }  // of kMixed, else null
  std::uint64_t size() const { return num_samples_; }
  // out[i] = sample at position begin + i. REQUIRES: begin + out.size() <= size().
  void fill(std::uint64_t begin, std::span<std::uint64_t> out) const;

  // Whether the order takes chunks one window after the other, each once (kWindow; kSequential, with windows of one chunk), so that they
  // can be read ahead: by their places, `slots`, in the order of chunks. The rest REQUIRES that, and a layout.
  bool takes_chunks() const { return layout_ != nullptr && (kind_ == OrderKind::kWindow || kind_ == OrderKind::kSequential); }
  std::uint64_t num_slots() const { return layout_->num_chunks(); }
  std::uint64_t chunk_at(std::uint64_t slot) const { return kind_ == OrderKind::kWindow ? permutation_.forward(slot) : slot; }
  // The slots of the window that a position lies in: [first, second). REQUIRES: position < size().
  std::pair<std::uint64_t, std::uint64_t> slots_of(std::uint64_t position) const;

  // Whether next_use() knows: not for kWeighted and kMixed, nor for long lists.
  bool knows_next_use() const;
  // The first position >= from at which one of the samples [first, first + count) is read; kNever if none is. `mine` (optional) says
  // which positions count. Of a run of more than kMostAsked samples only the first kMostAsked are asked for: the answer is then late, by as
  // many positions on average for all runs of that length. Costs about 10 ns a sample. REQUIRES: knows_next_use().
  static constexpr std::uint64_t kNever = ~std::uint64_t{0};
  static constexpr std::uint64_t kMostAsked = 64;
  std::uint64_t next_use(std::uint64_t first, std::uint64_t count, std::uint64_t from,
                         const std::function<bool(std::uint64_t)>& mine = nullptr) const;

 private:
  struct Window;
  std::uint64_t window_of(std::uint64_t position) const;
  std::uint64_t slot_begin(std::uint64_t slot) const;
  std::uint64_t window_begin(std::uint64_t window) const { return slot_begin(window * window_chunks_); }
  void positions_in_windows(std::uint64_t first, std::span<std::uint64_t> out) const;
  std::uint64_t next_listed(std::uint64_t first, std::uint64_t count, std::uint64_t from,
                            const std::function<bool(std::uint64_t)>& mine) const;
  void enter_window(std::uint64_t position, Window& window) const;
  OrderKind kind_;
  std::uint64_t num_samples_;
  std::uint64_t key_ = 0;
  std::uint32_t window_chunks_ = 1;
  std::shared_ptr<const ChunkLayout> layout_;
  std::vector<std::uint64_t> listed_;
  std::shared_ptr<const AliasTable> weights_;
  std::shared_ptr<const Mixture> mixture_;
  std::shared_ptr<const Strata> strata_;
  Permutation permutation_;  // of samples (global) or of chunks (window)
  struct Deficit {
    std::uint64_t slot;     // place of a short chunk in the permuted order of chunks
    std::uint64_t missing;  // samples missing in this and all earlier short slots
  };
  std::vector<Deficit> deficits_;
  // Of kListed: where each sample is read. Made when next_use() is first asked; one index for all copies of an order.
  struct Places;
  std::shared_ptr<Places> places_;
};

}  // namespace headrace::pipeline
