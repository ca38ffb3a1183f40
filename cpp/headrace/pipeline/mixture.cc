#include "headrace/pipeline/mixture.h"

#include <algorithm>
#include <utility>

#include "headrace/base/bytes.h"
#include "headrace/pipeline/permutation.h"

namespace headrace::pipeline {
namespace {

constexpr std::uint64_t kMaxSamples = 1ull << 48;

Status bad_source(std::size_t number, const char* what) {
  return {Code::kInvalidArgument, strf("mix sources: source %zu %s", number, what)};
}

// A bijection of a run of samples that is walked again and again, in another order each time.
struct Walk {
  std::uint64_t size = 0, key = 0;
  std::uint64_t round = ~std::uint64_t{0};
  Permutation permutation;

  std::uint64_t at(std::uint64_t taken) {
    if (taken / size != round) {
      round = taken / size;
      permutation = Permutation(size, mix_key(key, round));
    }
    return permutation.forward(taken % size);
  }
};

}  // namespace

Result<std::shared_ptr<const Mixture>> Mixture::create(std::vector<MixedSource> sources) {
  std::uint64_t slots = 0, samples = 0;
  for (std::size_t i = 0; i < sources.size(); ++i) {
    const MixedSource& s = sources[i];
    if (s.slots > kMaxCycle || (slots += s.slots) > kMaxCycle) return bad_source(i, "has more than 4096 slots, with those before it");
    if (s.slots > 0 && s.size == 0) return bad_source(i, "has a share and no samples");
    std::uint64_t reach = 0;
    const bool fits = s.size == 0 || (s.step > 0 && checked_mul(s.size - 1, s.step, &reach) && checked_add(reach, s.begin, &reach));
    if (!fits || reach >= kMaxSamples || (samples += s.size) > kMaxSamples) return bad_source(i, "has samples beyond 2^48");
  }
  if (samples == 0) return Status(Code::kInvalidArgument, "mix sources: none of them has samples");
  return std::shared_ptr<const Mixture>(new Mixture(std::move(sources)));
}

Mixture::Mixture(std::vector<MixedSource> sources) : sources_(std::move(sources)), first_{0} {
  for (const MixedSource& source : sources_) {
    first_.push_back(first_.back() + source.size);
    cycle_ += source.slots;
  }
  for (const MixedSource& source : sources_) {
    if (source.size > 0 && (source.slots > 0 || cycle_ == 0)) end_ = std::max(end_, source.begin + (source.size - 1) * source.step + 1);
  }
}

void Mixture::fill_by_size(std::uint64_t key, std::uint64_t begin, std::span<std::uint64_t> out) const {
  Walk walk{first_.back(), key, ~std::uint64_t{0}, {}};
  for (std::uint64_t& sample : out) {
    const std::uint64_t which = walk.at(begin++);
    const auto next = std::upper_bound(first_.begin(), first_.end(), which);
    const auto source = static_cast<std::size_t>(next - first_.begin()) - 1;
    sample = sources_[source].begin + sources_[source].step * (which - first_[source]);
  }
}

// Fisher and Yates, by a generator that counts.
void Mixture::shuffle_slots(std::uint64_t cycle_key, std::vector<std::uint32_t>& owners) const {
  owners.clear();
  for (std::uint32_t i = 0; i < sources_.size(); ++i) owners.insert(owners.end(), sources_[i].slots, i);
  for (std::uint64_t i = owners.size(); --i > 0;) {
    const auto with = static_cast<std::uint64_t>(static_cast<unsigned __int128>(mix_key(cycle_key, i)) * (i + 1) >> 64);
    std::swap(owners[i], owners[with]);
  }
}

void Mixture::fill(std::uint64_t key, std::uint64_t begin, std::span<std::uint64_t> out) const {
  if (out.empty()) return;
  if (cycle_ == 0) return fill_by_size(key, begin, out);
  std::vector<Walk> walks;
  for (std::size_t i = 0; i < sources_.size(); ++i)
    walks.push_back({sources_[i].size, mix_key(key, ~std::uint64_t{i}), ~std::uint64_t{0}, {}});
  std::vector<std::uint32_t> owners;
  std::vector<std::uint64_t> taken(sources_.size());  // of each source, before the position
  std::uint64_t number = begin / cycle_, at = begin % cycle_;
  for (std::size_t done = 0; done < out.size(); ++number, at = 0) {
    shuffle_slots(mix_key(key, number), owners);
    for (std::size_t i = 0; i < taken.size(); ++i) taken[i] = number * sources_[i].slots;
    for (std::size_t slot = 0; slot < at; ++slot) ++taken[owners[slot]];
    for (; at < cycle_ && done < out.size(); ++at) {
      const std::uint32_t which = owners[at];
      out[done++] = sources_[which].begin + sources_[which].step * walks[which].at(taken[which]++);
    }
  }
}

}  // namespace headrace::pipeline
