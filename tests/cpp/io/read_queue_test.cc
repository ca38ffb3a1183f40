// Ranges through the queue hold the file's bytes, whoever submits them, and whatever the kernel answers at first.
#include "headrace/io/read_queue.h"

#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <set>
#include <thread>

#include "headrace/io/transfer.h"
#include "headrace/io/uring.h"
#include "io/read_fixture.h"
#include "temp_dir.h"

namespace headrace::io {
namespace {

constexpr std::size_t kFileBytes = 3 * 1024 * 1024 + 777;

struct Buffer {
  explicit Buffer(std::size_t bytes)
      : data(static_cast<std::uint8_t*>(std::aligned_alloc(kDirectAlign, round_up(bytes, kDirectAlign)))), size(bytes) {}
  ~Buffer() { std::free(data); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  std::uint8_t* data;
  std::size_t size;
};

// Groups of ranges under way, each checked against the file when it is done.
class Client {
 public:
  Client(ReadQueue& queue, const RandomFile& content, ReaderKind kind)
      : queue_(queue), content_(content), direct_(kind != ReaderKind::kPread) {
    auto opened = storage::File::open(content.path(), direct_);
    if (!opened.is_ok()) {
      direct_ = false;
      opened = storage::File::open(content.path());
    }
    REQUIRE(opened.is_ok());
    file_ = std::make_shared<const storage::File>(std::move(*opened));
  }

  void submit(const std::vector<Range>& wanted) {
    auto buffers = std::make_shared<std::vector<std::unique_ptr<Buffer>>>();
    std::vector<RangeRead> ranges;
    for (const Range& range : wanted) {
      const std::uint64_t begin = direct_ ? range.offset / kDirectAlign * kDirectAlign : range.offset;
      const std::uint64_t end = range.offset + range.length;
      const std::size_t length = direct_ ? round_up(end, kDirectAlign) - begin : end - begin;
      buffers->push_back(std::make_unique<Buffer>(length));
      ranges.push_back({file_, begin, {buffers->back()->data, length}, static_cast<std::size_t>(end - begin), direct_, {}, false});
    }
    {
      std::lock_guard lock(mutex_);
      ++waiting_;
    }
    queue_.submit(std::move(ranges), [this, buffers](std::span<RangeRead> done) {
      bool right = true;
      for (const RangeRead& read : done) {
        const bool fits = read.offset + read.needed <= content_.bytes().size();
        right = right && read.status.is_ok() == fits;
        if (read.retried) retries.fetch_add(1);
        if (!read.status.is_ok()) last_error = read.status;
        right = right && (!fits || std::memcmp(read.out.data(), content_.bytes().data() + read.offset, read.needed) == 0);
      }
      std::lock_guard lock(mutex_);
      right_ = right_ && right;
      --waiting_;
      idle_.notify_all();
    });
  }

  // Whether every group so far held the right bytes, or an error where the file ends first.
  bool all_right() {
    std::unique_lock lock(mutex_);
    idle_.wait(lock, [&] { return waiting_ == 0; });
    return right_;
  }
  std::atomic<int> retries{0};
  Status last_error;

 private:
  ReadQueue& queue_;
  const RandomFile& content_;
  bool direct_;
  std::shared_ptr<const storage::File> file_;
  std::mutex mutex_;
  std::condition_variable idle_;
  int waiting_ = 0;
  bool right_ = true;
};

const RandomFile& file() {
  static const TempDir dir;
  static const RandomFile made(dir / "f", kFileBytes);
  return made;
}

TEST_CASE("many groups from many threads hold the file's bytes") {
  for (const ReaderKind kind : kEngines) {
    for (const unsigned depth : {1u, 3u, 64u}) {
      CAPTURE(reader_name(kind));
      CAPTURE(depth);
      ReadQueue queue(kind, depth, 3);
      Client client(queue, file(), kind);
      std::vector<std::thread> threads;
      for (unsigned t = 0; t < 3; ++t) {
        threads.emplace_back([&, t] {
          for (unsigned i = 0; i < 30; ++i) client.submit(random_ranges(1 + i % 7, kFileBytes, i % 5 == 0 ? 700'000 : 9'000, 100 * t + i));
        });
      }
      for (std::thread& thread : threads) thread.join();
      CHECK(client.all_right());
      client.submit({});
      client.submit({{0, 0}, {kFileBytes, 0}, {0, kFileBytes}});
      CHECK(client.all_right());
    }
  }
}

TEST_CASE("a range past the end is an error of its own") {
  for (const ReaderKind kind : kEngines) {
    CAPTURE(reader_name(kind));
    ReadQueue queue(kind, 8, 2);
    Client client(queue, file(), kind);
    client.submit({{kFileBytes - 10, 10}, {kFileBytes - 10, 11}, {5, 5}});
    CHECK(client.all_right());
    CHECK(client.last_error.code() == Code::kTruncated);
  }
}

TEST_CASE("the shared queue serves a child of fork() too") {
  for (const ReaderKind kind : kEngines) {
    Client(ReadQueue::shared(kind, 1), file(), kind).all_right();
    const auto reads = [&] {
      Client client(ReadQueue::shared(kind, 1), file(), kind);
      client.submit(random_ranges(20, kFileBytes, 9'000, 5));
      return client.all_right();
    };
    CHECK(reads());
#if !defined(__SANITIZE_THREAD__)  // Its runtime does not let a child of a threaded process start threads.
    CHECK(true_in_child(reads));
#endif
    CHECK(reads());
  }
}

std::atomic<int> g_calls{0};

// Answers that kernels may give: interrupted and less than asked for, and from a ring: busy.
std::int64_t hostile(std::uint64_t, std::size_t, std::int64_t answer) {
  const int call = g_calls.fetch_add(1);
  if (call % 5 == 0) return -EINTR;
  return answer > 8192 && call % 3 == 0 ? 4096 : answer;
}

std::int64_t hostile_ring(std::uint64_t offset, std::size_t length, std::int64_t answer) {
  return g_calls.load() % 7 == 1 ? (g_calls.fetch_add(1), -EAGAIN) : hostile(offset, length, answer);
}

std::int64_t one_bad(std::uint64_t, std::size_t, std::int64_t answer) { return g_calls.fetch_add(1) == 0 ? -EIO : answer; }

std::int64_t bad_sector(std::uint64_t offset, std::size_t length, std::int64_t answer) {
  constexpr std::uint64_t kBad = 1 << 20;
  return offset <= kBad && kBad < offset + length ? -EIO : answer;
}

struct WithFault {
  explicit WithFault(ReadFault fault) {
    g_calls.store(0);
    set_read_fault(fault);
  }
  ~WithFault() { set_read_fault(nullptr); }
};

TEST_CASE("interrupted, busy and short answers change no byte") {
  for (const ReaderKind kind : kEngines) {
    CAPTURE(reader_name(kind));
    const WithFault fault(kind == ReaderKind::kPread || ring_refusal() != 0 ? hostile : hostile_ring);
    ReadQueue queue(kind, 16, 3);
    Client client(queue, file(), kind);
    for (unsigned i = 0; i < 40; ++i) client.submit(random_ranges(3, kFileBytes, 60'000, i));
    CHECK(client.all_right());
    CHECK(g_calls.load() > 120);
  }
}

TEST_CASE("EIO is tried once more, and then is the error of its range alone") {
  for (const ReaderKind kind : kEngines) {
    CAPTURE(reader_name(kind));
    ReadQueue queue(kind, 16, 1);
    {
      const WithFault fault(one_bad);
      Client client(queue, file(), kind);
      client.submit({{0, 5000}, {9000, 5000}});
      CHECK(client.all_right());
      CHECK(client.retries.load() == 1);
    }
    const WithFault fault(bad_sector);
    std::mutex mutex;
    std::condition_variable ready;
    bool done = false;
    auto opened = std::make_shared<const storage::File>(std::move(*storage::File::open(file().path())));
    Buffer buffer(3 * 4096);
    std::vector<RangeRead> ranges;
    for (const std::uint64_t offset : {0ull, 1ull << 20, 2ull << 20})
      ranges.push_back({opened, offset, {buffer.data + 4096 * ranges.size(), 4096}, 4096, false, {}, false});
    queue.submit(std::move(ranges), [&](std::span<RangeRead> read) {
      CHECK(read[0].status.is_ok());
      CHECK(read[1].status.code() == Code::kIoError);
      CHECK(read[1].status.sys_errno() == EIO);
      CHECK(read[1].status.message().find("offset 1048576, expected 4096 bytes") != std::string::npos);
      CHECK(read[1].retried);
      CHECK(read[2].status.is_ok());
      std::lock_guard lock(mutex);
      done = true;
      ready.notify_all();
    });
    std::unique_lock lock(mutex);
    ready.wait(lock, [&] { return done; });
  }
}

#if !defined(__SANITIZE_THREAD__)  // Its runtime needs calls that the filters refuse.
TEST_CASE("a refused ring becomes threads") {
  CHECK(true_in_child([] {
    refuse_call(__NR_io_uring_setup, EPERM);
    ReadQueue queue(ReaderKind::kUring, 16, 3);
    Client client(queue, file(), ReaderKind::kUring);
    for (unsigned i = 0; i < 20; ++i) client.submit(random_ranges(5, kFileBytes, 60'000, i));
    return client.all_right() && queue.refusal() == EPERM;
  }));
}

TEST_CASE("a ring that is taken away in use becomes threads") {
  if (ring_refusal() != 0) return;
  CHECK(true_in_child([] {
    ReadQueue queue(ReaderKind::kUring, 16, 3);
    std::atomic<bool> right{false};
    std::thread([&] {  // The filter holds for this thread and those that it starts: the queue's.
      refuse_call(__NR_io_uring_enter, EPERM);
      Client client(queue, file(), ReaderKind::kUring);
      for (unsigned i = 0; i < 20; ++i) client.submit(random_ranges(5, kFileBytes, 60'000, i));
      right.store(client.all_right());
    })
        .join();
    return right.load() && queue.refusal() == EPERM;
  }));
}
#endif

}  // namespace
TEST_CASE("each device has a queue of its own, up to a number of them") {
  std::set<const ReadQueue*> queues;
  for (std::uint64_t device = 100; device < 100 + 2 * ReadQueue::kDevices; ++device) {
    const ReadQueue* const queue = &ReadQueue::shared(ReaderKind::kPread, device);
    if (queues.size() < ReadQueue::kDevices - 1) CHECK(queues.insert(queue).second);  // One may be that of the tests above.
    queues.insert(queue);
    CHECK(&ReadQueue::shared(ReaderKind::kPread, device) == queue);
  }
  CHECK(queues.size() <= ReadQueue::kDevices);
  CHECK(&ReadQueue::shared(ReaderKind::kDirect, 100) != &ReadQueue::shared(ReaderKind::kPread, 100));
}

}  // namespace headrace::io
