// Builds one batch: prepare() plans it on one thread, then its pieces may run on any threads in any order.
//
// Where the bytes are read by position, prepare() and run_piece() also read, and pieces must run in turn, on one thread; begin(), measure()
// and finish_plan() are its parts, for who reads in between without waiting: first the ranges of sides(), then those of each piece.
//
// A piece is finer than a batch, so that several threads build one batch and a slow block delays only its own batch.
// Two kinds: rows of raw tensors, gathered straight from the mapped file; and blocks, decoded once for all rows of the batch
// that they hold. Bytes are copied once, from where they were decoded (or mapped) into the slab.
//
// Encoded images that a plan prepares follow in a second round: once all pieces have run, begin_images() and run_images(), decode them from
// the slab to another part of it; those that are files are read only then, one after the other into a buffer of the thread. So do fields
// that a FieldPlan makes of others: rows of them are pieces of the same round.
//
// Owns:     the plan and the slab's lease. Borrows dataset, pool, counters: they outlive it.
// Threads:  prepare() and take() from one thread, before and after all pieces; run_piece() from any, each piece once.
// Result:   depends on the samples alone, not on who runs what.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "headrace/base/status.h"
#include "headrace/io/stored_bytes.h"
#include "headrace/ops/field_plan.h"
#include "headrace/ops/image_mix.h"
#include "headrace/ops/image_plan.h"
#include "headrace/ops/text_parts.h"
#include "headrace/pipeline/batch.h"
#include "headrace/pipeline/chunk_ahead.h"
#include "headrace/pipeline/counters.h"
#include "headrace/pipeline/dataset.h"
#include "headrace/statistics/moments.h"
#include "headrace/storage/slab_pool.h"

namespace headrace::pipeline {

// Images and labels (numbers of fields) that are mixed with each other once a batch is decoded; labels become float32 shares of the
// classes.
struct BatchMix {
  std::uint32_t image_field = 0, label_field = 0;
  std::shared_ptr<const ops::ImageMix> mix;
  // Their places among the delivered ones; fields.size(): not there.
  std::size_t image_slot(const std::vector<std::uint32_t>& fields) const;
  std::size_t label_slot(const std::vector<std::uint32_t>& fields) const;
};

struct BuildContext {
  std::shared_ptr<const Dataset> dataset;
  std::shared_ptr<const format::Schema> schema;  // the dataset's
  std::vector<std::uint32_t> fields;             // to deliver, in order
  Ragged ragged = Ragged::kPadded;
  // Batches that follow want the rest of a block soon (any order but a global shuffle): it is kept even where others must go for it.
  bool revisits = true;
  std::uint64_t most_bytes = 1ull << 48;  // of a batch; what asks for more is refused
  storage::SlabPool* slabs = nullptr;
  Counters* counters = nullptr;
  std::vector<std::shared_ptr<const ops::ImagePlan>> plans;          // [field to deliver] null: as stored; empty: all as stored
  std::shared_ptr<const format::Schema> prepared;                    // with the fields that the plans make; there if there are plans
  std::optional<BatchMix> mix;                                       // only where there are plans
  std::shared_ptr<const ops::FieldPlan> field_plan;                  // null: fields are delivered as above
  std::vector<bool> only_read;                                       // [field] by the field plan, and not delivered; there if there is one
  std::vector<std::uint32_t> delivered;                              // [output of the field plan] in `prepared`
  std::vector<std::shared_ptr<const statistics::Moments>> counting;  // [output of the field plan] null: its rows are delivered; empty: all
  std::uint64_t seed = 0;                                            // of what plans and mixes draw
};

// Sets what `images` make of fields[i]: `plans` and `prepared`. REQUIRES: context.schema.
void set_plans(const std::vector<std::uint32_t>& fields,
               const std::vector<std::pair<std::uint32_t, std::shared_ptr<const ops::ImagePlan>>>& images, BuildContext& context);
// Errors: kInvalidArgument: `field` is not among `fields`, or holds no encoded images.
Status check_image(const Dataset& dataset, const std::vector<std::uint32_t>& fields, std::uint32_t field);
// The plan's fields in place of context.fields; null: nothing. After set_plans(). REQUIRES: check_field_plan().
void set_field_plan(std::shared_ptr<const ops::FieldPlan> plan, BuildContext& context);
// Errors: kInvalidArgument: the plan reads or delivers fields that are not there, or look otherwise.
Status check_field_plan(const format::Schema& schema, const std::vector<std::uint32_t>& fields, const ops::FieldPlan& plan);

// These outputs of the plan are delivered as statistics::CountedRows. After set_field_plan(). REQUIRES: check_counted().
void set_counted(const std::vector<std::uint32_t>& outputs, BuildContext& context);
// Errors: kInvalidArgument: outputs that are no numbers that the plan makes; batches that are not whole spans.
Status check_counted(const std::vector<std::uint32_t>& outputs, const ops::FieldPlan* plan, std::uint64_t batch_size);

// After set_plans(): `prepared` has the labels as they are then delivered. REQUIRES: check_mix().
void set_mix(const std::optional<BatchMix>& mix, BuildContext& context);
// Errors: kInvalidArgument: fields that are not delivered, labels that are not one integer a sample, MixUp of uint8.
Status check_mix(const Dataset& dataset, const std::vector<std::uint32_t>& fields,
                 const std::vector<std::pair<std::uint32_t, std::shared_ptr<const ops::ImagePlan>>>& images, const BatchMix& mix);

struct SampleError {
  std::uint32_t slot = 0;  // in the batch
  Status status;
};

class BatchBuilder {
 public:
  // REQUIRES: every sample < dataset->num_samples(), the dataset delivers the fields (check_fields()); at most 2^32 - 1 of them.
  BatchBuilder(const BuildContext& context, std::vector<std::uint64_t> samples);

  // Which positions the batch covers, on the reader's clock: what the cache keeps depends on it. Before prepare().
  void set_place(const io::CacheReader* reader, std::uint64_t begin, std::uint64_t end) {
    reader_ = reader;
    clock_begin_ = begin;
    clock_end_ = end;
  }
  // Instead of the context's: passes differ in it.
  void set_revisits(bool revisits) { context_.revisits = revisits; }
  // How many batches its times count for (io/stage_time.h).
  void set_weight(std::uint32_t weight) { weight_ = weight; }
  // What plans draw depends on it. Before run_images().
  void set_epoch(std::uint64_t epoch);
  // Images that `before` decoded are copied from it, not decoded again. Same context, epoch and files; it must outlive run_images().
  void reuse_images(const BatchBuilder& before);

  // Errors: what concerns the whole batch (memory, files that the process may not open). Failures of samples are in errors(); those of a
  // shard that cannot be opened fail at once, and the batch then has no pieces.
  Status prepare();
  // The same, counted in the caller's time of planning, which is stopped while it reads.
  Status prepare(io::StageTime& planning);
  // The caller counts the time of this and the next two. Afterwards sides() has one group at most, and images() are those to wait for.
  // `ahead` may be null.
  Status begin(ChunkAhead* ahead);
  io::StoredBytes& sides() { return side_bytes_; }
  const std::vector<std::shared_ptr<ChunkImage>>& images() const { return images_; }  // [run]: null where the batch reads by itself
  // Once those are there. Afterwards slab_bytes() and read_bytes() are known, and values() has one group a piece
  // (none at all if nothing is to be read).
  Status measure();
  // Takes the slab, and the memory for what is read.
  Status finish_plan();
  io::StoredBytes& values() { return value_bytes_; }
  std::uint64_t read_bytes() const { return side_bytes_.bytes() + value_bytes_.bytes(); }  // of memory for what is read
  std::size_t num_pieces() const { return pieces_.size(); }
  void run_piece(std::size_t piece, std::int64_t now = 0);  // `now`: a reading of the clock, if the caller has one
  // After all pieces, once, on one thread. Returns how many pieces of images there are; run_images() from any threads, each piece once.
  std::size_t begin_images();
  void run_images(std::size_t piece);

  // After all pieces. True if files changed meanwhile, so that bytes copied from them may be a mixture: build the batch anew.
  bool is_outdated();
  // After all pieces. One error a failed sample, by slot.
  std::vector<SampleError> errors();
  // As they were asked for.
  const std::vector<std::uint64_t>& samples() const { return asked_.empty() ? samples_ : asked_; }
  std::size_t slab_bytes() const { return slab_bytes_; }
  // The batch; REQUIRES: no errors(). Errors: kLimitExceeded, kOutOfMemory: there is no place for texts that the field plan made.
  Result<Batch> take();

 private:
  static constexpr std::size_t kNoField = ~std::size_t{0};
  struct Row {             // one sample, or what one chunk holds of it, in the order of their places
    std::uint64_t number;  // of its first stored row, in the dataset
    std::uint32_t slot;
    Location at;
    std::uint32_t count;  // stored rows
    std::uint64_t first;  // of them, its place in the sample
  };
  // Where the values of rows lie: of variable fields, and of fixed ones that a view changes; empty for others.
  struct Values {
    std::vector<std::uint64_t> begin;   // [row] first byte in the page's values
    std::vector<std::uint64_t> length;  // [row] stored bytes
    std::vector<std::uint64_t> out;     // [row] first byte in the batch's values
    std::vector<std::uint64_t> staged;  // [row] first byte in the staging area; empty if there is none
  };
  struct Conversion {  // of one field's values
    format::DType from = format::DType::kUInt8, to = format::DType::kUInt8;
    std::uint32_t in_bytes = 1, out_bytes = 1;  // of an element
    std::uint64_t row_bytes = 0;                // stored: of a tensor sample, or of one inner sample
    bool needed = false;
    // An element may lie in two blocks: stored bytes are put together in the slab first. Only where a block's size is no multiple of an
    // element's.
    bool staged = false;
    std::size_t staged_at = 0;
    std::uint64_t delivered(std::uint64_t stored_bytes) const { return needed ? stored_bytes / in_bytes * out_bytes : stored_bytes; }
  };
  struct Run {  // rows of one chunk
    std::uint32_t shard;
    std::uint64_t chunk;
    std::uint32_t first_row, end_row;
  };
  struct Need {  // one block and the rows that overlap it
    std::uint32_t run;
    std::uint32_t block;  // in the page
    std::uint32_t out_field;
    std::uint32_t first_row, end_row;
    std::uint32_t bytes;  // decoded
    std::uint64_t begin;  // of the block, in the page's values
  };
  struct Table {  // of a page
    Status status;
    Bytes entries;         // empty: no page, or mapped
    io::BlockHandle kept;  // holds them, unless an image does
  };
  struct Piece {
    bool direct;
    std::size_t begin, end;  // slots of a direct piece, or of files, else needs
    std::size_t file_field = kNoField;
  };
  struct ImagePiece {
    std::size_t out_field, begin, end;  // slots; kNoField: rows of the field plan
    std::size_t number = 0;             // among the pieces of the field plan
  };
  // What a thread works with while it runs the field plan over a piece.
  struct PlanRun {
    explicit PlanRun(const ops::FieldPlan& plan) : scratch(plan), outputs(plan.outputs().size(), nullptr) {}
    ops::FieldScratch scratch;
    std::vector<std::uint8_t> gathered;
    std::vector<std::uint8_t*> outputs;  // where the next rows go; null: nowhere, or texts
    std::size_t number = 0;              // among the pieces of the plan
  };
  struct Extent {
    std::uint64_t begin, end;
  };
  class SideReader;
  static constexpr std::uint64_t kFileBytes = 256u << 10;  // of files in a piece
  // Blocks of a piece at most: small ones, which are as many reads.
  static constexpr std::size_t kMaxNeeds = 64;

  Status open_sources();
  Status open_source(std::uint32_t shard);
  void find_conversions();
  void sort_rows();
  // Calls visit(place, first, count) for each run of a sample's rows that lies in one chunk; `first` counts rows of the sample.
  template <typename Visit>
  void for_each_run(std::size_t slot, const Visit& visit) const;
  void find_pages(std::size_t out_field);
  void find_images(ChunkAhead& ahead);
  Status want_sides();
  void want_side_blocks(std::size_t run, std::size_t out_field);
  void take_tables();
  void want_values(std::size_t piece, std::uint64_t limit_bytes);
  void read_round(std::size_t piece);
  void ask_for_pages() const;
  void ask_for_blocks() const;
  void ask_for_sides(std::size_t out_field) const;
  Status read_sides(std::size_t out_field);
  Status read_side_row(const format::Field& field, std::uint64_t width, std::size_t row, SideReader& offsets, SideReader& validity,
                       Values& values, std::vector<std::uint8_t>& valid);
  Status lay_out();
  Status too_large() const;
  void place_values(std::size_t out_field);
  void place_runs(std::size_t out_field);
  static void place_staged(Values& values, const Conversion& conversion);
  void find_needs(std::size_t out_field);
  void cut_pieces();
  void list_rows();
  const FileList& files() const;
  void measure_files(std::size_t out_field);
  void cut_files();
  void run_files(const Piece& piece);
  Extent encoded(std::size_t out_field, std::size_t slot) const;
  std::uint64_t encoded_bytes(std::size_t out_field, std::size_t slot) const;
  // A file's bytes, in a buffer of this thread: until the next call. Counts its time as reading, not as that of images.
  Result<Bytes> read_image(std::size_t out_field, std::size_t slot, io::ScopedTime& images) const;
  std::string image_origin(std::size_t out_field, std::size_t slot) const;
  void deliver_images();
  void read_labels();
  void deliver_mixed();
  void cut_images();
  void run_image_piece(const ImagePiece& part, io::ScopedTime& images);
  bool is_read_in_place(std::size_t out_field) const;
  bool is_counted(std::size_t output) const { return !context_.counting.empty() && context_.counting[output] != nullptr; }
  void cut_plan();
  void run_plan(const ImagePiece& part);
  void run_tiles(PlanRun& run, std::size_t begin, std::size_t end);
  std::size_t begin_counting();
  void count_plan(PlanRun& run, std::size_t begin, std::size_t end);
  void count_made(std::size_t output, const std::uint8_t* span, std::size_t end);
  void count_copied(std::size_t output, std::size_t field, std::size_t begin, std::size_t end);
  const std::uint8_t* lying_rows(std::size_t out_field, std::size_t begin, std::size_t end, std::size_t* count) const;
  void load_tile(std::size_t input, std::size_t begin, std::size_t end, std::vector<std::uint8_t>& gathered,
                 ops::FieldScratch& scratch) const;
  Status deliver_plan();
  Status deliver_texts();
  bool has_errors(std::size_t begin, std::size_t end);
  void run_direct(std::size_t begin, std::size_t end);
  void gather_field(std::size_t out_field, std::size_t begin, std::size_t end, std::uint8_t* to) const;
  void gather_runs(std::size_t out_field, std::size_t begin, std::size_t end, std::uint8_t* first) const;
  const std::uint8_t* whole_run(std::size_t out_field, std::size_t slot) const;
  const std::uint8_t* address(std::uint32_t field, const Location& at, std::uint64_t row_bytes) const;
  void copy_parts(std::size_t out_field, std::size_t slot, std::uint8_t* to) const;
  static void copy_rows_of(const Conversion& conversion, const std::uint8_t* from, std::uint64_t rows, std::uint8_t* to);
  void convert_staged();
  void touch_direct(std::size_t out_field, std::size_t begin, std::size_t end);
  bool all_touched(std::uint32_t field) const;
  void will_need_direct(std::size_t out_field);
  void run_needs(std::size_t piece);
  static MutableBytes decode_buffer(std::size_t bytes);
  Status run_mapped(const Need& need);
  Status run_positional(const Need& need, std::size_t piece);
  // What the cache is told: wanted next after this batch. `whole`: nothing of the block is left for another batch of this pass.
  io::BlockUse use_of(bool whole) const {
    return {reader_, clock_end_, whole || !context_.revisits ? io::Keep::kIfRoom : io::Keep::kEvict, {}};
  }
  io::BlockUse use_found() const { return {reader_, clock_end_, io::Keep::kEvict, {}}; }
  const std::uint8_t* stored(const Need& need, const format::BlockRef& ref, std::size_t piece) const;
  void ask_ahead(std::size_t need, std::size_t end) const;
  MutableBytes whole_place(const Need& need) const;
  void copy_rows(const Need& need, Bytes block);
  void copy_part(const Need& need, std::size_t row, Bytes block);
  io::BlockId block_id(const Need& need) const;
  io::ShardSource& source_of(const Need& need) const { return *sources_[runs_[need.run].shard]; }
  const format::PageRef& page_of(const Need& need) const { return pages_[need.out_field][need.run]; }
  void add_error(std::uint32_t slot, const Status& status);
  // As delivered.
  const format::Field& field_of(std::size_t out_field) const { return context_.schema->fields[context_.fields[out_field]]; }
  bool is_file(std::size_t out_field) const { return context_.dataset->table() != nullptr && field_of(out_field).is_variable(); }
  // Encoded bytes that are not put into the slab.
  bool is_image_file(std::size_t out_field) const {
    return is_file(out_field) && !context_.plans.empty() && context_.plans[out_field] != nullptr;
  }
  // Whether a view makes the field's delivered bytes other than one stored row's.
  bool is_changed(std::size_t out_field) const { return makes_runs_ || conversions_[out_field].needed; }

  BuildContext context_;
  const io::CacheReader* reader_ = nullptr;  // of context_; null: its order is not known
  std::uint64_t clock_begin_ = 0, clock_end_ = 0;
  std::uint32_t weight_ = 1;
  std::vector<std::uint64_t> samples_;               // [slot], of those that the view chooses from
  std::vector<std::uint64_t> asked_;                 // [slot], where the view chooses; else empty
  std::vector<Location> places_;                     // [slot]
  Runtime* runtime_ = nullptr;                       // that all sources are of
  std::vector<io::ShardSource*> sources_;            // [shard], null where no sample lies there
  bool lacks_sources_ = false;                       // of some samples: nothing was planned
  std::vector<std::uint64_t> revisions_;             // [shard] of mapped sources, when they were opened for this batch
  std::vector<Row> rows_;                            // by place; empty if all fields are direct
  std::vector<std::uint32_t> chunk_rows_;            // [row] in its chunk
  std::vector<std::uint32_t> slots_;                 // [row] in the batch
  std::vector<Run> runs_;                            // of rows_
  std::vector<std::vector<format::PageRef>> pages_;  // [out field][run]; empty for direct fields that are never null
  bool read_ahead_ = false;                          // somebody sees to it that whole chunks come
  bool positional_ = false;                          // no source is mapped
  bool pages_go_ = false;                            // mapped, and what was in memory once need not be there still
  std::vector<std::shared_ptr<ChunkImage>> images_;  // [run]; empty: none
  std::vector<std::vector<Table>> tables_;           // [out field][run]; positional
  io::StoredBytes side_bytes_, value_bytes_;         // positional; values: of pieces from first_group_ on
  std::size_t first_group_ = 0;
  bool reads_rounds_ = false;                     // nobody reads the values for us
  std::vector<bool> direct_;                      // [out field]
  std::vector<Conversion> conversions_;           // [out field]
  bool makes_runs_ = false;                       // samples of several rows
  std::vector<Values> values_;                    // [out field]
  std::vector<std::vector<std::uint8_t>> valid_;  // [out field][slot]
  std::vector<bool> row_failed_;                  // [row]: known before any piece runs
  std::vector<Need> needs_;
  std::vector<Piece> pieces_;
  std::vector<ImagePiece> image_pieces_;
  std::vector<std::size_t> prepared_at_;    // [out field] in the slab
  std::vector<std::size_t> made_at_;        // [output of the field plan] in the slab
  std::vector<ops::TextParts> made_texts_;  // [output of the field plan] a part for each of its pieces; of no pieces where it is no text
  std::vector<statistics::CountedRows> counted_;  // [output of the field plan]; empty: none is counted
  bool is_converted_ = false;                     // what was staged
  std::vector<bool> failed_slots_;                // before images are decoded
  std::vector<std::uint32_t> labels_;             // [slot], where they are mixed
  std::size_t mixed_at_ = 0;                      // mixed labels, in the slab
  std::uint64_t draws_ = 0;                       // of seed and epoch
  const BatchBuilder* before_ = nullptr;
  std::unordered_map<std::uint64_t, std::size_t> slots_before_;  // sample -> slot of before_, where nothing failed
  Batch batch_;
  std::size_t slab_bytes_ = 0;
  std::mutex errors_mutex_;
  std::vector<SampleError> errors_;  // guarded by errors_mutex_
};

template <typename Visit>
void BatchBuilder::for_each_run(std::size_t slot, const Visit& visit) const {
  if (!makes_runs_) return visit(places_[slot], 0, 1);
  const View& view = context_.dataset->view();
  const std::uint64_t begin = samples_[slot] * view.stride;
  Location at = places_[slot];
  for (std::uint64_t first = 0; first < view.length;) {
    if (first > 0) at = context_.dataset->locate(begin + first);
    const std::uint32_t held = sources_[at.shard]->shard().samples_in_chunk(at.chunk) - at.row;
    const auto count = static_cast<std::uint32_t>(std::min<std::uint64_t>(held, view.length - first));
    visit(at, first, count);
    first += count;
  }
}

}  // namespace headrace::pipeline
