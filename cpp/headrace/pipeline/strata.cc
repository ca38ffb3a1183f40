#include "headrace/pipeline/strata.h"

#include <algorithm>
#include <array>
#include <new>
#include <numeric>

#include "headrace/base/bytes.h"
#include "headrace/codec/checksum.h"
#include "headrace/pipeline/permutation.h"
#include "headrace/pipeline/proportion.h"

namespace headrace::pipeline {
namespace {

constexpr std::size_t kRun = 8;                            // positions of a class that a bijection of their own is made for
constexpr std::uint64_t kOfPositions = ~std::uint64_t{0};  // in place of a class, for the key of all positions

std::uint64_t key_of(std::uint64_t key, std::uint64_t number, std::uint64_t round) { return mix_key(mix_key(key, number), round); }

// The latest bijections of some classes: making one costs as much as asking it.
class Walks {
 public:
  const Permutation& of(std::uint64_t key, std::uint64_t number, std::uint64_t round, std::uint64_t size) {
    Walk& walk = walks_[number % walks_.size()];
    if (walk.number != number || walk.round != round) walk = {number, round, Permutation(size, key_of(key, number, round))};
    return walk.permutation;
  }

 private:
  struct Walk {
    std::uint64_t number = kOfPositions, round = 0;
    Permutation permutation;
  };
  std::array<Walk, 16> walks_;
};

std::size_t part_of(const std::vector<std::uint64_t>& begins, std::uint64_t at) {
  return static_cast<std::size_t>(std::upper_bound(begins.begin(), begins.end(), at) - begins.begin()) - 1;
}

}  // namespace

Result<std::shared_ptr<const Strata>> Strata::create(std::span<const std::uint32_t> classes, std::vector<std::uint64_t> quotas,
                                                     std::uint64_t block) try {
  if (classes.size() > kMaxSamples) return Status(Code::kLimitExceeded, strf("%zu labels; expected at most 2^31", classes.size()));
  std::vector<std::uint64_t> counts(quotas.size());
  for (std::size_t i = 0; i < classes.size(); ++i) {
    if (classes[i] >= quotas.size())
      return Status(Code::kInvalidArgument, strf("the class of sample %zu is %u; there are %zu quotas", i, classes[i], quotas.size()));
    ++counts[classes[i]];
  }
  auto made = std::shared_ptr<Strata>(new Strata());
  made->first_place_ = made->first_position_ = {0};
  for (std::size_t k = 0; k < quotas.size(); ++k) {
    if (quotas[k] > 0 && counts[k] == 0)
      return Status(Code::kInvalidArgument,
                    strf("class %zu is to have %llu positions, and has no samples", k, static_cast<unsigned long long>(quotas[k])));
    if (quotas[k] > kMaxSamples || made->first_position_.back() + quotas[k] > kMaxSamples)
      return Status(Code::kLimitExceeded, "an epoch of more than 2^31 positions");
    made->first_place_.push_back(made->first_place_.back() + counts[k]);
    made->first_position_.push_back(made->first_position_.back() + quotas[k]);
  }
  if (made->size() == 0) return Status(Code::kInvalidArgument, "an epoch of no positions: every class has a quota of 0");
  std::vector<std::uint64_t> next(made->first_place_.begin(), made->first_place_.end() - 1);
  made->sample_.resize(classes.size());
  made->place_.resize(classes.size());
  for (std::size_t i = 0; i < classes.size(); ++i) {
    made->place_[i] = static_cast<std::uint32_t>(next[classes[i]]++);
    made->sample_[made->place_[i]] = static_cast<std::uint32_t>(i);
  }
  if (block > 0) {
    HR_ASSIGN_OR_RETURN(std::vector<std::uint32_t> laid_out, proportional(quotas, block));
    std::vector<std::uint64_t> taken(made->first_position_.begin(), made->first_position_.end() - 1);
    made->slot_.resize(laid_out.size());
    made->position_.resize(laid_out.size());
    for (std::size_t at = 0; at < laid_out.size(); ++at) {
      made->slot_[at] = static_cast<std::uint32_t>(taken[laid_out[at]]++);
      made->position_[made->slot_[at]] = static_cast<std::uint32_t>(at);
    }
  }
  const std::uint64_t of_classes = codec::hash({reinterpret_cast<const std::uint8_t*>(classes.data()), classes.size_bytes()}, block);
  made->fingerprint_ = codec::hash({reinterpret_cast<const std::uint8_t*>(quotas.data()), quotas.size() * sizeof(quotas[0])}, of_classes);
  return std::shared_ptr<const Strata>(std::move(made));
} catch (const std::bad_alloc&) {
  return Status(Code::kOutOfMemory, strf("an order of the classes of %zu samples: out of memory", classes.size()));
}

struct Strata::Singles {
  std::vector<std::uint64_t> sizes, keys, drawn, first;  // of a bijection, what it is asked, and where its class begins
  std::vector<std::size_t> at;                           // of `out`
  std::vector<std::uint64_t> run;                        // memory to use
};

std::size_t Strata::class_at(std::uint64_t place) const { return part_of(first_place_, place); }

void Strata::fill(std::uint64_t key, std::uint64_t begin, std::span<std::uint64_t> out) const {
  if (slot_.empty()) {
    Permutation(size(), key_of(key, kOfPositions, 0)).forward(begin, out);
  } else {
    std::copy_n(slot_.begin() + static_cast<std::ptrdiff_t>(begin), out.size(), out.begin());
  }
  // Class by class: one bijection serves many positions, and in blocks in proportion a class's are a run, which is computed on vectors.
  std::vector<std::uint32_t> class_of(out.size()), ends(first_place_.size());
  for (std::size_t i = 0; i < out.size(); ++i) {
    class_of[i] = static_cast<std::uint32_t>(part_of(first_position_, out[i]));
    ++ends[class_of[i] + 1];
  }
  std::partial_sum(ends.begin(), ends.end(), ends.begin());
  std::vector<Turn> turns(out.size());
  for (std::size_t i = 0; i < out.size(); ++i) {
    const std::uint32_t k = class_of[i];
    turns[ends[k]++] = {out[i] - first_position_[k], i};  // ends[k] is where class k begins until all of it is there.
  }
  Singles singles;
  for (std::size_t k = 0, first = 0; k + 1 < first_place_.size(); first = ends[k++]) {
    if (ends[k] > first) fill_class(key, k, {turns.data() + first, ends[k] - first}, singles, out);
  }
  forward_each(singles.sizes, singles.keys, singles.drawn);
  for (std::size_t i = 0; i < singles.at.size(); ++i) out[singles.at[i]] = sample_[singles.first[i] + singles.drawn[i]];
}

// The samples of one class, at the places that its turns name; or what is to be walked for them.
void Strata::fill_class(std::uint64_t key, std::size_t k, std::span<Turn> turns, Singles& singles, std::span<std::uint64_t> out) const {
  const std::uint64_t count = first_place_[k + 1] - first_place_[k], quota = first_position_[k + 1] - first_position_[k];
  if (quota > count) std::sort(turns.begin(), turns.end(), [](const Turn& a, const Turn& b) { return a.taken < b.taken; });
  for (std::size_t begin = 0, end = 0; begin < turns.size(); begin = end) {
    const std::uint64_t round = quota > count ? turns[begin].taken / count : 0, before = round * count;
    end = quota > count ? begin + 1 : turns.size();
    while (end < turns.size() && turns[end].taken < before + count) ++end;
    const std::uint64_t round_key = key_of(key, k, round);
    const bool ascends = quota > count || !slot_.empty();
    if (ascends && end - begin >= kRun && turns[end - 1].taken - turns[begin].taken == end - begin - 1) {
      singles.run.resize(end - begin);
      Permutation(count, round_key).forward(turns[begin].taken - before, singles.run);
      for (std::size_t i = begin; i < end; ++i) out[turns[i].at] = sample_[first_place_[k] + singles.run[i - begin]];
      continue;
    }
    for (std::size_t i = begin; i < end; ++i) {
      singles.sizes.push_back(count);
      singles.keys.push_back(round_key);
      singles.drawn.push_back(turns[i].taken - before);
      singles.first.push_back(first_place_[k]);
      singles.at.push_back(turns[i].at);
    }
  }
}

std::uint64_t Strata::next_use(std::uint64_t key, std::uint64_t first, std::uint64_t count, std::uint64_t from,
                               const std::function<bool(std::uint64_t)>& mine) const {
  const Permutation positions = slot_.empty() ? Permutation(size(), key_of(key, kOfPositions, 0)) : Permutation();
  Walks walks;
  std::uint64_t nearest = kNever;
  for (std::uint64_t sample = first; sample < first + count; ++sample) {
    const std::size_t k = class_at(place_[sample]);
    const std::uint64_t samples = first_place_[k + 1] - first_place_[k], quota = first_position_[k + 1] - first_position_[k];
    for (std::uint64_t round = 0; round * samples < quota; ++round) {
      const std::uint64_t taken = round * samples + walks.of(key, k, round, samples).inverse(place_[sample] - first_place_[k]);
      if (taken >= quota) continue;
      const std::uint64_t slot = first_position_[k] + taken;
      const std::uint64_t position = slot_.empty() ? positions.inverse(slot) : position_[slot];
      if (position >= from && position < nearest && (mine == nullptr || mine(position))) nearest = position;
    }
  }
  return nearest;
}

std::uint64_t Strata::another(std::uint64_t sample, std::uint64_t key) const {
  const std::size_t k = class_at(place_[sample]);
  const std::uint64_t count = first_place_[k + 1] - first_place_[k];
  return sample_[first_place_[k] + static_cast<std::uint64_t>(static_cast<unsigned __int128>(mix_key(key, k)) * count >> 64)];
}

}  // namespace headrace::pipeline
