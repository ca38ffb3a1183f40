#include "headrace/pipeline/pass.h"

#include <algorithm>
#include <new>
#include <unordered_set>

#include "headrace/base/clock.h"

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
  const std::unique_ptr<BatchBuilder> before = std::move(job.builder);
  job.builder = std::make_unique<BatchBuilder>(pass.shared->context, samples);
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

// Takes damaged samples out, or draws others, until a batch can be built. Returns what was taken out.
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

// Made where memory is short: with fewer words if there is none for these.
Status out_of_memory() {
  try {
    return {Code::kOutOfMemory, "assemble a batch: out of memory; use a smaller batch_size or prefetch_bytes"};
  } catch (const std::bad_alloc&) {
    return {Code::kOutOfMemory, "out of memory"};
  }
}

void finish_job(Pass& pass, Job& job) {
  try {
    if (job.out_of_memory.load()) throw std::bad_alloc();
    if (!pass.cancelled.load(std::memory_order_relaxed)) {
      std::vector<Skipped> skipped = repair(pass, job);
      if (job.status.is_ok()) {
        job.batch = job.builder->take();
        job.batch.step = job.step;
        job.batch.position_after = job.position_after;
        job.batch.valid_samples = job.share.valid;
        job.batch.skipped = std::move(skipped);
      }
    }
  } catch (const std::bad_alloc&) {
    job.status = out_of_memory();
  }
  job.builder.reset();
  job.count_bytes(job.slab_bytes);
  std::lock_guard lock(pass.mutex);
  job.done = true;
  pass.shared->batches_ready.fetch_add(1);
  job.stage.store(Stage::kDone, std::memory_order_relaxed);  // Nobody asks since when.
  pass.done.notify_all();
}

void submit_images(const std::shared_ptr<Pass>& pass, const std::shared_ptr<Job>& job);

void run_piece(const std::shared_ptr<Pass>& pass, const std::shared_ptr<Job>& job, std::size_t piece, std::int64_t now) {
  try {
    if (!pass->cancelled.load(std::memory_order_relaxed)) job->builder->run_piece(piece, now);
  } catch (const std::bad_alloc&) {
    job->out_of_memory.store(true);
  }
  if (job->pieces_left.fetch_sub(1, std::memory_order_acq_rel) == 1) submit_images(pass, job);
}

void run_images(Pass& pass, Job& job, std::size_t piece) {
  try {
    if (!pass.cancelled.load(std::memory_order_relaxed)) job.builder->run_images(piece);
  } catch (const std::bad_alloc&) {
    job.out_of_memory.store(true);
  }
  if (job.pieces_left.fetch_sub(1, std::memory_order_acq_rel) == 1) finish_job(pass, job);
}

void submit_pieces(const std::shared_ptr<Pass>& pass, const std::shared_ptr<Job>& job, std::int64_t now);

// False where there is nothing to build, or planning failed.
bool plan(const Pass& pass, Job& job, io::ScopedTime& planning) {
  try {
    if (!job.planned) {
      job.samples.resize(job.share.count);
      fill_share(*pass.order, job.share, job.samples);
    }
    job.planned = true;
    job.builder = std::make_unique<BatchBuilder>(pass.shared->context, job.samples);
    if (pass.clock.has_value()) {
      job.builder->set_place(&pass.shared->subscription->reader(), *pass.clock + job.position_before, *pass.clock + job.position_after);
    }
    job.builder->set_revisits(pass.revisits);
    job.builder->set_epoch(pass.epoch);
    if (pass.ahead != nullptr) pass.ahead->start(job.step);
    // Without threads of our own, everything happens here and now.
    job.status = pass.group == nullptr ? job.builder->prepare(planning) : job.builder->begin(pass.ahead.get());
    if (pass.ahead != nullptr) pass.ahead->taken(job.step);
    return job.status.is_ok();
  } catch (const std::bad_alloc&) {
    job.out_of_memory.store(true);
    return false;
  }
}

// Hands a task to the pool from where nothing may be thrown; where the pool cannot take it, it runs here.
template <typename Task>
void submit_or_run(const std::shared_ptr<Pass>& pass, std::uint64_t priority, const Task& task) {
  try {
    pass->submit(priority, task);
  } catch (const std::exception&) {
    task();
  }
}

// Queues a group of ranges; `then` follows when they are there. What cannot be queued is read later by who needs it.
template <typename Then>
void submit_reads(const std::shared_ptr<Pass>& pass, const std::shared_ptr<Job>& job, io::StoredBytes& bytes, std::size_t group,
                  std::vector<io::RangeRead> reads, const Then& then) {
  if (job->reads_left.fetch_add(1) == 0) job->reads_since_ns.store(now_ns());
  io::ReadQueue& queue = bytes.queue(group);
  try {
    queue.submit(std::move(reads), [pass, job, &bytes, group, then](std::span<io::RangeRead> done) {
      bytes.arrived(group, done, pass->shared->counters.io);
      if (job->reads_left.fetch_sub(1) == 1) {
        pass->shared->counters.io.read_ns.fetch_add(static_cast<std::uint64_t>(now_ns() - job->reads_since_ns.load()));
      }
      then();
    });
  } catch (const std::bad_alloc&) {
    job->reads_left.fetch_sub(1);
    then();
  }
}

void give_up(Pass& pass, Job& job) {
  job.out_of_memory.store(true);
  finish_job(pass, job);
}

// Runs a step of the plan; false if the job ended with it.
template <typename Step>
bool goes_on(Pass& pass, Job& job, const Step& step) {
  if (pass.cancelled.load(std::memory_order_relaxed)) return false;
  try {
    job.status = step();
  } catch (const std::bad_alloc&) {
    job.out_of_memory.store(true);
  }
  if (job.status.is_ok() && !job.out_of_memory.load()) return true;
  finish_job(pass, job);
  return false;
}

// The third task of a job: it may take its memory.
void assemble(const std::shared_ptr<Pass>& pass, const std::shared_ptr<Job>& job) {
  io::ScopedTime planning(pass->shared->counters.plan_ns);
  if (goes_on(*pass, *job, [&] { return job->builder->finish_plan(); })) submit_pieces(pass, job, planning.stop());
}

// The second: everything is there that its layout depends on.
void lay_out(const std::shared_ptr<Pass>& pass, const std::shared_ptr<Job>& job, std::int64_t now) {
  io::ScopedTime planning(pass->shared->counters.plan_ns, now);
  if (!goes_on(*pass, *job, [&] { return job->builder->measure(); })) return;
  try {
    if (!pass->admit(job)) return;
  } catch (const std::bad_alloc&) {  // It could not be parked.
  }
  if (goes_on(*pass, *job, [&] { return job->builder->finish_plan(); })) submit_pieces(pass, job, planning.stop());
}

// Waits, without a thread, for what the layout depends on.
void read_sides(const std::shared_ptr<Pass>& pass, const std::shared_ptr<Job>& job, std::int64_t now) {
  io::StoredBytes& sides = job->builder->sides();
  std::vector<io::RangeRead> reads;
  std::shared_ptr<Countdown> countdown;
  try {
    if (sides.num_groups() > 0) reads = sides.reads(0, pass->shared->counters.io);
    std::vector<std::shared_ptr<ChunkImage>> images = job->builder->images();
    std::erase(images, nullptr);
    if (!reads.empty() || !images.empty()) {
      job->enter(Stage::kReading, now_ns());
      // Of the two kinds of reads that may be waited for, the batch's own count their time themselves.
      const std::int64_t since = reads.empty() ? now_ns() : 0;
      countdown = std::make_shared<Countdown>(images.size() + (reads.empty() ? 1 : 2), [pass, job, since] {
        if (since != 0) pass->shared->counters.io.read_ns.fetch_add(static_cast<std::uint64_t>(now_ns() - since));
        submit_or_run(pass, job->step, [pass, job] { lay_out(pass, job, now_ns()); });
      });
      for (const auto& image : images) image->when_ready(countdown);
    }
  } catch (const std::bad_alloc&) {  // The countdown lacks this thread's step: it never ends.
    return give_up(*pass, *job);
  }
  if (countdown == nullptr) return lay_out(pass, job, now);
  if (!reads.empty()) submit_reads(pass, job, sides, 0, std::move(reads), [countdown] { countdown->done(); });
  countdown->done();
}

// now: when planning ended.
void submit_pieces(const std::shared_ptr<Pass>& pass, const std::shared_ptr<Job>& job, std::int64_t now) {
  BatchBuilder& builder = *job->builder;
  const std::size_t pieces = builder.num_pieces();
  job->slab_bytes = builder.slab_bytes();
  job->count_bytes(job->slab_bytes + builder.read_bytes());
  if (pieces == 0) return submit_images(pass, job);
  io::StoredBytes& values = builder.values();
  const bool reads_some = pass->group != nullptr && values.num_groups() > 0 && values.bytes() > 0;
  job->enter(reads_some ? Stage::kReading : Stage::kAssembling, now);
  job->pieces_left.store(pieces, std::memory_order_relaxed);
  if (pieces == 1 && !reads_some) return run_piece(pass, job, 0, now);
  std::vector<std::vector<io::RangeRead>> all;
  try {
    if (reads_some) all.resize(pieces);
    for (std::size_t i = 0; i < all.size(); ++i) all[i] = values.reads(i, pass->shared->counters.io);
  } catch (const std::bad_alloc&) {
    return give_up(*pass, *job);
  }
  // The job may be done, and its builder gone, once the last piece was handed over.
  for (std::size_t i = 0; i < pieces; ++i) {
    const auto task = [pass, job, i] { run_piece(pass, job, i, now_ns()); };
    if (all.empty() || all[i].empty()) {
      submit_or_run(pass, job->step, task);
    } else {
      submit_reads(pass, job, values, i, std::move(all[i]), [pass, job, task] { submit_or_run(pass, job->step, task); });
    }
  }
}

// The second round: what is still encoded is all in the slab.
void submit_images(const std::shared_ptr<Pass>& pass, const std::shared_ptr<Job>& job) {
  std::size_t pieces = 0;
  try {
    if (!pass->cancelled.load(std::memory_order_relaxed) && !job->out_of_memory.load()) pieces = job->builder->begin_images();
  } catch (const std::bad_alloc&) {
    job->out_of_memory.store(true);
  }
  if (pieces == 0) return finish_job(*pass, *job);
  job->pieces_left.store(pieces, std::memory_order_relaxed);
  for (std::size_t i = 0; i < pieces; ++i) submit_or_run(pass, job->step, [pass, job, i] { run_images(*pass, *job, i); });
}

}  // namespace

const char* stage_name(Stage stage) {
  switch (stage) {
    case Stage::kQueued: return "waiting for a thread";
    case Stage::kPlanning: return "planning and reading";
    case Stage::kReading: return "reading";
    case Stage::kParked: return "waiting for memory within prefetch_bytes";
    case Stage::kAssembling: return "reading, decoding and assembling";
    case Stage::kDone: return "done";
  }
  return "?";
}

void fill_share(const Order& order, const Partition::Share& share, std::span<std::uint64_t> out) {
  const std::uint64_t size = order.size();
  const std::uint64_t begin = share.begin % size;
  const std::uint64_t straight = std::min<std::uint64_t>(out.size(), size - begin);
  order.fill(begin, out.first(straight));
  // A padded share wraps around; in a dataset smaller than the world size, more than once.
  for (std::uint64_t i = straight; i < out.size(); ++i) order.fill((begin + i) % size, out.subspan(i, 1));
}

Job::Job(std::shared_ptr<PassShared> owner) : shared(std::move(owner)) { shared->batches_in_flight.fetch_add(1); }

Job::~Job() { leave(); }

void Job::leave() {
  if (left) return;
  left = true;
  count_bytes(0);
  shared->batches_in_flight.fetch_sub(1);
  if (stage.load() == Stage::kDone) shared->batches_ready.fetch_sub(1);
}

void Job::enter(Stage next, std::int64_t now) {
  stage.store(next, std::memory_order_relaxed);
  since_ns.store(now, std::memory_order_relaxed);
}

void Job::count_bytes(std::uint64_t now) {
  const std::uint64_t before = bytes.exchange(now);
  const std::uint64_t total = shared->bytes_in_flight.fetch_add(now - before) + (now - before);
  std::uint64_t peak = shared->peak_bytes_in_flight.load();
  while (total > peak && !shared->peak_bytes_in_flight.compare_exchange_weak(peak, total)) {
  }
}

void Pass::submit(std::uint64_t priority, std::function<void()> task) {
  if (group != nullptr) {
    group->submit(priority, std::move(task));
  } else {
    own.push_back(std::move(task));
  }
}

bool Pass::admit(const std::shared_ptr<Job>& job) {
  const std::uint64_t bytes = job->builder->slab_bytes();
  std::lock_guard lock(mutex);
  const std::uint64_t others = shared->bytes_in_flight.load() - job->bytes.load();
  const bool in_turn = parked.empty() || job->step < parked.begin()->first;
  if (job->step != oldest && !(in_turn && others + bytes <= budget)) {
    parked.emplace(job->step, job);
    job->enter(Stage::kParked, now_ns());
    job->count_bytes(0);
    return false;
  }
  job->count_bytes(bytes);
  return true;
}

void Pass::delivered(const std::shared_ptr<Pass>& pass, std::uint64_t step) {
  while (true) {
    std::shared_ptr<Job> job;
    {
      std::lock_guard lock(pass->mutex);
      pass->oldest = step + 1;
      if (pass->parked.empty()) return;
      const auto first = pass->parked.begin();
      const std::uint64_t bytes = first->second->builder->slab_bytes();
      if (first->first != pass->oldest && pass->shared->bytes_in_flight.load() + bytes > pass->budget) return;
      job = std::move(first->second);
      pass->parked.erase(first);
      job->count_bytes(bytes);
    }
    submit_or_run(pass, job->step, [pass, job] { assemble(pass, job); });
  }
}

void Pass::run_own() {
  const std::function<void()> task = std::move(own.front());
  own.pop_front();
  task();
}

void run_job(const std::shared_ptr<Pass>& pass, const std::shared_ptr<Job>& job) {
  if (pass->cancelled.load(std::memory_order_relaxed)) return;
  std::int64_t now = now_ns();
  job->enter(Stage::kPlanning, now);
  {
    io::ScopedTime planning(pass->shared->counters.plan_ns, now);
    if (!plan(*pass, *job, planning)) return finish_job(*pass, *job);
    now = planning.stop();
  }
  if (pass->group == nullptr) return submit_pieces(pass, job, now);
  read_sides(pass, job, now);
}

}  // namespace headrace::pipeline
