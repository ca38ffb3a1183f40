#include "headrace/pipeline/repair.h"

#include <algorithm>
#include <unordered_set>

namespace headrace::pipeline {
namespace {

constexpr int kMaxRepairs = 64;  // rounds of skipping or replacing damaged samples of one batch, and draws for one sample

Status first_error(const std::vector<SampleError>& errors) {
  const Status& first = errors.front().status;
  if (errors.size() == 1) return first;
  return {first.code(), first.message() + strf(" (and %zu more samples of this batch)", errors.size() - 1), first.sys_errno()};
}

// `keeps_images`: those that are whole are as they will be again.
void build_again(const Pass& pass, Job& job, const std::vector<std::uint64_t>& samples, bool keeps_images) {
  const std::unique_ptr<BatchParts> before = std::move(job.builder);
  job.builder = std::make_unique<BatchParts>(pass.shared->context, pass.shared->parts, samples);
  job.builder->set_revisits(pass.revisits);
  job.builder->set_epoch(pass.epoch);
  if (keeps_images) job.builder->reuse_images(*before);
  job.status = job.builder->prepare();
  if (!job.status.is_ok()) return;
  for (std::size_t i = 0; i < job.builder->num_pieces(); ++i) job.builder->run_piece(i);
  const std::size_t images = job.builder->begin_images();
  for (std::size_t i = 0; i < images; ++i) job.builder->run_images(i);
}

// Builds anew while files change underneath, which each time checks all that is used.
void settle(const Pass& pass, Job& job, const std::vector<std::uint64_t>& samples) {
  for (int round = 0; job.status.is_ok() && job.builder->is_outdated(); ++round) {
    if (round == kMaxRepairs) {
      job.status = Status(Code::kChanged, "assemble a batch: the dataset's files change all the time; write a new dataset, and open that");
      return;
    }
    build_again(pass, job, samples, false);
  }
}

}  // namespace

std::vector<Skipped> repair(Pass& pass, Job& job) {
  PassShared& shared = *pass.shared;
  std::vector<Skipped> skipped;
  std::vector<std::uint64_t> samples = job.samples;
  std::unordered_set<std::uint64_t> bad;
  std::uint64_t draws = 0;
  for (int round = 0; job.status.is_ok(); ++round) {
    settle(pass, job, samples);
    if (!job.status.is_ok()) break;
    const std::vector<SampleError> errors = job.builder->errors();
    if (errors.empty()) break;
    shared.counters.errors.fetch_add(errors.size());
    if (shared.on_error == OnError::kRaise) {
      job.status = first_error(errors);
      break;
    }
    for (const SampleError& e : errors) {
      if (bad.insert(samples[e.slot]).second) skipped.push_back({static_cast<std::int64_t>(samples[e.slot]), e.status.message()});
    }
    if (round == kMaxRepairs) {
      job.status =
          Status(Code::kCorrupt, strf("replace damaged samples: %d draws in a row were damaged too; run `headrace verify`", kMaxRepairs));
      break;
    }
    if (shared.on_error == OnError::kSkip) {
      const auto is_bad = [&](std::uint64_t sample) { return bad.contains(sample); };
      const auto valid_end = samples.begin() + static_cast<std::ptrdiff_t>(job.share.valid);
      job.share.valid -= static_cast<std::uint64_t>(std::count_if(samples.begin(), valid_end, is_bad));
      std::erase_if(samples, is_bad);
    } else {
      // Keyed by seed, sample and draw: the same substitute on every run and for any number of threads.
      const std::uint64_t size = shared.context.dataset->num_samples();
      for (std::uint64_t& sample : samples) {
        for (int tries = 0; bad.contains(sample) && tries < kMaxRepairs; ++tries) {
          const std::uint64_t key = mix_key(shared.seed, sample);
          if (pass.order != nullptr && pass.order->mixture() != nullptr) {
            pass.order->mixture()->fill(mix_key(key, ++draws), 0, {&sample, 1});
          } else if (pass.order != nullptr && pass.order->strata() != nullptr) {
            sample = pass.order->strata()->another(sample, mix_key(key, ++draws));  // The batch stays in proportion.
          } else if (shared.weights != nullptr) {
            shared.weights->draw(key, ++draws, {&sample, 1});
          } else {
            sample = mix_key(key, ++draws) % size;
          }
        }
      }
    }
    build_again(pass, job, samples, true);
  }
  return skipped;
}

}  // namespace headrace::pipeline
