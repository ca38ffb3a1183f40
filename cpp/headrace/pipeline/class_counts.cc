#include "headrace/pipeline/class_counts.h"

#include <cstring>
#include <new>

#include "headrace/base/bytes.h"
#include "headrace/codec/checksum.h"

namespace headrace::pipeline {
namespace {

constexpr std::size_t kSmallKeys = std::size_t{1} << 16;
constexpr std::uint32_t kNoClass = ~std::uint32_t{0};

bool is_whole(format::DType dtype) {
  switch (dtype) {
    case format::DType::kBool:
    case format::DType::kInt8:
    case format::DType::kInt16:
    case format::DType::kInt32:
    case format::DType::kInt64:
    case format::DType::kUInt8:
    case format::DType::kUInt16:
    case format::DType::kUInt32:
    case format::DType::kUInt64: return true;
    default: return false;
  }
}

}  // namespace

ClassCounts::ClassCounts() : small_(kSmallKeys, kNoClass) {}

std::uint32_t ClassCounts::new_class() {
  counts_.push_back(0);
  return static_cast<std::uint32_t>(counts_.size() - 1);
}

std::uint32_t ClassCounts::class_of(std::uint64_t key) {
  if (key < small_.size()) {
    if (small_[key] == kNoClass) small_[key] = new_class();
    return small_[key];
  }
  const auto found = large_.find(key);
  return found != large_.end() ? found->second : large_.emplace(key, new_class()).first->second;
}

Status ClassCounts::add(const Batch& batch) try {
  const FieldOut& out = batch.fields[0];
  const format::Field& field = batch.schema->fields[out.field];
  const bool text = field.kind == format::Kind::kString || field.kind == format::Kind::kBytes;
  const bool number = field.kind == format::Kind::kTensor && field.shape.empty() && is_whole(field.dtype);
  if (!text && !number) {
    return {Code::kInvalidArgument,
            strf("field '%s' is no label: expected whole numbers or booleans without dimensions, strings or bytes", field.name.c_str())};
  }
  for (std::size_t i = 0; i < batch.indices.size(); ++i) {
    if (out.valid_at != FieldOut::kAbsent && batch.at(out, out.valid_at)[i] == 0) {
      return {Code::kInvalidArgument, strf("field '%s', sample %lld: its label is null; give weights of your own (0 leaves a sample out)",
                                           field.name.c_str(), static_cast<long long>(batch.indices[i]))};
    }
    std::uint64_t key = 0;
    if (number) {
      std::memcpy(&key, batch.at(out, out.values_at) + i * out.row_bytes, out.row_bytes);
    } else {
      const auto begin = load_le<std::int64_t>(batch.at(out, out.offsets_at) + 8 * i),
                 end = load_le<std::int64_t>(batch.at(out, out.offsets_at) + 8 * i + 8);
      key = codec::hash({batch.at(out, out.values_at) + begin, static_cast<std::size_t>(end - begin)}, 0);
    }
    const std::uint32_t which = class_of(key);
    if (counts_.size() > kMaxClasses) {
      return {Code::kLimitExceeded, strf("field '%s' has more than %zu different values: it is no label", field.name.c_str(), kMaxClasses)};
    }
    classes_.push_back(which);
    ++counts_[which];
  }
  return {};
} catch (const std::bad_alloc&) {
  return {Code::kOutOfMemory, "count the samples of each class: out of memory"};
}

Result<std::shared_ptr<const AliasTable>> ClassCounts::balanced(int threads) const {
  std::vector<double> of_class;
  for (const std::uint64_t count : counts_) of_class.push_back(1.0 / static_cast<double>(count));
  Weights weights;
  weights.classes = classes_.data();
  weights.of_class = of_class.data();
  weights.count = classes_.size();
  return AliasTable::build(weights, threads);
}

}  // namespace headrace::pipeline
