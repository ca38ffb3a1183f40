// One step of a FieldPlan: a kernel over the registers of a tile. A kind of step is a file of its own, or shares one with its like, and a
// line in the table of field_steps.cc.
//
// Threads: immutable once made; run() on any number of threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "headrace/base/status.h"
#include "headrace/ops/field_tile.h"

namespace headrace::ops {

class FieldStep {
 public:
  virtual ~FieldStep() = default;
  // Reads and writes the registers that it was made for; tile.rows of each.
  virtual void run(const FieldTile& tile) const = 0;
  // Takes over what `next`, which follows at once, would do; false: it cannot.
  virtual bool absorb(const FieldStep& next) {
    (void)next;
    return false;
  }
};

// A step as it was asked for. Nothing of it is trusted: makers check sizes and types.
struct StepSpec {
  std::string kind;
  std::vector<std::uint32_t> inputs;
  std::uint32_t output = 0;  // may be an input
  std::map<std::string, std::vector<double>> numbers;
  std::map<std::string, std::vector<std::int64_t>> integers;
  std::map<std::string, std::vector<std::string>> texts;

  // A parameter of exactly `size` numbers. Errors: kInvalidArgument, naming step, parameter, expected and found.
  Result<std::vector<double>> numbers_of(const std::string& name, std::size_t size) const;
  Result<std::vector<std::int64_t>> integers_of(const std::string& name, std::size_t size) const;
  // One of any size; absent is an error.
  Result<std::vector<double>> numbers_of(const std::string& name) const;
  Result<std::vector<std::int64_t>> integers_of(const std::string& name) const;
  Result<std::vector<std::string>> texts_of(const std::string& name) const;
  Status error(const std::string& what) const;
};

// REQUIRES: inputs and output are registers, at least one input (FieldPlan checks).
using MakeStep = Result<std::unique_ptr<FieldStep>> (*)(const StepSpec&, std::span<const Register>);
// Errors: kInvalidArgument: no such kind, or what its maker says.
Result<std::unique_ptr<FieldStep>> make_step(const StepSpec& spec, std::span<const Register> registers);

// What most makers ask: so many inputs, all of floats; the output like the first.
Status check_floats(const StepSpec& spec, std::span<const Register> registers, std::size_t inputs);
// The output is of the first input's type and width.
Status check_same(const StepSpec& spec, std::span<const Register> registers);

}  // namespace headrace::ops
