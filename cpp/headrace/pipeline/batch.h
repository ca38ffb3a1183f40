// Samples assembled in one slab (in a slab for each part of a zip), and where each field lies in it. Texts that a field plan makes lie in a
// second one: how long they are shows only once they are made. Fields that are counted have no values here.
//
// Owns:     leases of the slabs; whoever keeps bytes of it must keep a copy of the lease.
// Threads:  immutable once delivered; any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "headrace/format/schema.h"
#include "headrace/statistics/moments.h"
#include "headrace/storage/slab_pool.h"

namespace headrace::pipeline {

enum class Ragged : std::uint8_t { kPadded, kOffsets };
enum class OnError : std::uint8_t { kRaise, kSkip, kReplace };
Result<Ragged> ragged_from_name(std::string_view name);
Result<OnError> on_error_from_name(std::string_view name);

// Offsets are from its slab's start and multiples of 64. A part that a field does not have is kAbsent.
struct FieldOut {
  static constexpr std::size_t kAbsent = ~std::size_t{0};
  std::uint32_t field = 0;      // in the dataset's schema
  std::uint32_t slab = 0;       // which of the batch's
  bool padded = false;          // ragged, delivered as one tensor
  std::uint64_t row_bytes = 0;  // of a tensor sample, or of one inner sample; 1 for bytes, strings, images
  std::uint64_t longest = 0;    // padded: inner samples of the longest value
  std::size_t values_at = 0;
  std::size_t values_bytes = 0;
  std::size_t offsets_at = kAbsent;  // int64, samples + 1, in inner samples: variable fields that are not padded
  std::size_t lengths_at = kAbsent;  // int64, samples, in inner samples: padded fields
  std::size_t valid_at = kAbsent;    // one byte a sample, 0 or 1: nullable fields
};

struct Skipped {
  std::int64_t sample = 0;
  std::string reason;
};

struct Batch {
  storage::Lease slab;
  std::vector<storage::Lease> more_slabs;  // of a zip: of its second part, and so on; or of texts that a field plan made
  std::shared_ptr<const format::Schema> schema;
  std::vector<FieldOut> fields;
  std::vector<statistics::CountedRows> counted;  // [field] whose values_at is kAbsent: what its rows amount to; empty: of no field
  std::vector<std::int64_t> indices;
  std::uint64_t valid_samples = 0;  // the first of them; the others repeat samples, so that all ranks have as many
  std::uint64_t step = 0;
  std::uint64_t position_after = 0;
  std::vector<Skipped> skipped;

  const storage::Lease& slab_of(const FieldOut& out) const { return out.slab == 0 ? slab : more_slabs[out.slab - 1]; }
  const std::uint8_t* at(std::size_t offset) const { return slab->data() + offset; }  // where there is one slab
  const std::uint8_t* at(const FieldOut& out, std::size_t offset) const { return slab_of(out)->data() + offset; }
};

}  // namespace headrace::pipeline
