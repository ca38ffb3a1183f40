#include "headrace/pipeline/pass.h"

#include <algorithm>
#include <new>

#include "headrace/base/clock.h"
#include "headrace/pipeline/repair.h"

namespace headrace::pipeline {
namespace {

// Made where memory is short: with fewer words if there is none for these.
Status out_of_memory() {
  try {
    return {Code::kOutOfMemory, "assemble a batch: out of memory; use a smaller batch_size or prefetch_bytes"};
  } catch (const std::bad_alloc&) {
    return {Code::kOutOfMemory, "out of memory"};
  }
}

void finish_job(const std::shared_ptr<Pass>& shared_pass, Job& job) {
  Pass& pass = *shared_pass;
  try {
    if (job.out_of_memory.load()) throw std::bad_alloc();
    if (!pass.cancelled.load(std::memory_order_relaxed)) {
      std::vector<Skipped> skipped = repair(pass, job);
      if (job.status.is_ok()) {
        Result<Batch> taken = job.builder->take();
        job.status = taken.status();
        if (taken.is_ok()) job.batch = std::move(*taken);
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
  if (pass.shared->context.field_plan != nullptr) {
    for (const storage::Lease& texts : job.batch.more_slabs) job.slab_bytes += texts->capacity();
  }
  job.count_bytes(job.slab_bytes);
  {
    std::lock_guard lock(pass.mutex);
    job.done = true;
    pass.shared->batches_ready.fetch_add(1);
    job.stage.store(Stage::kDone, std::memory_order_relaxed);  // Nobody asks since when.
    pass.done.notify_all();
  }
  Pass::resume(shared_pass);  // What it read is gone.
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

void run_images(const std::shared_ptr<Pass>& pass, Job& job, std::size_t piece) {
  try {
    if (!pass->cancelled.load(std::memory_order_relaxed)) job.builder->run_images(piece);
  } catch (const std::bad_alloc&) {
    job.out_of_memory.store(true);
  }
  if (job.pieces_left.fetch_sub(1, std::memory_order_acq_rel) == 1) finish_job(pass, job);
}

void submit_pieces(const std::shared_ptr<Pass>& pass, const std::shared_ptr<Job>& job, std::int64_t now);

// False where there is nothing to build, or planning failed.
bool plan(const Pass& pass, Job& job, io::StageTime& planning) {
  try {
    if (!job.planned) {
      job.samples.resize(job.share.count);
      fill_share(*pass.order, job.share, job.samples);
    }
    job.planned = true;
    job.builder = std::make_unique<BatchParts>(pass.shared->context, pass.shared->parts, job.samples);
    for (std::size_t i = 0; i < pass.clocks.size(); ++i) {
      const std::optional<std::uint64_t>& clock = pass.clocks[i];
      if (!clock.has_value()) continue;
      (*job.builder)[i].set_place(&pass.shared->parts[i].subscription->reader(), *clock + job.position_before, *clock + job.position_after);
    }
    job.builder->set_weight(job.weight);
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

void give_up(const std::shared_ptr<Pass>& pass, Job& job) {
  job.out_of_memory.store(true);
  finish_job(pass, job);
}

// Runs a step of the plan; false if the job ended with it.
template <typename Step>
bool goes_on(const std::shared_ptr<Pass>& pass, Job& job, const Step& step) {
  if (pass->cancelled.load(std::memory_order_relaxed)) return false;
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
  io::StageTime planning(pass->shared->counters.plan_ns, job->weight);
  if (goes_on(pass, *job, [&] { return job->builder->finish_plan(); })) submit_pieces(pass, job, planning.stop());
}

// The second: everything is there that its layout depends on.
void lay_out(const std::shared_ptr<Pass>& pass, const std::shared_ptr<Job>& job, std::int64_t now) {
  io::StageTime planning(pass->shared->counters.plan_ns, job->weight, now);
  if (!goes_on(pass, *job, [&] { return job->builder->measure(); })) return;
  try {
    if (!pass->admit(job)) return Pass::resume(pass);  // It no longer counts as what it was thought to take.
  } catch (const std::bad_alloc&) {                    // It could not be parked.
  }
  if (goes_on(pass, *job, [&] { return job->builder->finish_plan(); })) submit_pieces(pass, job, planning.stop());
}

// Ranges that are read together.
struct Ranges {
  io::StoredBytes* bytes = nullptr;
  std::size_t group = 0;
  std::vector<io::RangeRead> reads;
};

void find_sides(const Pass& pass, Job& job, std::vector<Ranges>& sides, std::vector<std::shared_ptr<ChunkImage>>& images) {
  BatchParts& parts = *job.builder;
  sides.reserve(parts.size());
  for (std::size_t i = 0; i < parts.size(); ++i) {
    io::StoredBytes& bytes = parts[i].sides();
    std::vector<io::RangeRead> reads;
    if (bytes.num_groups() > 0) reads = bytes.reads(0, pass.shared->counters.io);
    if (!reads.empty()) sides.push_back({&bytes, 0, std::move(reads)});
    for (const auto& image : parts[i].images()) {
      if (image != nullptr) images.push_back(image);
    }
  }
}

// Waits, without a thread, for what the layout depends on.
void read_sides(const std::shared_ptr<Pass>& pass, const std::shared_ptr<Job>& job, std::int64_t now) {
  std::vector<Ranges> sides;
  std::shared_ptr<Countdown> countdown;
  try {
    std::vector<std::shared_ptr<ChunkImage>> images;
    find_sides(*pass, *job, sides, images);
    if (!sides.empty() || !images.empty()) {
      job->enter(Stage::kReading, now_ns());
      // Of the two kinds of reads that may be waited for, the batch's own count their time themselves.
      const std::int64_t since = sides.empty() ? now_ns() : 0;
      countdown = std::make_shared<Countdown>(images.size() + sides.size() + 1, [pass, job, since] {
        if (since != 0) pass->shared->counters.io.read_ns.fetch_add(static_cast<std::uint64_t>(now_ns() - since));
        submit_or_run(pass, job->step, [pass, job] { lay_out(pass, job, 0); });
      });
      for (const auto& image : images) image->when_ready(countdown);
    }
  } catch (const std::bad_alloc&) {  // The countdown lacks this thread's step: it never ends.
    return give_up(pass, *job);
  }
  if (countdown == nullptr) return lay_out(pass, job, now);
  for (Ranges& side : sides) submit_reads(pass, job, *side.bytes, side.group, std::move(side.reads), [countdown] { countdown->done(); });
  countdown->done();
}

bool reads_values(BatchBuilder& part) { return part.values().num_groups() > 0 && part.values().bytes() > 0; }

// now: when planning ended; 0 if nobody looked.
void submit_pieces(const std::shared_ptr<Pass>& pass, const std::shared_ptr<Job>& job, std::int64_t now) {
  BatchParts& builder = *job->builder;
  const std::size_t pieces = builder.num_pieces();
  job->slab_bytes = builder.slab_bytes();
  job->count_bytes(builder.memory_bytes());
  if (pieces == 0) return submit_images(pass, job);
  bool reads_some = false;
  for (std::size_t i = 0; pass->group != nullptr && i < builder.size(); ++i) reads_some = reads_some || reads_values(builder[i]);
  job->enter(reads_some ? Stage::kReading : Stage::kAssembling, reads_some && now == 0 ? now_ns() : now);
  job->pieces_left.store(pieces, std::memory_order_relaxed);
  if (pieces == 1 && !reads_some) return run_piece(pass, job, 0, now);
  std::vector<Ranges> all;
  try {
    if (reads_some) all.resize(pieces);
    for (std::size_t i = 0; i < all.size(); ++i) {
      const auto [part, own] = builder.piece(i);
      if (reads_values(part)) all[i] = {&part.values(), own, part.values().reads(own, pass->shared->counters.io)};
    }
  } catch (const std::bad_alloc&) {
    return give_up(pass, *job);
  }
  // The job may be done, and its builder gone, once the last piece was handed over.
  for (std::size_t i = 0; i < pieces; ++i) {
    const auto task = [pass, job, i] { run_piece(pass, job, i, 0); };
    if (all.empty() || all[i].reads.empty()) {
      submit_or_run(pass, job->step, task);
    } else {
      submit_reads(pass, job, *all[i].bytes, all[i].group, std::move(all[i].reads),
                   [pass, job, task] { submit_or_run(pass, job->step, task); });
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
  if (pieces == 0) return finish_job(pass, *job);
  job->pieces_left.store(pieces, std::memory_order_relaxed);
  for (std::size_t i = 0; i < pieces; ++i) submit_or_run(pass, job->step, [pass, job, i] { run_images(pass, *job, i); });
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
  // And one that the consumer holds. A slab is larger than its batch by an eighth at most.
  if (total > peak) shared->slabs.keep_total(std::min<std::uint64_t>((total + now) / 8 * 9, shared->budget));
}

void Pass::submit(std::uint64_t priority, std::function<void()> task) {
  if (group != nullptr) {
    group->submit(priority, std::move(task));
  } else {
    own.push_back(std::move(task));
  }
}

bool Pass::admit(const std::shared_ptr<Job>& job) {
  const std::uint64_t bytes = job->builder->memory_bytes();
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
  {
    std::lock_guard lock(pass->mutex);
    pass->oldest = step + 1;
  }
  resume(pass);
}

void Pass::resume(const std::shared_ptr<Pass>& pass) {
  while (!pass->cancelled.load(std::memory_order_relaxed)) {
    std::shared_ptr<Job> job;
    {
      std::lock_guard lock(pass->mutex);
      if (pass->parked.empty()) return;
      const auto first = pass->parked.begin();
      const std::uint64_t bytes = first->second->builder->memory_bytes();
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
  std::int64_t now = 0;
  {
    io::StageTime planning(pass->shared->counters.plan_ns, job->weight);
    job->enter(Stage::kPlanning, planning.since());
    if (!plan(*pass, *job, planning)) return finish_job(pass, *job);
    now = planning.stop();
  }
  if (pass->group == nullptr) return submit_pieces(pass, job, now);
  read_sides(pass, job, now);
}

}  // namespace headrace::pipeline
