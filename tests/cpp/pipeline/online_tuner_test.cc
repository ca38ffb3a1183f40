// The tuner against made-up machines: a rate for each setting, a clock that only moves as batches come.
#include "headrace/pipeline/online_tuner.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <initializer_list>
#include <memory>
#include <utility>
#include <vector>

using namespace headrace::pipeline;

namespace {

constexpr SettingBounds kBounds{0, 4, 1, 64};
constexpr std::uint64_t kSamples = 32;

struct Machine {
  std::function<double(Setting)> batches_per_second;
  double consumer_ns = 0;  // of a batch; what the loader takes beyond that is waited for
  double noise = 0;        // of a batch's time: up to this share more or less
  std::uint64_t seed = 1;
  std::int64_t now = 0;
  std::uint64_t most_told = 1;  // batches that are told of together, at most
  std::vector<Setting> seen = {};

  double random() {
    seed = seed * 6364136223846793005ull + 1442695040888963407ull;
    return static_cast<double>(seed >> 11) / static_cast<double>(1ull << 53);
  }
  // A machine is slow or fast for 30 ms at a time, as one is that it shares with others.
  double weather() {
    const auto spell = static_cast<std::uint64_t>(now / 30'000'000);
    const double value = static_cast<double>((spell * 0x9E3779B97F4A7C15ull + seed_of_weather) >> 40) / static_cast<double>(1ull << 24);
    return 1 + noise * (2 * value - 1);
  }
  std::uint64_t seed_of_weather = 0;

  // A search under way at the end is let finish, so that what is in force is no candidate.
  void run(OnlineTuner& tuner, double seconds) {
    const std::int64_t end = now + static_cast<std::int64_t>(seconds * 1e9);
    while (now < end || (seconds >= 1 && tuner.is_searching() && now < 2 * end)) {
      const auto batches = most_told == 1 ? 1 : 1 + static_cast<std::uint64_t>(random() * static_cast<double>(most_told));
      double waited = 0;
      for (std::uint64_t i = 0; i < batches; ++i) {
        const double made = 1e9 / batches_per_second(tuner.setting()) * weather() * (1 + 0.1 * noise * (random() - 0.5));
        const double spent = std::max(made, consumer_ns);
        now += static_cast<std::int64_t>(spent);
        waited += spent - consumer_ns;
      }
      const Setting next = tuner.deliver(now, {batches, kSamples * batches, static_cast<std::uint64_t>(waited), tuner.setting().ahead});
      if (seen.empty() || !(seen.back() == next)) seen.push_back(next);
    }
  }
  // What the best setting within the bounds would deliver.
  double best(const SettingBounds& bounds) const {
    double most = 0;
    for (int threads = bounds.min_threads; threads <= bounds.max_threads; ++threads) {
      for (std::uint32_t ahead = bounds.min_ahead; ahead <= bounds.max_ahead; ++ahead) most = std::max(most, rate({threads, ahead}));
    }
    return most;
  }
  double rate(Setting setting) const { return std::min(batches_per_second(setting), consumer_ns > 0 ? 1e9 / consumer_ns : 1e18); }
};

double threads_of(Setting s) { return std::max(0.7, std::min(2.0, static_cast<double>(s.threads))); }
// Two cores; what is ahead beyond two batches falls out of their caches.
double gather(Setting s) { return 8000 * threads_of(s) / (1 + 0.15 * std::log2(std::max(1.0, s.ahead / 2.0))); }
double decode(Setting s) { return 300 * std::min<double>(threads_of(s), s.ahead); }
double storage(Setting s) { return 10 * std::min<double>(s.ahead, 48); }
// Waking a thread costs more than the batch.
double tiny(Setting s) { return s.threads == 0 ? 90'000 : 60'000 - 10'000 * s.threads; }

// Sixteen cores, as two machines were seen: rates by threads, flattened by what is ahead.
double by_threads(int threads, std::initializer_list<std::pair<int, double>> seen) {
  auto below = *seen.begin();
  for (const auto& [count, rate] : seen) {
    if (count == threads) return rate;
    if (count > threads) return below.second + (rate - below.second) * (threads - below.first) / (count - below.first);
    below = {count, rate};
  }
  return below.second;
}
double gather_of_16(Setting s) { return by_threads(s.threads, {{0, 8e3}, {1, 12e3}, {2, 22e3}, {4, 41e3}, {8, 63e3}, {16, 58e3}}); }
double tiny_of_16(Setting s) {
  return by_threads(s.threads, {{0, 55e3}, {1, 80e3}, {2, 96e3}, {4, 88e3}, {8, 72e3}, {16, 57e3}}) * (s.ahead < 8 ? 0.7 : 1);
}
double decode_of_16(Setting s) { return 300 * std::max(0.9, std::min<double>(s.threads, s.ahead)); }
double twelve_of_16(Setting s) { return 300 * std::max(0.9, s.threads <= 12 ? s.threads : 12 - 1.5 * (s.threads - 12)); }
double shared_lock(Setting s) { return 20e3 - 300 * s.threads; }  // what a consumer sees that waits for others, not for batches

// Automatic loaders of one process, whose rates depend on the threads of all.
struct Crowd {
  struct Loader {
    LoaderSeat seat;
    std::unique_ptr<OnlineTuner> tuner;
    double begun = 0;  // of the batch under way
    std::int64_t latest = 0;
    std::uint64_t batches = 0;
  };
  std::function<double(int own, int all)> batches_per_second;
  bool waits = true;
  double noise = 0;
  std::uint64_t seed = 1;
  std::int64_t now = 0;
  std::vector<std::unique_ptr<Loader>> loaders = {};

  void add(int count, Setting first, SettingBounds bounds) {
    for (int i = 0; i < count; ++i) {
      loaders.push_back(std::make_unique<Loader>());
      loaders.back()->tuner = std::make_unique<OnlineTuner>(first, bounds, &loaders.back()->seat);
      loaders.back()->seat.deliver(now, 0);
      loaders.back()->tuner->begin_pass(now);
    }
  }
  int threads() const {
    int all = 0;
    for (const auto& loader : loaders) all += loader->tuner->setting().threads;
    return all;
  }
  int searching() const {
    return static_cast<int>(std::count_if(loaders.begin(), loaders.end(), [](const auto& one) { return one->tuner->is_searching(); }));
  }
  double random() {
    seed = seed * 6364136223846793005ull + 1442695040888963407ull;
    return static_cast<double>(seed >> 11) / static_cast<double>(1ull << 53);
  }
  void run(double seconds) {
    constexpr double kTick = 500e3;
    for (const std::int64_t end = now + static_cast<std::int64_t>(seconds * 1e9); now < end;) {
      now += static_cast<std::int64_t>(kTick);
      CHECK(searching() <= 1);
      for (const auto& loader : loaders) {
        const int own = loader->tuner->setting().threads;
        loader->begun += batches_per_second(own, threads()) * (1 + noise * (random() - 0.5)) * kTick * 1e-9;
        const auto batches = static_cast<std::uint64_t>(loader->begun);
        if (batches == 0) continue;
        loader->begun -= static_cast<double>(batches);
        loader->batches += batches;
        loader->seat.deliver(now, batches);
        const auto waited = static_cast<std::uint64_t>(now - std::exchange(loader->latest, now)) / 2;
        loader->tuner->deliver(now, {batches, kSamples * batches, waits ? waited : 0, waits ? 0 : 8ull});
      }
    }
  }
  std::uint64_t delivered() const {
    std::uint64_t all = 0;
    for (const auto& loader : loaders) all += loader->batches;
    return all;
  }
};

// Sixteen cores: threads beyond them only take turns, each at some cost.
double taking_turns(int own, int all) { return 1500.0 * own * std::min(1.0, 16.0 / all) * (1 - 0.01 * std::max(0, all - 16)); }

}  // namespace

TEST_CASE("loaders beside each other find what is best for all of them") {
  for (const double noise : {0.0, 0.1}) {
    Crowd crowd{taking_turns, true, noise};
    crowd.add(4, {16, 34}, {0, 16, 1, 256});
    crowd.run(20);
    const std::uint64_t before = crowd.delivered();
    crowd.run(10);
    CAPTURE(crowd.threads());
    CHECK(static_cast<double>(crowd.delivered() - before) >= 0.95 * 10 * 4 * taking_turns(4, 16));
  }
}

TEST_CASE("a search that gave its turn away goes on where it was") {
  Crowd crowd{[](int own, int) { return 100.0 - 3 * own; }};  // A first move takes longer than a turn.
  crowd.add(2, {16, 34}, {1, 16, 1, 256});
  crowd.run(120);
  CHECK(crowd.threads() <= 4);
}

TEST_CASE("a loader that others do not mind gets all threads beside them") {
  Crowd crowd{[](int own, int) { return 1500.0 * own; }};
  crowd.add(3, {4, 10}, {0, 16, 1, 256});
  crowd.run(20);
  CHECK(crowd.threads() == 48);
}

TEST_CASE("where nothing is waited for, fewer threads and batches stay if as much comes and as much is ready") {
  Crowd crowd{[](int, int all) { return 5000.0 - 20 * all; }, false};
  crowd.add(4, {16, 34}, {0, 16, 1, 256});
  crowd.run(60);
  CHECK(crowd.threads() == 8);
  for (const auto& loader : crowd.loaders) CHECK(loader->tuner->setting().ahead <= 10);
  CHECK(crowd.searching() == 0);

  // 400 batches a second are taken, 100 a thread are made: eight fill the queue, four only just, two do not.
  Setting setting{16, 34};
  OnlineTuner tuner(setting, {0, 16, 1, 256});
  std::int64_t now = 0;
  tuner.begin_pass(now);
  double ready = 34;
  std::uint64_t waited = 0;
  for (int batch = 0; batch < 400 * 120; ++batch) {
    const double made = setting.threads * 100 / 400.0;
    ready = std::min<double>(ready + made, setting.ahead) - 1;
    const std::uint64_t wait = ready < 0 ? static_cast<std::uint64_t>(2.5e6 * -ready / made) : 0;
    ready = std::max(0.0, ready);
    now += 2'500'000 + static_cast<std::int64_t>(wait);
    waited += wait;
    setting = tuner.deliver(now, {1, kSamples, wait, static_cast<std::uint64_t>(ready)});
  }
  CHECK(setting.threads >= 4);
  CHECK(setting.threads <= 8);
  CHECK(static_cast<double>(waited) < 0.01 * static_cast<double>(now));
}

TEST_CASE("on sixteen cores it finds two threads, or eight, or all") {
  for (double (*rate)(Setting) : {gather_of_16, tiny_of_16, decode_of_16, twelve_of_16, shared_lock}) {
    for (const Setting first : {Setting{16, 34}, Setting{2, 6}, Setting{8, 64}}) {
      const SettingBounds bounds{0, 16, 1, 256};
      Machine machine{rate};
      OnlineTuner tuner(first, bounds);
      tuner.begin_pass(machine.now);
      machine.run(tuner, 4);
      CAPTURE(first.threads);
      CAPTURE(tuner.setting().threads);
      CAPTURE(tuner.setting().ahead);
      CHECK(machine.rate(tuner.setting()) >= 0.95 * machine.best(bounds));
      int good = 0;
      for (std::uint64_t seed = 1; seed <= 10; ++seed) {
        Machine noisy{rate, 0, 0.1, seed};
        noisy.seed_of_weather = seed * 77;
        OnlineTuner other(first, bounds);
        other.begin_pass(0);
        noisy.run(other, 20);
        good += noisy.rate(other.setting()) >= 0.9 * noisy.best(bounds) ? 1 : 0;
      }
      CHECK(good >= 9);
    }
  }
}

TEST_CASE("threads that add nothing are given back, down to two") {
  Machine machine{[](Setting) { return 1000.0; }};
  OnlineTuner tuner({16, 34}, {0, 16, 1, 256});
  tuner.begin_pass(0);
  machine.run(tuner, 10);
  CHECK(tuner.setting().threads == 2);
}

TEST_CASE("in a few seconds it is within 5 % of the best fixed setting, whatever binds") {
  struct Case {
    const char* name;
    double (*rate)(Setting);
    double seconds;
  };
  for (const Case& c : {Case{"gather", gather, 3}, Case{"decode", decode, 3}, Case{"storage", storage, 20}, Case{"tiny", tiny, 3}}) {
    CAPTURE(c.name);
    for (const Setting first : {Setting{2, 6}, Setting{1, 1}, Setting{4, 64}}) {
      CAPTURE(first.threads);
      Machine machine{c.rate};
      OnlineTuner tuner(first, kBounds);
      tuner.begin_pass(machine.now);
      machine.run(tuner, c.seconds);
      CAPTURE(tuner.setting().threads);
      CAPTURE(tuner.setting().ahead);
      CHECK(machine.rate(tuner.setting()) >= 0.95 * machine.best(kBounds));
      for (const Setting setting : machine.seen) CHECK(kBounds.clamp(setting) == setting);
    }
  }
}

TEST_CASE("told of up to 15 quick batches together, it finds the same") {
  for (double (*rate)(Setting) : {gather, tiny}) {
    for (const Setting first : {Setting{2, 6}, Setting{1, 1}, Setting{4, 64}}) {
      Machine machine{rate};
      machine.most_told = 15;
      OnlineTuner tuner(first, kBounds);
      tuner.begin_pass(machine.now);
      machine.run(tuner, 3);
      CHECK(machine.rate(tuner.setting()) >= 0.95 * machine.best(kBounds));
    }
  }
  Machine machine{tiny};
  machine.most_told = 15;
  machine.consumer_ns = 1e5;  // It waits for nothing.
  OnlineTuner tuner({2, 6}, kBounds);
  tuner.begin_pass(0);
  machine.run(tuner, 20);
  CHECK(machine.seen.size() == 1);
}

TEST_CASE("on a machine whose speed comes and goes it still ends near the best") {
  for (double (*rate)(Setting) : {gather, decode, tiny}) {
    int good = 0;
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
      Machine machine{rate, 0, 0.2, seed};
      machine.seed_of_weather = seed * 77;
      OnlineTuner tuner({2, 6}, kBounds);
      tuner.begin_pass(machine.now);
      machine.run(tuner, 60);
      good += machine.rate(tuner.setting()) >= 0.85 * machine.best(kBounds) ? 1 : 0;
    }
    CHECK(good >= 18);
  }
}

TEST_CASE("a consumer that does not wait is left alone, and looked after once it does") {
  Machine machine{decode};
  machine.consumer_ns = 5e6;  // 200 a second; two threads make 600
  OnlineTuner tuner({1, 2}, {0, 2, 1, 64});
  tuner.begin_pass(0);
  machine.run(tuner, 20);
  CHECK(tuner.changes() == 0);
  CHECK(machine.seen.size() == 1);
  CHECK_FALSE(tuner.is_searching());
  machine.consumer_ns = 1e6;
  machine.run(tuner, 10);
  CHECK(tuner.setting().threads == 2);
  CHECK(tuner.changes() > 0);
}

TEST_CASE("it follows a machine that changes") {
  Machine machine{gather};
  OnlineTuner tuner({2, 6}, kBounds);
  tuner.begin_pass(0);
  machine.run(tuner, 3);
  machine.batches_per_second = storage;
  machine.run(tuner, 40);
  CHECK(machine.rate(tuner.setting()) >= 0.95 * machine.best(kBounds));
  const SettingBounds one{0, 1, 1, 8};
  tuner.set_bounds(one);
  CHECK(tuner.setting() == one.clamp(tuner.setting()));
  machine.seen.clear();
  machine.run(tuner, 20);
  for (const Setting setting : machine.seen) CHECK(one.clamp(setting) == setting);
  CHECK(machine.rate(tuner.setting()) >= 0.95 * machine.best(one));
}

TEST_CASE("a long pause of the consumer is no reason to change anything") {
  Machine machine{gather};
  OnlineTuner tuner({2, 6}, kBounds);
  tuner.begin_pass(0);
  machine.run(tuner, 3);
  const Setting found = tuner.setting();
  for (int i = 0; i < 40; ++i) {
    machine.most_told = i < 20 ? 1 : 15;
    machine.now += 30'000'000'000;  // validation
    machine.run(tuner, 0.3);
  }
  CHECK(machine.rate(tuner.setting()) >= 0.95 * machine.rate(found));
}

TEST_CASE("passes shorter than a slice are measured together") {
  Machine machine{decode};
  OnlineTuner tuner({1, 1}, kBounds);
  for (int pass = 0; pass < 3000; ++pass) {
    tuner.begin_pass(machine.now);
    machine.run(tuner, 0.01);
    machine.now += 5'000'000;
  }
  CHECK(machine.rate(tuner.setting()) >= 0.95 * machine.best(kBounds));
}

TEST_CASE("it rests longer and longer where nothing is better, so that comparing costs next to nothing") {
  Machine machine{[](Setting s) { return s == Setting{2, 6} ? 1000.0 : 500.0; }};
  OnlineTuner tuner({2, 6}, kBounds);
  tuner.begin_pass(0);
  std::uint64_t batches = 0;
  for (int i = 0; i < 600; ++i) {
    const std::size_t before = machine.seen.size();
    machine.run(tuner, 1);
    batches += machine.seen.size() - before;  // changes of setting
  }
  CHECK(tuner.changes() == 0);
  CHECK(batches < 400);
}

TEST_CASE("what more batches ahead do not gain is given back, down to two a thread and two") {
  Machine machine{decode};
  OnlineTuner tuner({2, 64}, kBounds);
  tuner.begin_pass(0);
  machine.run(tuner, 60);
  CHECK(tuner.setting().ahead <= 8);
  CHECK(tuner.setting().ahead >= 2);
  CHECK(machine.rate(tuner.setting()) >= 0.95 * machine.best(kBounds));
}

TEST_CASE("equal bounds leave a number alone") {
  for (const SettingBounds bounds : {SettingBounds{2, 2, 1, 64}, SettingBounds{0, 4, 6, 6}, SettingBounds{2, 2, 6, 6}}) {
    Machine machine{storage};
    OnlineTuner tuner({2, 6}, bounds);
    tuner.begin_pass(0);
    machine.run(tuner, 20);
    for (const Setting setting : machine.seen) CHECK(bounds.clamp(setting) == setting);
    CHECK(machine.rate(tuner.setting()) >= 0.95 * machine.best(bounds));
  }
}
