// Building of AliasTable: weights -> whole units -> a sweep in parts.

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <new>

#include "headrace/base/bytes.h"
#include "headrace/base/parallel.h"
#include "headrace/pipeline/alias_table.h"

namespace headrace::pipeline {
namespace {

constexpr std::size_t kBlock = 4096;         // weights that are summed together: fixed, or the sums would depend on the threads
constexpr std::size_t kBlocksATask = 64;     // 2 MiB of the table
constexpr std::uint64_t kMinPart = 1 << 16;  // bins of a part of the sweep: finding its start costs about as much as 10,000 bins
constexpr std::uint64_t kBin = AliasTable::kBin;

// A sum of doubles that keeps what rounding loses (Neumaier 1974).
struct ExactSum {
  double sum = 0, lost = 0;
  void add(double value) {
    const double next = sum + value;
    lost += std::abs(sum) >= std::abs(value) ? (sum - next) + value : (value - next) + sum;
    sum = next;
  }
  double total() const { return sum + lost; }
};

// Weight times a power of two: in two factors, since one may be beyond a double.
struct Scale {
  double first = 1, second = 1;
  double of(double weight) const { return weight * first * second; }
};

struct Units {
  std::uint64_t whole;
  std::uint64_t part;  // in 2^-32
};

Units units_of(double scaled) {
  const auto whole = static_cast<std::uint64_t>(scaled);
  return {whole, static_cast<std::uint64_t>((scaled - static_cast<double>(whole)) * 0x1p32)};
}

std::size_t lowest_bit_from(const std::vector<std::uint64_t>& bits, std::size_t at, bool value) {
  std::size_t word = at / 64;
  std::uint64_t left = (value ? bits[word] : ~bits[word]) & ~std::uint64_t{0} << at % 64;
  while (left == 0) left = value ? bits[++word] : ~bits[++word];
  return word * 64 + static_cast<std::size_t>(std::countr_zero(left));
}

}  // namespace

class AliasBuild {
 public:
  AliasBuild(const Weights& weights, int threads)
      : weights_(weights), size_(weights.count), threads_(threads), num_blocks_(ceil_div(size_, kBlock)), table_(new AliasTable()) {}

  Result<std::shared_ptr<const AliasTable>> run();

 private:
  // Of one block of weights; after prefix(), of all blocks before it.
  struct Block {
    double sum = 0;
    std::uint64_t part = 0;  // of units, in 2^-32
    std::uint64_t heavy = 0;
    std::uint64_t heavy_units = 0, light_units = 0;
  };
  // Where the sweep stands: the first `light` light samples and the first `heavy` heavy ones are done.
  struct Point {
    std::uint64_t light = 0, heavy = 0;
    std::uint64_t left = 0;  // units of the heavy sample under way
  };

  template <typename Body>  // body(block number, first weight, end)
  Status each_block(const Body& body) {
    return parallel_for(ceil_div(num_blocks_, kBlocksATask), threads_, [&](std::size_t task) -> Status {
      for (std::size_t b = task * kBlocksATask; b < std::min(num_blocks_, (task + 1) * kBlocksATask); ++b) {
        HR_RETURN_IF_ERROR(body(b, b * kBlock, std::min(size_, (b + 1) * kBlock)));
      }
      return {};
    });
  }

  bool is_unit_count(double scaled) const { return scaled >= 0 && scaled <= static_cast<double>(size_) * 0x1.000001p32; }
  static Status changed() {
    return {Code::kInvalidArgument, "the weights were changed while they were read; leave the array alone until they are"};
  }
  Status check_weights();
  Status sum_weights();
  Status make_units();
  Status prefix();
  std::size_t select(std::uint64_t ordinal, bool heavy) const;
  std::uint64_t units_before(std::uint64_t ordinal, bool heavy) const;
  std::uint64_t swept(std::uint64_t bins, std::uint64_t heavy) const;
  Point point_after(std::uint64_t bins) const;
  void sweep(Point from, const Point& to);
  bool is_heavy(std::size_t i) const { return (heavy_bits_[i / 64] >> i % 64 & 1) != 0; }
  std::uint64_t num_before(std::size_t block, bool heavy) const {
    return heavy ? blocks_[block].heavy : std::min(size_, block * kBlock) - blocks_[block].heavy;
  }

  const Weights& weights_;
  const std::size_t size_;
  const int threads_;
  const std::size_t num_blocks_;
  std::shared_ptr<AliasTable> table_;
  std::uint64_t* units_ = nullptr;  // the table's entries: units until the sweep passed, then threshold and alias
  std::vector<Block> blocks_;       // one more than blocks
  std::vector<std::uint64_t> heavy_bits_;
  std::size_t largest_ = 0;
  Scale normal_;       // makes the largest weight 0.5 to 1, so that no sum overflows
  double factor_ = 0;  // from normal weights to units
  std::uint64_t num_heavy_ = 0;
};

Status AliasBuild::check_weights() {
  struct Largest {
    double weight = -1;
    std::size_t at = 0;
  };
  std::vector<Largest> largest(num_blocks_);
  HR_RETURN_IF_ERROR(each_block([&](std::size_t b, std::size_t begin, std::size_t end) -> Status {
    Largest seen;
    for (std::size_t i = begin; i < end; ++i) {
      const double weight = weights_.at(i);
      if (!(weight >= 0 && weight <= std::numeric_limits<double>::max())) {
        return {Code::kInvalidArgument, strf("weights[%zu] is %g; expected a finite number, at least 0", i, weight)};
      }
      if (weight > seen.weight) seen = {weight, i};
    }
    largest[b] = seen;
    return {};
  }));
  Largest all;
  for (const Largest& block : largest) {
    if (block.weight > all.weight) all = block;
  }
  if (all.weight <= 0) return {Code::kInvalidArgument, strf("all %zu weights are 0: there is nothing to draw", size_)};
  largest_ = all.at;
  int exponent = 0;
  (void)std::frexp(all.weight, &exponent);
  normal_ = {std::ldexp(1.0, -exponent / 2), std::ldexp(1.0, -exponent - -exponent / 2)};
  return {};
}

Status AliasBuild::sum_weights() {
  HR_RETURN_IF_ERROR(each_block([&](std::size_t b, std::size_t begin, std::size_t end) -> Status {
    ExactSum lanes[4];
    for (std::size_t i = begin; i < end; ++i) lanes[i % 4].add(normal_.of(weights_.at(i)));
    for (int lane = 1; lane < 4; ++lane) lanes[0].add(lanes[lane].total());
    blocks_[b].sum = lanes[0].total();
    return {};
  }));
  ExactSum sum;
  for (const Block& block : blocks_) sum.add(block.sum);
  factor_ = static_cast<double>(size_) * 0x1p32 / sum.total();
  return {};
}

Status AliasBuild::make_units() {
  std::vector<std::uint64_t> whole(num_blocks_);
  HR_RETURN_IF_ERROR(each_block([&](std::size_t b, std::size_t begin, std::size_t end) -> Status {
    std::uint64_t parts = 0;
    for (std::size_t i = begin; i < end; ++i) {
      const double scaled = normal_.of(weights_.at(i)) * factor_;
      if (!is_unit_count(scaled)) return changed();
      const Units units = units_of(scaled);
      whole[b] += units.whole;
      parts += units.part;
    }
    blocks_[b].part = parts;
    return {};
  }));
  // Parts of units are carried from weight to weight, across blocks, so that each sample gets its share to within one unit.
  std::uint64_t sum = 0, carried = 0;
  for (std::size_t b = 0; b < num_blocks_; ++b) {
    sum += whole[b];
    const std::uint64_t part = blocks_[b].part;
    blocks_[b].part = carried;
    sum += ((carried & 0xFFFFFFFFu) + part) >> 32;
    carried = (carried & 0xFFFFFFFFu) + part;
    carried &= 0xFFFFFFFFu;
  }
  // What rounding left over (a few units of n * 2^32) is the largest weight's: it has at least a whole bin.
  const std::uint64_t missing = static_cast<std::uint64_t>(size_) * kBin - sum;
  return each_block([&](std::size_t b, std::size_t begin, std::size_t end) -> Status {
    Block& block = blocks_[b];
    std::uint64_t carry = block.part;
    for (std::size_t i = begin; i < end; ++i) {
      const double scaled = normal_.of(weights_.at(i)) * factor_;
      if (!is_unit_count(scaled)) return changed();
      const Units exact = units_of(scaled);
      carry += exact.part;
      const std::uint64_t units = exact.whole + (carry >> 32) + (i == largest_ ? missing : 0);
      carry &= 0xFFFFFFFFu;
      units_[i] = units;
      if (units < kBin) {
        block.light_units += units;
        continue;
      }
      heavy_bits_[i / 64] |= std::uint64_t{1} << i % 64;  // A block is whole words: no other thread's.
      block.heavy += 1;
      block.heavy_units += units;
    }
    return {};
  });
}

// Sums over all blocks before each. From here on nothing but units_ is read: it must be whole.
Status AliasBuild::prefix() {
  std::uint64_t heavy = 0, heavy_units = 0, light_units = 0;
  for (Block& block : blocks_) {
    std::swap(block.heavy, heavy);
    std::swap(block.heavy_units, heavy_units);
    std::swap(block.light_units, light_units);
    heavy += block.heavy;
    heavy_units += block.heavy_units;
    light_units += block.light_units;
  }
  num_heavy_ = blocks_.back().heavy;
  if (blocks_.back().heavy_units + blocks_.back().light_units != size_ * kBin) return changed();
  return {};
}

// Number of the sample that is the ordinal-th light or heavy one. REQUIRES: there is one.
std::size_t AliasBuild::select(std::uint64_t ordinal, bool heavy) const {
  std::size_t low = 0, high = num_blocks_;
  while (high - low > 1) {
    const std::size_t middle = low + (high - low) / 2;
    (num_before(middle, heavy) <= ordinal ? low : high) = middle;
  }
  std::size_t at = lowest_bit_from(heavy_bits_, low * kBlock, heavy);
  for (std::uint64_t left = ordinal - num_before(low, heavy); left > 0; --left) at = lowest_bit_from(heavy_bits_, at + 1, heavy);
  return at;
}

// Units of the first `ordinal` light or heavy samples.
std::uint64_t AliasBuild::units_before(std::uint64_t ordinal, bool heavy) const {
  std::size_t low = 0, high = num_blocks_;
  while (high - low > 1) {
    const std::size_t middle = low + (high - low) / 2;
    (num_before(middle, heavy) <= ordinal ? low : high) = middle;
  }
  std::uint64_t units = heavy ? blocks_[low].heavy_units : blocks_[low].light_units;
  std::uint64_t left = ordinal - num_before(low, heavy);
  for (std::size_t at = low * kBlock; left > 0; ++at) {
    if (is_heavy(at) != heavy) continue;
    units += units_[at];
    --left;
  }
  return units;
}

// Units of the samples that are done once `bins` are filled, `heavy` of them by heavy samples.
std::uint64_t AliasBuild::swept(std::uint64_t bins, std::uint64_t heavy) const {
  return units_before(heavy, true) + units_before(bins - heavy, false);
}

// A heavy sample is done as soon as no more than a bin of it is left: so after `bins` bins as many heavy ones are done as have, with the
// light ones beside them, no more units than the bins hold. That sum grows with the number of heavy ones, which a search can therefore
// find.
AliasBuild::Point AliasBuild::point_after(std::uint64_t bins) const {
  const std::uint64_t num_light = size_ - num_heavy_;
  std::uint64_t low = bins > num_light ? bins - num_light : 0;
  std::uint64_t high = std::min(bins, num_heavy_) + 1;
  while (high - low > 1) {
    const std::uint64_t middle = low + (high - low) / 2;
    (swept(bins, middle) <= bins * kBin ? low : high) = middle;
  }
  Point point{bins - low, low, 0};
  if (low < num_heavy_) point.left = units_before(low + 1, true) + units_before(bins - low, false) - bins * kBin;
  return point;
}

// Fills the bins between two points. Reads units of no sample that another part writes.
void AliasBuild::sweep(Point from, const Point& to) {
  constexpr std::size_t kNone = ~std::size_t{0};
  std::size_t light = from.light < to.light ? select(from.light, false) : kNone;
  std::size_t heavy = from.heavy < num_heavy_ ? select(from.heavy, true) : kNone;
  while (from.light < to.light || from.heavy < to.heavy) {
    const bool finish = from.heavy < to.heavy && (from.light == to.light || from.left <= kBin);
    if (!finish) {
      const std::uint64_t units = units_[light];
      units_[light] = units << 32 | heavy;
      from.left -= kBin - units;
      if (++from.light < to.light) light = lowest_bit_from(heavy_bits_, light + 1, false);
      continue;
    }
    ++from.heavy;
    const std::size_t next = from.heavy < num_heavy_ ? lowest_bit_from(heavy_bits_, heavy + 1, true) : kNone;
    units_[heavy] = from.left == kBin ? heavy : from.left << 32 | next;  // A bin that is full needs no alias: it is its own.
    if (from.heavy < to.heavy) from.left = units_[next] - (kBin - from.left);
    heavy = next;
  }
}

Result<std::shared_ptr<const AliasTable>> AliasBuild::run() {
  if (size_ == 0) return Status(Code::kInvalidArgument, "there are no weights: expected one for each sample");
  if (size_ > AliasTable::kMaxWeights) return Status(Code::kInvalidArgument, strf("%zu weights; expected at most 2^31", size_));
  HR_RETURN_IF_ERROR(check_weights());
  table_->size_ = size_;
  table_->entries_.reset(new (std::nothrow) std::uint64_t[size_]);
  if (table_->entries_ == nullptr) return Status(Code::kOutOfMemory, strf("a table for %zu weights: out of memory", size_));
  units_ = table_->entries_.get();
  blocks_.resize(num_blocks_ + 1);
  heavy_bits_.resize(ceil_div(size_, 64));
  HR_RETURN_IF_ERROR(sum_weights());
  HR_RETURN_IF_ERROR(make_units());
  HR_RETURN_IF_ERROR(prefix());
  const auto most = static_cast<std::uint64_t>(std::max(1, 4 * threads_));
  const std::uint64_t parts = std::clamp<std::uint64_t>(size_ / kMinPart, 1, most);
  // All points before any bin: finding them reads units that filling overwrites.
  std::vector<Point> points(parts + 1);
  HR_RETURN_IF_ERROR(parallel_for(parts + 1, threads_, [&](std::size_t i) {
    points[i] = point_after(i * (size_ / parts) + std::min<std::uint64_t>(i, size_ % parts));
    return Status::ok();
  }));
  HR_RETURN_IF_ERROR(parallel_for(parts, threads_, [&](std::size_t i) {
    sweep(points[i], points[i + 1]);
    return Status::ok();
  }));
  HR_RETURN_IF_ERROR(table_->take_fingerprint(threads_));
  return std::shared_ptr<const AliasTable>(std::move(table_));
}

Result<std::shared_ptr<const AliasTable>> AliasTable::build(const Weights& weights, int threads) {
  try {
    return AliasBuild(weights, threads).run();
  } catch (const std::bad_alloc&) {
    return Status(Code::kOutOfMemory, strf("a table for %zu weights: out of memory", weights.count));
  }
}

}  // namespace headrace::pipeline
