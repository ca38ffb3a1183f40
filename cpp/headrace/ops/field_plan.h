// What becomes of some fields of a dataset: a program over tiles of rows, from stored values to delivered ones.
//
// Inputs are loaded into registers, steps run over them one after the other while the tile is in cache, outputs are stored. A register that
// an output delivers as it is lies in the output itself, so that the common plan writes nowhere else.
//
// Owns:     parameters. FieldScratch owns the registers of one thread.
// Threads:  FieldPlan is immutable, any thread; a FieldScratch is one thread's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "headrace/base/status.h"
#include "headrace/format/schema.h"
#include "headrace/ops/field_step.h"
#include "headrace/ops/field_tile.h"

namespace headrace::ops {

// A field of numbers or strings that the plan reads: float registers hold any numbers, with NaN where they are null; int64 ones integers,
// truth values and dates, with kNullInt; text ones strings and bytes.
struct PlanInput {
  std::uint32_t field = 0;  // among those that the reader was asked for
  format::Field form;       // what it must look like
  std::uint32_t reg = 0;
};

// A field that is delivered: as it was read (`kept`: its number among those asked for), or made of a register.
struct PlanOutput {
  bool kept = false;
  std::uint32_t from = 0;  // field or register
  format::Field form;      // of what is made: name, dtype, shape
};

class FieldScratch;

class FieldPlan {
 public:
  static constexpr std::size_t kMaxRegisters = 1u << 16, kMaxWidth = 1u << 20;

  // Errors: kInvalidArgument, naming input, step or output: registers that do not exist, do not fit or are read before they are written;
  // dtypes that registers do not hold; parameters of the wrong size.
  static Result<std::shared_ptr<const FieldPlan>> create(std::vector<PlanInput> inputs, std::vector<Register> registers,
                                                         const std::vector<StepSpec>& steps, std::vector<PlanOutput> outputs);

  const std::vector<PlanInput>& inputs() const { return inputs_; }
  const std::vector<Register>& registers() const { return registers_; }
  const std::vector<PlanOutput>& outputs() const { return outputs_; }
  // Whether an output is texts, of no fixed size: FieldScratch::texts() has them, a tile at a time.
  bool makes_texts() const { return makes_texts_; }
  // Of the outputs that are made, but texts.
  std::uint64_t row_bytes() const { return row_bytes_; }
  std::size_t tile_rows() const { return tile_rows_; }
  // The input whose stored values an output's are, as they are; none where they are made, or nulls must be marked.
  std::optional<std::size_t> copied_from(std::size_t output) const;

 private:
  friend class FieldScratch;
  FieldPlan() = default;
  Status check_inputs(std::vector<bool>& written) const;
  Status add_steps(const std::vector<StepSpec>& steps, std::vector<bool>& written);
  Status place_outputs(const std::vector<bool>& written);
  void choose_tile();

  std::vector<PlanInput> inputs_;
  std::vector<Register> registers_;
  std::vector<std::unique_ptr<FieldStep>> steps_;
  std::vector<std::uint32_t> writes_;  // [step] its output
  std::vector<PlanOutput> outputs_;
  std::vector<std::size_t> lies_in_;     // [register] the output that holds it, or kNone
  std::vector<std::size_t> scratch_at_;  // [register] in the scratch, in bytes a row before it
  std::uint64_t row_bytes_ = 0;
  bool makes_texts_ = false;
  std::size_t tile_rows_ = 1, scratch_bytes_ = 0;
  static constexpr std::size_t kNone = ~std::size_t{0};
};

// Rows as they were read: values side by side.
struct InputRows {
  const std::uint8_t* values = nullptr;
  const std::int64_t* offsets = nullptr;  // of strings: rows + 1
  const std::uint8_t* valid = nullptr;    // a byte a row; null: all are there
};

// For each tile: begin(), then for each input place() or load(), then run().
class FieldScratch {
 public:
  explicit FieldScratch(const FieldPlan& plan);
  // outputs[k]: where the rows of output k go, aligned for its dtype; unused for kept ones. REQUIRES: rows <= plan.tile_rows().
  void begin(std::size_t rows, std::span<std::uint8_t* const> outputs);
  // Where an input's rows may be put side by side in place of load(); null where they must be converted.
  std::uint8_t* place(std::size_t input) const;
  void load(std::size_t input, const InputRows& rows);
  void run();
  // After run(): an output of texts, until the next begin().
  const TextRows& texts(std::size_t output) const { return tile_.texts[plan_.outputs_[output].from]; }

 private:
  void store(std::size_t output) const;

  const FieldPlan& plan_;
  FieldTile tile_;
  std::vector<std::uint8_t*> outputs_;
  std::unique_ptr<std::uint8_t[]> memory_;
  std::uint8_t* aligned_ = nullptr;
};

}  // namespace headrace::ops
