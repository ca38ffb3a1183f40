#include "headrace/statistics/class_moments.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <new>

#include "headrace/statistics/scatter.h"
#include "headrace/statistics/state_values.h"

namespace headrace::statistics {
namespace {

constexpr std::size_t kBlockValues = std::size_t{1} << 17;
constexpr std::size_t kLoadedRows = 64;
constexpr std::uint32_t kState = 0x31435248;  // "HRC1"

Status out_of_memory() { return {Code::kOutOfMemory, "class moments: out of memory"}; }

bool all_finite(const double* row, std::size_t width) {
  double sum = 0;
  for (std::size_t c = 0; c < width; ++c) sum += row[c] * 0.0;  // NaN for NaN and infinities
  return sum == 0;
}

Status check_labels(const std::int64_t* labels, std::size_t count, std::size_t classes) {
  for (std::size_t r = 0; r < count; ++r) {
    if (labels[r] >= -1 && labels[r] < static_cast<std::int64_t>(classes)) continue;
    return {Code::kInvalidArgument, strf("row %zu of the batch has label %lld; expected 0 to %zu, or -1 to leave the row out", r,
                                         static_cast<long long>(labels[r]), classes - 1)};
  }
  return {};
}

}  // namespace

ClassMoments::ClassMoments(std::size_t width, std::size_t classes)
    : width_(width),
      pitch_(round_up(width, kScatterColumns)),
      block_rows_(std::clamp<std::size_t>(kBlockValues / pitch_, 64, 4096)),
      count_(classes),
      mean_(classes * width),
      mean_low_(classes * width),
      within_(pitch_ * pitch_) {}

Result<ClassMoments> ClassMoments::create(std::size_t width, std::size_t classes) try {
  if (width < 1 || width > kMaxColumns) return Status(Code::kInvalidArgument, strf("width is %zu; expected 1 to %zu", width, kMaxColumns));
  if (classes < 1 || classes > kMaxMeans / width) {
    return Status(Code::kInvalidArgument, strf("classes is %zu; expected 1 to %zu for this width", classes, kMaxMeans / width));
  }
  return ClassMoments(width, classes);
} catch (const std::bad_alloc&) {
  return out_of_memory();
}

// Copies complete rows into the block until it is full; `at` is the next row.
void ClassMoments::take_rows(const Rows& rows, const std::int64_t* labels, std::size_t& at) {
  if (block_.empty()) block_.resize((block_rows_ + std::min(block_rows_, classes())) * pitch_);
  const std::size_t step = std::min(kLoadedRows, std::max<std::size_t>(1, kBlockValues / width_));
  std::vector<double> tile(step * width_);
  while (at < rows.count && block_labels_.size() < block_rows_) {
    const std::size_t count = std::min({step, rows.count - at, block_rows_ - block_labels_.size()});
    load_tile(rows, at, count, 0, width_, tile.data());
    for (std::size_t r = 0; r < count; ++r, ++at) {
      const std::int64_t label = labels == nullptr ? 0 : labels[at];
      if (label < 0 || !all_finite(tile.data() + r * width_, width_)) {
        ++left_out_;
        continue;
      }
      std::memcpy(block_.data() + block_labels_.size() * pitch_, tile.data() + r * width_, width_ * sizeof(double));
      block_labels_.push_back(label);
    }
  }
}

// Moves a class's mean by the rows of a block; `shift` becomes the row that stands for the way in the sums of products.
void ClassMoments::merge_mean(std::size_t label, double count, const double* mean, const double* mean_low, double* shift) {
  double *own = mean_.data() + label * width_, *low = mean_low_.data() + label * width_;
  const auto before = static_cast<double>(count_[label]);
  const double n = before + count, share = count / n, scale = std::sqrt(before * share);
  for (std::size_t c = 0; c < width_; ++c) {
    const double delta = (mean[c] - own[c]) + (mean_low[c] - low[c]);
    shift[c] = scale * delta;
    const double moved = low[c] + delta * share, sum = own[c] + moved, part = sum - own[c];  // Knuth's two-sum
    low[c] = before == 0 ? mean_low[c] : (own[c] - (sum - part)) + (moved - part);
    own[c] = before == 0 ? mean[c] : sum;
  }
  count_[label] += static_cast<std::int64_t>(count);
}

// Takes its own mean from the rows of one class; answers how many rows `shift` holds: none where the class is new.
std::size_t ClassMoments::centre_class(const std::vector<std::uint32_t>& members, std::size_t label, double* shift) {
  const double* first_row = block_.data() + members.front() * pitch_;
  const std::vector<double> first(first_row, first_row + width_);  // Taken first, so that constants leave nothing behind.
  std::vector<double> away(width_), mean(width_), low(width_);
  const auto count = static_cast<double>(members.size());
  for (const std::uint32_t r : members) {
    for (std::size_t c = 0; c < width_; ++c) away[c] += block_[r * pitch_ + c] -= first[c];
  }
  for (double& a : away) a /= count;
  for (const std::uint32_t r : members) {
    for (std::size_t c = 0; c < width_; ++c) low[c] += block_[r * pitch_ + c] -= away[c];
  }
  for (std::size_t c = 0; c < width_; ++c) {
    mean[c] = first[c] + away[c];
    const double part = mean[c] - first[c];  // Knuth's two-sum
    low[c] = low[c] / count + ((first[c] - (mean[c] - part)) + (away[c] - part));
  }
  const bool is_new = count_[label] == 0;
  merge_mean(label, count, mean.data(), low.data(), shift);
  return is_new ? 0 : 1;
}

Status ClassMoments::settle(int threads) try {
  if (block_labels_.empty()) return {};
  std::map<std::int64_t, std::vector<std::uint32_t>> members;
  for (std::size_t r = 0; r < block_labels_.size(); ++r) members[block_labels_[r]].push_back(static_cast<std::uint32_t>(r));
  std::size_t rows = block_labels_.size();
  for (const auto& [label, of_class] : members) {
    std::fill_n(block_.data() + rows * pitch_, pitch_, 0.0);
    rows += centre_class(of_class, static_cast<std::size_t>(label), block_.data() + rows * pitch_);
  }
  block_labels_.clear();
  return add_scatter(block_.data(), rows, pitch_, within_.data(), threads);
} catch (const std::bad_alloc&) {
  return out_of_memory();
}

Status ClassMoments::update(const Rows& rows, const std::int64_t* labels, int threads) try {
  if (labels != nullptr) HR_RETURN_IF_ERROR(check_labels(labels, rows.count, classes()));
  for (std::size_t at = 0; at < rows.count;) {
    take_rows(rows, labels, at);
    if (block_labels_.size() == block_rows_) HR_RETURN_IF_ERROR(settle(threads));
  }
  return {};
} catch (const std::bad_alloc&) {
  return out_of_memory();
}

Status ClassMoments::merge(const ClassMoments& other) try {
  if (other.width_ != width_ || other.classes() != classes()) {
    return {Code::kInvalidArgument,
            strf("merge: the other has width %zu and %zu classes; expected %zu and %zu", other.width_, other.classes(), width_, classes())};
  }
  ClassMoments theirs = other;
  HR_RETURN_IF_ERROR(theirs.settle(0));
  HR_RETURN_IF_ERROR(settle(0));
  std::vector<double> shift(pitch_);
  for (std::size_t label = 0; label < classes(); ++label) {
    if (theirs.count_[label] == 0) continue;
    merge_mean(label, static_cast<double>(theirs.count_[label]), theirs.mean_.data() + label * width_,
               theirs.mean_low_.data() + label * width_, shift.data());
    HR_RETURN_IF_ERROR(add_scatter(shift.data(), 1, pitch_, within_.data(), 0));
  }
  for (std::size_t i = 0; i < within_.size(); ++i) within_[i] += theirs.within_[i];
  left_out_ += theirs.left_out_;
  return {};
} catch (const std::bad_alloc&) {
  return out_of_memory();
}

Result<std::vector<std::uint8_t>> ClassMoments::save() const try {
  ByteWriter out;
  out.write(kState);
  for (const std::uint64_t value : {std::uint64_t{width_}, std::uint64_t{classes()}, static_cast<std::uint64_t>(left_out_)})
    out.write(value);
  write_all(out, count_);
  write_all(out, mean_);
  write_all(out, mean_low_);
  write_all(out, within_);
  return std::move(out.bytes());
} catch (const std::bad_alloc&) {
  return out_of_memory();
}

Result<ClassMoments> ClassMoments::load(Bytes state) try {
  const Status damaged(Code::kInvalidArgument, strf("not the state of ClassMoments: %zu bytes", state.size()));
  ByteReader in(state);
  if (in.read<std::uint32_t>() != kState) return damaged;
  const auto width = in.read<std::uint64_t>(), classes = in.read<std::uint64_t>(), left_out = in.read<std::uint64_t>();
  if (!in.ok() || width < 1 || width > kMaxColumns || classes < 1 || classes > kMaxMeans / width || left_out >> 62 != 0) return damaged;
  const std::uint64_t pitch = round_up(width, kScatterColumns);
  if (in.remaining() != 8 * (classes + 2 * classes * width + pitch * pitch)) return damaged;
  HR_ASSIGN_OR_RETURN(ClassMoments made, create(width, classes));
  read_all(in, made.count_);
  read_all(in, made.mean_);
  read_all(in, made.mean_low_);
  read_all(in, made.within_);
  made.left_out_ = static_cast<std::int64_t>(left_out);
  for (const std::int64_t count : made.count_) {
    if (count < 0 || count >> 62 != 0) return damaged;
  }
  return made;
} catch (const std::bad_alloc&) {
  return out_of_memory();
}

}  // namespace headrace::statistics
