#include "headrace/format/codec_choice.h"

#include <algorithm>
#include <iterator>
#include <memory>

#include "headrace/base/clock.h"
#include "headrace/format/storage_choice.h"

namespace headrace::format {
namespace {

using codec::Codec;
using codec::Filter;

constexpr std::uint64_t kSampleBytes = 1u << 20;  // of a field's values, in blocks from all over them
constexpr int kRounds = 5;                        // of decoding; the best counts
constexpr std::int64_t kRoundsNs = 1'000'000;     // more of them where one is too short to time
// Checking, placing and copying what was decoded: so that rates far beyond them do not decide.
constexpr double kSecondsPerGbAnyway = 0.05;
// Samples this small are what dictionaries are for: under a global shuffle each costs the decoding of a whole block.
constexpr std::uint64_t kSmallSampleBytes = 2u << 10;
constexpr double kDictionaryShare = 0.75;  // of the ratio without one: what small blocks may cost
constexpr double kLeastRatio = 1.5;        // a third saved

std::vector<Bytes> sample_blocks(Bytes values, std::uint64_t block_bytes) {
  const std::uint64_t blocks = ceil_div(values.size(), block_bytes);
  const std::uint64_t taken = std::min(blocks, std::max<std::uint64_t>(1, kSampleBytes / block_bytes));
  std::vector<Bytes> out;
  for (std::uint64_t i = 0; i < taken; ++i) {
    const std::uint64_t at = i * blocks / taken * block_bytes;
    out.push_back(values.subspan(at, std::min(block_bytes, values.size() - at)));
  }
  return out;
}

std::uint64_t total_bytes(const std::vector<Bytes>& blocks) {
  std::uint64_t total = 0;
  for (const Bytes block : blocks) total += block.size();
  return total;
}

bool is_number(const Field& field) {
  const bool dates = field.dtype == DType::kDateTime64 || field.dtype == DType::kTimeDelta64;
  return field.kind <= Kind::kRagged && (field.dtype <= DType::kComplex128 || dates);
}

std::string name_of(const CodecTrial& trial) {
  std::string name = codec::codec_name(trial.codec);
  if (trial.codec == Codec::kZstd) name += strf(":%d", trial.level);
  if (trial.filter != Filter::kNone) name += strf(" with %s", codec::filter_name(trial.filter));
  if (trial.dictionary) name += " with a dictionary";
  return name;
}

// One codec and filter on the sampled blocks: what they take, and how fast they come back.
class Trial {
 public:
  Trial(CodecTrial& trial, std::uint32_t element_bytes, const codec::Dictionary* dictionary)
      : trial_(trial), element_bytes_(element_bytes), dictionary_(dictionary) {}

  Status run(const std::vector<Bytes>& blocks) {
    for (const Bytes block : blocks) HR_RETURN_IF_ERROR(encode(block));
    const auto raw = static_cast<double>(total_bytes(blocks));
    std::int64_t best = 0, spent = 0;
    for (int round = 0; round < kRounds || spent < kRoundsNs; ++round) {
      const std::int64_t begin = thread_cpu_ns();
      for (std::size_t i = 0; i < blocks.size(); ++i) HR_RETURN_IF_ERROR(decode(frames_[i], blocks[i].size()));
      const std::int64_t took = std::max<std::int64_t>(thread_cpu_ns() - begin, 1);
      best = round == 0 ? took : std::min(best, took);
      spent += took;
    }
    trial_.ratio = raw / static_cast<double>(std::max<std::uint64_t>(stored_, 1));
    trial_.decode_bytes_per_second = raw / (static_cast<double>(best) * 1e-9);
    trial_.seconds_per_gb =
        1e9 / kStorageBytesPerSecond / trial_.ratio + 1e9 / kThreads / trial_.decode_bytes_per_second + kSecondsPerGbAnyway;
    return {};
  }

 private:
  Status encode(Bytes block) {
    Bytes raw = block;
    if (trial_.filter != Filter::kNone) {
      filtered_.resize(block.size());
      codec::apply_filter(trial_.filter, element_bytes_, block, filtered_);
      raw = filtered_;
    }
    std::vector<std::uint8_t>& frame = frames_.emplace_back();
    HR_RETURN_IF_ERROR(codec::encode(trial_.codec, trial_.level, raw, frame, dictionary_));
    if (frame.size() >= block.size()) frame.clear();  // Stored as it is.
    stored_ += frame.empty() ? block.size() : frame.size();
    return {};
  }

  Status decode(Bytes frame, std::size_t size) {
    if (frame.empty()) return {};
    out_.resize(std::max(out_.size(), size));
    filtered_.resize(std::max(filtered_.size(), size));
    const MutableBytes out = MutableBytes(out_).first(size);
    if (trial_.filter == Filter::kNone) return codec::decode(trial_.codec, frame, out, dictionary_);
    const MutableBytes filtered = MutableBytes(filtered_).first(size);
    HR_RETURN_IF_ERROR(codec::decode(trial_.codec, frame, filtered, dictionary_));
    codec::revert_filter(trial_.filter, element_bytes_, filtered, out);
    return {};
  }

  CodecTrial& trial_;
  std::uint32_t element_bytes_;
  const codec::Dictionary* dictionary_;
  std::vector<std::vector<std::uint8_t>> frames_;
  std::vector<std::uint8_t> filtered_, out_;
  std::uint64_t stored_ = 0;
};

Status try_one(CodecTrial trial, const Field& field, const std::vector<Bytes>& blocks, const codec::Dictionary* dictionary,
               std::vector<CodecTrial>& trials) {
  HR_RETURN_IF_ERROR(Trial(trial, field.element_bytes(), dictionary).run(blocks));
  trials.push_back(trial);
  return {};
}

// Simpler ones first: of those that weigh about the same, the first is taken.
Status try_all(const ColumnChunk& column, const Field& field, std::vector<CodecTrial>& trials) {
  std::vector<Filter> filters = {Filter::kNone};
  if (is_number(field) && field.element_bytes() > 1) {
    for (const Filter filter : {Filter::kShuffle, Filter::kBitShuffle, Filter::kDeltaShuffle})
      if (codec::filter_allows(filter, field.element_bytes())) filters.push_back(filter);
  }
  Field compressed = field;
  compressed.codec = Codec::kZstd;
  const std::uint32_t block_bytes = default_block_bytes(compressed);
  const std::vector<Bytes> blocks = sample_blocks(column.values, block_bytes);
  for (const Codec codec : {Codec::kLz4, Codec::kZstd}) {
    for (const Filter filter : filters)
      HR_RETURN_IF_ERROR(try_one({codec, filter, codec::default_level(codec), false, block_bytes}, field, blocks, nullptr, trials));
  }
  return {};
}

// Small blocks that share a dictionary, tried on values that it was not trained on. Nothing is added where none can be trained.
Status try_dictionary(const ColumnChunk& column, const Field& field, std::vector<CodecTrial>& trials) {
  const std::uint64_t samples = column.offsets.size() < 2 ? 0 : column.offsets.size() - 1;
  const bool small = field.kind == Kind::kBytes || field.kind == Kind::kString;
  if (!small || samples == 0 || column.values.size() / samples > kSmallSampleBytes) return {};
  Field with = field;
  with.codec = Codec::kZstd;
  with.level = codec::default_level(Codec::kZstd);
  with.dictionary = true;
  with.block_bytes = default_block_bytes(with);
  const std::size_t half = column.values.size() / 2 / with.block_bytes * with.block_bytes;
  ColumnChunk learned;
  learned.values.assign(column.values.begin(), column.values.begin() + static_cast<std::ptrdiff_t>(half));
  HR_ASSIGN_OR_RETURN(const std::shared_ptr<const codec::Dictionary> dictionary, train_dictionary(learned, with));
  if (dictionary == nullptr) return {};
  const std::vector<Bytes> blocks = sample_blocks(Bytes(column.values).subspan(half), with.block_bytes);
  return try_one({with.codec, with.filter, with.level, true, with.block_bytes}, field, blocks, dictionary.get(), trials);
}

// Of those without a dictionary that save enough, the one that weighs least, or 0.
std::size_t lightest(const std::vector<CodecTrial>& trials, std::size_t but) {
  std::size_t best = 0;
  for (std::size_t i = 1; i < trials.size(); ++i) {
    if (i == but || trials[i].dictionary || trials[i].ratio < kLeastRatio) continue;
    if (best == 0 || trials[i].seconds_per_gb < trials[best].seconds_per_gb) best = i;
  }
  return best;
}

// The first that weighs about as little.
std::size_t simplest(const std::vector<CodecTrial>& trials, std::size_t best) {
  for (std::size_t i = 1; i < best; ++i) {
    if (!trials[i].dictionary && trials[i].ratio >= kLeastRatio && trials[i].seconds_per_gb <= trials[best].seconds_per_gb * kTie) return i;
  }
  return best;
}

std::string figures(const CodecTrial& t) {
  return strf("%s: %.1fx smaller, decoded at %.1f GB/s a thread", name_of(t).c_str(), t.ratio, t.decode_bytes_per_second / 1e9);
}

std::string why_as_it_is(const std::vector<CodecTrial>& trials, std::size_t best) {
  if (best != 0) return "as it is: decoding would take longer than reading all of it; the best was " + figures(trials[best]);
  const auto smallest = std::max_element(trials.begin(), trials.end(), [](const auto& a, const auto& b) { return a.ratio < b.ratio; });
  if (smallest->ratio <= 1) return "as it is: nothing made it smaller";
  return strf("as it is: %s would still take %.0f %% of it, and a third must be saved to be worth decoding", name_of(*smallest).c_str(),
              100 / smallest->ratio);
}

void choose(CodecChoice& choice) {
  const std::vector<CodecTrial>& trials = choice.trials;
  const std::size_t best = lightest(trials, 0);
  const CodecTrial& last = trials.back();
  if (last.dictionary && last.ratio >= std::max(kLeastRatio, trials[best].ratio * kDictionaryShare)) {
    choice.chosen = trials.size() - 1;
    choice.reason = strf("%s, in blocks of %u bytes, since a shuffled sample costs the decoding of its block; without: %s",
                         figures(last).c_str(), last.block_bytes, best == 0 ? "as it is" : figures(trials[best]).c_str());
    return;
  }
  if (best == 0 || trials[best].seconds_per_gb >= trials[0].seconds_per_gb) {
    choice.reason = why_as_it_is(trials, best);
    return;
  }
  choice.chosen = simplest(trials, best);
  choice.reason = figures(trials[choice.chosen]);
  if (const std::size_t next = lightest(trials, choice.chosen); next != 0) choice.reason += "; next: " + figures(trials[next]);
}

}  // namespace

Result<CodecChoice> choose_codec(const ColumnChunk& column, Field& field) {
  field.codec = Codec::kNone;
  field.filter = Filter::kNone;
  field.level = 0;
  field.dictionary = false;
  CodecChoice choice;
  choice.field = field.name;
  CodecTrial& as_it_is = choice.trials.emplace_back();
  as_it_is.block_bytes = default_block_bytes(field);
  as_it_is.seconds_per_gb = 1e9 / kStorageBytesPerSecond + kSecondsPerGbAnyway;
  if (field.kind == Kind::kImage || column.values.empty()) {
    choice.reason =
        column.values.empty() ? "as it is: the first chunk has no values to try" : "as it is: encoded images are compressed already";
    return choice;
  }
  HR_RETURN_IF_ERROR(try_all(column, field, choice.trials));
  HR_RETURN_IF_ERROR(try_dictionary(column, field, choice.trials));
  choose(choice);
  const CodecTrial& chosen = choice.trials[choice.chosen];
  field.codec = chosen.codec;
  field.filter = chosen.filter;
  field.level = chosen.level;
  field.dictionary = chosen.dictionary;
  return choice;
}

}  // namespace headrace::format
