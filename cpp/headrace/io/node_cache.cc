#include "headrace/io/node_cache.h"

#include <poll.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <map>
#include <mutex>
#include <new>
#include <set>
#include <shared_mutex>
#include <thread>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "headrace/base/blocked_signals.h"
#include "headrace/base/clock.h"
#include "headrace/base/cpu.h"
#include "headrace/base/fork.h"
#include "headrace/io/node_index.h"
#include "headrace/io/node_socket.h"
#include "headrace/storage/sealed_memory.h"

namespace headrace::io {
namespace {

using storage::SealedMemory;

constexpr std::size_t kMostSegmentBytes = 32u << 20, kLeastSegmentBytes = 1u << 20;
constexpr std::size_t kMostReceivedBytes = 256u << 20;  // of one segment; ours are smaller
constexpr std::size_t kMostSegments = 512;              // each is a descriptor in every process
constexpr std::size_t kLeastBlockBytes = 4096;          // smaller ones are decoded sooner than found
constexpr std::size_t kAlignment = 64;
constexpr int kTickMs = 50;      // a segment that nothing was added to for so long is shared as it is
constexpr int kRetryMs = 200;    // between looks for a listener
constexpr int kMostPassed = 16;  // messages of one peer before the next one's

struct KeyHash {
  std::size_t operator()(const NodeKey& key) const {
    std::uint64_t word = 0;
    std::memcpy(&word, key.shard.data(), sizeof word);
    return (word ^ key.block) * 0x9E3779B97F4A7C15ull;
  }
};

struct Found {
  std::shared_ptr<SealedMemory> segment;
  NodeEntry entry;
  std::atomic<bool> checked{false};
};

// A segment on its way to being sealed.
struct Filling {
  std::shared_ptr<SealedMemory> memory;
  std::size_t bytes = 0, used = 0;  // of the whole, lent by the BlockCache; of blocks
  std::uint64_t reserved = 0;       // entries, those being written too
  std::vector<NodeEntry> entries;
  std::vector<BlockKey> keys;
  int writers = 0;
  std::int64_t last_ns = 0;
};

struct SharedBlock : CachedBlock {
  std::shared_ptr<SealedMemory> segment;
};

struct Peer {
  int socket = -1;
  std::size_t sent = 0;  // of State::segments
};

}  // namespace

struct NodeCache::State {
  State(BlockCache& budget, std::string listen_name) : cache(budget), name(std::move(listen_name)) {}
  ~State();
  void run();
  void find_role();
  void seal_due(bool all);
  void seal(Filling& filling);
  bool know(std::shared_ptr<SealedMemory> segment, std::vector<NodeEntry> entries, bool ours);
  bool serve(Peer& peer, bool readable);
  void receive(int descriptor, std::uint64_t bytes);
  int wait();

  BlockCache& cache;
  const std::string name;
  const int waker = make_waker();
  std::atomic<bool> stopping{false};
  std::thread thread;

  mutable std::shared_mutex index_mutex;  // guards index; segments and identities are the service thread's, which locks to change them
  std::unordered_map<NodeKey, std::shared_ptr<Found>, KeyHash> index;
  std::vector<std::shared_ptr<SealedMemory>> segments;
  std::set<std::uint64_t> identities;

  std::mutex fill_mutex;  // guards filling, full, offered
  std::shared_ptr<Filling> filling;
  std::vector<std::shared_ptr<Filling>> full;
  std::unordered_set<NodeKey, KeyHash> offered;  // not in the index yet

  std::atomic<std::uint64_t> shared_bytes{0}, hits{0}, rejected{0}, num_peers{0};
  std::atomic<bool> listens{false};
  // The service thread's alone.
  int listener = -1;
  std::vector<Peer> peers;
};

NodeCache::State::~State() {
  for (const Peer& peer : peers) close_socket(peer.socket);
  close_socket(listener);
  close_socket(waker);
  std::uint64_t lent = shared_bytes.load();
  if (filling != nullptr) lent += filling->bytes;
  for (const auto& one : full) lent += one->bytes;
  cache.give_back(lent);
}

// -- the service thread ----------------------------------------------------------------------------------------------------------------

void NodeCache::State::find_role() {
  if (listener >= 0 || !peers.empty()) return;
  if (const int socket = connect_to_node(name); socket >= 0) {
    peers.push_back({socket, 0});
  } else {
    listener = listen_as_node(name);
  }
  listens.store(listener >= 0);
}

int NodeCache::State::wait() {
  std::lock_guard lock(fill_mutex);
  return filling != nullptr || !full.empty() ? kTickMs : kRetryMs;
}

void NodeCache::State::run() {
  while (!stopping.load()) try {
      find_role();
      seal_due(false);
      std::vector<pollfd> polled{{waker, POLLIN, 0}, {listener, POLLIN, 0}};
      for (const Peer& peer : peers) {
        const bool more = peer.sent < segments.size();
        polled.push_back({peer.socket, static_cast<short>(POLLIN | (more ? POLLOUT : 0)), 0});
      }
      if (::poll(polled.data(), polled.size(), wait()) < 0) continue;
      if ((polled[0].revents & POLLIN) != 0) calm(waker);
      for (std::size_t i = 0; i + 2 < polled.size(); ++i) {
        const int events = polled[i + 2].revents;
        if (events == 0 || serve(peers[i], (events & ~POLLOUT) != 0)) continue;
        close_socket(std::exchange(peers[i].socket, -1));
      }
      std::erase_if(peers, [](const Peer& peer) { return peer.socket < 0; });
      if ((polled[1].revents & POLLIN) != 0) {
        if (const int socket = accept_peer(listener); socket >= 0) peers.push_back({socket, 0});
      }
      num_peers.store(peers.size());
    } catch (const std::bad_alloc&) {  // Nothing can be shared now; engine threads do not depend on it.
      std::this_thread::sleep_for(std::chrono::milliseconds(kRetryMs));
    }
}

// Takes and gives what can be without waiting. False if the peer is gone, or says what none of ours would.
bool NodeCache::State::serve(Peer& peer, bool readable) {
  for (int i = 0; readable && i < kMostPassed; ++i) {
    int descriptor = -1;
    std::uint64_t bytes = 0;
    const Passed passed = receive_segment(peer.socket, &descriptor, &bytes);
    if (passed == Passed::kLater) break;
    if (passed == Passed::kBad) rejected.fetch_add(1);
    if (passed != Passed::kDone) return false;
    receive(descriptor, bytes);
  }
  for (int i = 0; i < kMostPassed && peer.sent < segments.size(); ++i) {
    const SealedMemory& segment = *segments[peer.sent];
    const Passed passed = send_segment(peer.socket, segment.descriptor(), segment.bytes().size());
    if (passed == Passed::kLater) break;
    if (passed != Passed::kDone) return false;
    ++peer.sent;
  }
  return true;
}

void NodeCache::State::receive(int descriptor, std::uint64_t bytes) {
  auto segment = SealedMemory::adopt(descriptor, bytes);
  if (!segment.is_ok() || bytes > kMostReceivedBytes) {
    rejected.fetch_add(1);
    return;
  }
  if (identities.contains((*segment)->identity())) return;  // Back from where it went.
  auto entries = read_node_index((*segment)->bytes());
  if (!entries.has_value()) {
    rejected.fetch_add(1);
    return;
  }
  (void)know(std::move(*segment), std::move(*entries), false);
}

bool NodeCache::State::know(std::shared_ptr<SealedMemory> segment, std::vector<NodeEntry> entries, bool ours) {
  if (segments.size() >= kMostSegments && !ours) return false;
  std::unique_lock lock(index_mutex);
  for (const NodeEntry& entry : entries) {
    auto found = std::make_shared<Found>();
    found->segment = segment;
    found->entry = entry;
    found->checked.store(ours);
    index.try_emplace(entry.key, std::move(found));
  }
  identities.insert(segment->identity());
  segments.push_back(std::move(segment));
  return true;
}

void NodeCache::State::seal_due(bool all) {
  std::vector<std::shared_ptr<Filling>> due;
  {
    std::lock_guard lock(fill_mutex);
    const bool rests = filling != nullptr && filling->writers == 0 && now_ns() - filling->last_ns > std::int64_t{kTickMs} * 1'000'000;
    if (rests || (all && filling != nullptr)) full.push_back(std::exchange(filling, nullptr));
    for (auto one = full.begin(); one != full.end();) {
      if ((*one)->writers > 0) {
        ++one;
        continue;
      }
      due.push_back(std::move(*one));
      one = full.erase(one);
    }
  }
  for (const auto& one : due) seal(*one);
}

void NodeCache::State::seal(Filling& one) {
  const std::size_t size = round_up(one.used, kAlignment) + node_index_bytes(one.entries.size());
  write_node_index(one.entries, {one.memory->writable(), size});
  const bool sealed = one.memory->seal(size).is_ok();
  cache.give_back(sealed ? one.bytes - size : one.bytes);
  if (sealed) {
    shared_bytes.fetch_add(size);
    (void)know(one.memory, one.entries, true);
    for (const BlockKey& key : one.keys) cache.erase(key);  // The segment serves it now.
  }
  std::lock_guard lock(fill_mutex);
  for (const NodeEntry& entry : one.entries) offered.erase(entry.key);
}

// -- what engine threads call ------------------------------------------------------------------------------------------------------------

NodeCache::NodeCache(std::shared_ptr<State> state) : state_(std::move(state)) {}

NodeCache::~NodeCache() {
  state_->stopping.store(true);
  wake(state_->waker);
  if (state_->thread.joinable()) state_->thread.join();  // It never waits for a peer.
}

std::shared_ptr<NodeCache> NodeCache::shared(BlockCache& cache, const std::string& group) {
  struct Made {
    std::uint64_t generation;
    std::mutex mutex;
    std::map<std::string, std::weak_ptr<NodeCache>> by_name;
  };
  static std::atomic<Made*> made{nullptr};
  Made* seen = made.load(std::memory_order_acquire);
  while (seen == nullptr || seen->generation != fork_generation()) {
    auto* fresh = new Made{fork_generation(), {}, {}};
    if (made.compare_exchange_strong(seen, fresh, std::memory_order_acq_rel)) {
      seen = fresh;
      break;
    }
    delete fresh;
  }
  const std::string name = strf("headrace-node-1-%llu-", static_cast<unsigned long long>(user_number())) + group;
  std::lock_guard lock(seen->mutex);
  if (auto here = seen->by_name[name].lock()) return here;
  auto state = std::make_shared<State>(cache, name);
  if (state->waker < 0) return nullptr;
  std::shared_ptr<NodeCache> node(new NodeCache(state));
  {
    const BlockedSignals blocked;
    state->thread = std::thread([raw = state.get()] {
      prepare_engine_thread("headrace-node");
      raw->run();
    });
  }
  seen->by_name[name] = node;
  return node;
}

BlockHandle NodeCache::find(const codec::Uuid& shard, std::uint64_t block, std::size_t size) {
  State& s = *state_;
  const NodeKey key{shard, block};
  std::shared_ptr<Found> found;
  {
    std::shared_lock lock(s.index_mutex);
    const auto at = s.index.find(key);
    if (at == s.index.end()) return nullptr;
    found = at->second;
  }
  const Bytes bytes = found->segment->bytes().subspan(found->entry.offset, found->entry.size);
  if (!found->checked.load(std::memory_order_acquire)) {
    if (bytes.size() != size || node_hash(key, bytes) != found->entry.hash) {
      s.rejected.fetch_add(1);
      std::unique_lock lock(s.index_mutex);
      if (const auto at = s.index.find(key); at != s.index.end() && at->second == found) s.index.erase(at);
      return nullptr;
    }
    found->checked.store(true, std::memory_order_release);
  }
  if (bytes.size() != size) return nullptr;
  s.hits.fetch_add(1, std::memory_order_relaxed);
  auto handle = std::make_shared<SharedBlock>();
  handle->segment = found->segment;
  handle->shared = bytes.data();
  handle->size = size;
  return handle;
}

void NodeCache::offer(const codec::Uuid& shard, std::uint64_t block, Bytes bytes, const BlockKey& cache_key) try {
  State& s = *state_;
  const NodeKey key{shard, block};
  if (bytes.size() < kLeastBlockBytes || bytes.size() > kMostSegmentBytes / 2) return;
  {
    std::shared_lock lock(s.index_mutex);
    if (s.index.contains(key) || s.segments.size() >= kMostSegments) return;
  }
  std::shared_ptr<Filling> into;
  NodeEntry entry{key, 0, bytes.size(), 0};
  {
    std::lock_guard lock(s.fill_mutex);
    if (s.offered.contains(key)) return;
    const auto fits = [&](const Filling& f) {
      return round_up(f.used, kAlignment) + bytes.size() + kAlignment + node_index_bytes(f.reserved + 1) <= f.bytes;
    };
    if (s.filling != nullptr && !fits(*s.filling)) {
      s.full.push_back(std::exchange(s.filling, nullptr));
      wake(s.waker);
    }
    if (s.filling == nullptr) {
      std::size_t size = std::clamp(round_up(s.cache.capacity_bytes() / 16, kLeastSegmentBytes), kLeastSegmentBytes, kMostSegmentBytes);
      size = std::max(size, round_up(2 * bytes.size(), kLeastSegmentBytes));
      if (!s.cache.lend(size)) return;
      auto memory = SealedMemory::create(size);
      if (!memory.is_ok()) return s.cache.give_back(size);
      s.filling = std::make_shared<Filling>();
      s.filling->memory = std::move(*memory);
      s.filling->bytes = size;
      wake(s.waker);
    }
    into = s.filling;
    if (into->entries.capacity() <= into->reserved) {  // So that noting a finished block cannot fail.
      into->entries.reserve(2 * into->reserved + 16);
      into->keys.reserve(2 * into->reserved + 16);
    }
    s.offered.insert(key);
    entry.offset = round_up(into->used, kAlignment);
    into->used = entry.offset + bytes.size();
    ++into->reserved;
    ++into->writers;
    into->last_ns = now_ns();
  }
  std::memcpy(into->memory->writable() + entry.offset, bytes.data(), bytes.size());
  entry.hash = node_hash(key, bytes);
  std::lock_guard lock(s.fill_mutex);
  into->entries.push_back(entry);
  into->keys.push_back(cache_key);
  --into->writers;
} catch (const std::bad_alloc&) {  // Then it is not shared.
}

NodeCache::Stats NodeCache::stats() const {
  const State& s = *state_;
  Stats out;
  {
    std::shared_lock lock(s.index_mutex);
    out.segments = s.segments.size();
    out.blocks = s.index.size();
  }
  out.shared_bytes = s.shared_bytes.load();
  out.hits = s.hits.load();
  out.rejected = s.rejected.load();
  out.peers = s.num_peers.load();
  out.listens = s.listens.load();
  return out;
}

}  // namespace headrace::io
