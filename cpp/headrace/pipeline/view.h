// What a dataset delivers where that is not what it stores: runs of rows as one sample, chosen samples, and values of another dtype.
//
// A stored sample is a row. With `length` > 0, sample i of the view is the rows [i * stride, i * stride + length), across chunks and
// shards, delivered with one more dimension in front. `rows` then chooses among those. Applied while a batch is gathered: there is no
// second copy.
//
// Plain value; any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "headrace/base/status.h"
#include "headrace/format/schema.h"

namespace headrace::pipeline {

struct View {
  std::vector<std::uint32_t> fields;                          // what may be delivered
  std::uint64_t length = 0;                                   // rows of a sample; 0: a row each, without another dimension
  std::uint64_t stride = 1;                                   // rows from the start of a sample to the next one's
  std::vector<std::pair<std::uint32_t, std::string>> dtypes;  // of these fields, in place of the stored ones
  std::shared_ptr<const std::vector<std::uint64_t>> rows{};   // which of those samples, in what order; null: all of them

  std::uint64_t rows_of_sample() const { return length == 0 ? 1 : length; }
  // To choose from, and chosen.
  std::uint64_t num_starts(std::uint64_t num_rows) const;
  std::uint64_t num_samples(std::uint64_t num_rows) const { return rows == nullptr ? num_starts(num_rows) : rows->size(); }
};

// The schema as delivered. Errors: kInvalidArgument, naming the field: no such field; a length or stride of 0, or more rows than there are;
// runs of a field whose samples differ in size or may be null; a dtype that is unknown or would lose values. kLimitExceeded: a sample
// beyond 2^40 bytes.
Result<format::Schema> delivered_schema(const format::Schema& stored, const View& view, std::uint64_t num_rows);

}  // namespace headrace::pipeline
