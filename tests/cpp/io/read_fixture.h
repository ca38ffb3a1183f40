// A file of known random bytes, requests into it, and children with fewer system calls. Tests only.
#pragma once

#include <doctest/doctest.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "headrace/io/read_engine.h"
#include "in_child.h"

namespace headrace::io {

constexpr ReaderKind kEngines[] = {ReaderKind::kPread, ReaderKind::kDirect, ReaderKind::kUring};

inline std::unique_ptr<ReadEngine> engine_of(ReaderKind kind) {
  auto made = make_read_engine(kind);
  REQUIRE(made.is_ok());
  return std::move(made).value();
}

class RandomFile {
 public:
  RandomFile(std::string path, std::size_t size, unsigned seed = 1) : path_(std::move(path)), bytes_(size) {
    std::mt19937_64 random(seed);
    for (std::size_t i = 0; i < size; i += 8) {
      const std::uint64_t word = random();
      std::memcpy(bytes_.data() + i, &word, std::min<std::size_t>(8, size - i));
    }
    const int fd = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    REQUIRE(fd >= 0);
    for (std::size_t done = 0; done < size;) {
      const ssize_t put = ::write(fd, bytes_.data() + done, size - done);
      REQUIRE(put > 0);
      done += static_cast<std::size_t>(put);
    }
    REQUIRE(::fsync(fd) == 0);  // Clean pages, which drop_cache() can drop.
    ::close(fd);
  }
  const std::string& path() const { return path_; }
  const std::vector<std::uint8_t>& bytes() const { return bytes_; }
  // Opened as the engine wants it, or as it must be where O_DIRECT is refused.
  storage::File open(ReadEngine& engine) const {
    auto file = storage::File::open(path_, engine.wants_direct_files());
    if (!file.is_ok() && file.status().code() == Code::kUnsupported) {
      engine.give_up_direct();
      file = storage::File::open(path_);
    }
    REQUIRE(file.is_ok());
    return std::move(file).value();
  }

 private:
  std::string path_;
  std::vector<std::uint8_t> bytes_;
};

struct Range {
  std::uint64_t offset;
  std::size_t length;
};

// Reads ranges in one call, into memory with a guard on either side. True if all statuses are ok, all bytes right, all guards whole.
inline bool reads_right(ReadEngine& engine, const storage::File& file, const std::vector<std::uint8_t>& bytes,
                        const std::vector<Range>& ranges) {
  constexpr std::size_t kGuard = 16;
  std::vector<std::vector<std::uint8_t>> outs;
  std::vector<ReadRequest> requests;
  for (const Range& range : ranges) outs.emplace_back(range.length + 2 * kGuard, std::uint8_t{0xA5});
  for (std::size_t i = 0; i < ranges.size(); ++i) {
    requests.push_back(
        {&file, ranges[i].offset, MutableBytes(outs[i]).subspan(kGuard, ranges[i].length), Status(Code::kTimeout, "untouched")});
  }
  engine.read(requests);
  const std::vector<std::uint8_t> guard(kGuard, 0xA5);
  for (std::size_t i = 0; i < ranges.size(); ++i) {
    if (!requests[i].status.is_ok()) return false;
    if (ranges[i].length != 0 && std::memcmp(requests[i].out.data(), bytes.data() + ranges[i].offset, ranges[i].length) != 0) return false;
    if (!std::equal(guard.begin(), guard.end(), outs[i].begin()) || !std::equal(guard.rbegin(), guard.rend(), outs[i].rbegin()))
      return false;
  }
  return true;
}

inline std::vector<Range> random_ranges(std::size_t count, std::size_t file_size, std::size_t longest, unsigned seed) {
  std::mt19937_64 random(seed);
  std::vector<Range> ranges;
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t length = random() % (longest + 1);
    ranges.push_back({random() % (file_size - length + 1), length});
  }
  return ranges;
}

// Runs `body` in a forked child; true if it returned true there.
inline bool true_in_child(const std::function<bool()>& body) {
  return in_child([&] {
           try {
             return body() ? 0 : 1;
           } catch (...) {
             return 1;
           }
         }) == 0;
}

// From now on this process gets `error` from system call `number` wherever its third argument is a multiple of `multiple`; cannot be
// undone.
inline void refuse_call(unsigned number, unsigned error, unsigned multiple = 1) {
  sock_filter filter[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 4),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args[2])),
      BPF_STMT(BPF_ALU | BPF_AND | BPF_K, multiple - 1),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog program = {sizeof filter / sizeof filter[0], filter};
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) ::_exit(2);
}

// Open descriptors of io_uring rings in this process.
inline int open_rings() {
  int rings = 0;
  for (int fd = 0; fd < 1024; ++fd) {
    char target[64] = {};
    if (::readlink(("/proc/self/fd/" + std::to_string(fd)).c_str(), target, sizeof target - 1) > 0)
      rings += std::strstr(target, "io_uring") != nullptr;
  }
  return rings;
}

}  // namespace headrace::io
