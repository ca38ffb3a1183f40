// One batch, built from one dataset, or from the datasets that lie side by side in a zip: a BatchBuilder for each, all of the same samples.
//
// Errors of any part are errors of the sample; what is skipped or replaced is so in all of them.
//
// Owns:     the builders. Borrows the plan, and what its contexts borrow: they outlive it.
// Threads:  as for a BatchBuilder.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "headrace/pipeline/batch_builder.h"
#include "headrace/pipeline/order_reader.h"

namespace headrace::pipeline {

// What is built of one dataset, and where its fields stand.
struct PartPlan {
  BuildContext context;
  std::vector<std::size_t> places;                  // [field of the part] among those that are delivered
  std::uint32_t first_field = 0;                    // of the part, in the zip's schema
  std::unique_ptr<CacheSubscription> subscription;  // null: no blocks of it are decoded
};

// The parts that hold some of context.fields; of a dataset that is no zip, the context itself.
std::vector<PartPlan> plan_parts(const BuildContext& context);

class BatchParts {
 public:
  // `whole`: what `plans` was made of.
  BatchParts(const BuildContext& whole, const std::vector<PartPlan>& plans, const std::vector<std::uint64_t>& samples);

  std::size_t size() const { return builders_.size(); }
  BatchBuilder& operator[](std::size_t part) { return *builders_[part]; }
  // The builder of a piece, and the piece's number there.
  std::pair<BatchBuilder&, std::size_t> piece(std::size_t number);

  void set_revisits(bool revisits);
  void set_epoch(std::uint64_t epoch);
  void set_weight(std::uint32_t weight);
  void reuse_images(const BatchParts& before);
  // Each as BatchBuilder's, of all parts; errors: those of the first that fails. `ahead` is for a dataset that is no zip.
  Status prepare();
  Status prepare(io::StageTime& planning);
  Status begin(ChunkAhead* ahead);
  Status measure();
  Status finish_plan();
  std::size_t slab_bytes() const;
  std::uint64_t read_bytes() const;
  std::uint64_t memory_bytes() const { return slab_bytes() + read_bytes(); }  // until all pieces ran; then the slabs'
  std::size_t num_pieces() const;
  void run_piece(std::size_t number, std::int64_t now = 0);
  std::size_t begin_images();
  void run_images(std::size_t number);
  bool is_outdated();
  std::vector<SampleError> errors();
  Result<Batch> take();  // A part has one slab: zips have no field plans.

 private:
  template <typename Step>
  Status each(const Step& step);

  const BuildContext& whole_;
  const std::vector<PartPlan>& plans_;
  std::vector<std::unique_ptr<BatchBuilder>> builders_;
  std::vector<std::size_t> image_pieces_;  // [part]
};

}  // namespace headrace::pipeline
