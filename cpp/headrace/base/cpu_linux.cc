#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <fstream>

#include "headrace/base/cgroup.h"
#include "headrace/base/cpu.h"
#include "headrace/base/placement.h"

namespace headrace {
namespace {

// Above the trainer's own: a loader fills the gaps that the trainer leaves.
constexpr int kNicerThanTrainer = 5;
constexpr int kNicest = 19;
constexpr std::size_t kMostCores = 1 << 16;

}  // namespace

std::vector<int> allowed_cores() {
  // By bytes, since machines have more cores than a cpu_set_t.
  for (std::size_t cores = 1024; cores <= kMostCores; cores *= 4) {
    std::vector<unsigned long> words(cores / (8 * sizeof(unsigned long)));
    const long bytes = syscall(SYS_sched_getaffinity, 0, words.size() * sizeof(unsigned long), words.data());
    if (bytes < 0 && errno == EINVAL) continue;
    std::vector<int> out;
    for (std::size_t core = 0; bytes > 0 && core < static_cast<std::size_t>(bytes) * 8; ++core) {
      if ((words[core / (8 * sizeof(unsigned long))] >> (core % (8 * sizeof(unsigned long))) & 1) != 0)
        out.push_back(static_cast<int>(core));
    }
    return out;
  }
  return {};
}

int available_cores() {
  const auto affinity = std::max<std::size_t>(1, allowed_cores().size());
  return static_cast<int>(std::min(static_cast<double>(affinity), std::max(1.0, std::ceil(cgroup_cores()))));
}

std::uint64_t available_memory_bytes() {
  const auto pages = static_cast<std::uint64_t>(std::max(0L, sysconf(_SC_PHYS_PAGES)));
  const double bytes = static_cast<double>(pages) * static_cast<double>(sysconf(_SC_PAGESIZE));
  return static_cast<std::uint64_t>(std::min(bytes, cgroup_memory_bytes()));
}

std::uint64_t free_memory_bytes(const std::string& root) {
  auto bytes = static_cast<double>(available_memory_bytes());
  std::ifstream lines(root + "/proc/meminfo");
  double kibibytes = 0;
  std::string rest;
  for (std::string name; lines >> name >> kibibytes && std::getline(lines, rest);) {
    if (name == "MemAvailable:") bytes = std::min(bytes, kibibytes * 1024);
  }
  return static_cast<std::uint64_t>(std::min(bytes, cgroup_memory_room_bytes(root)));
}

void prepare_engine_thread(const char* name) {
  char text[16] = {0};
  std::strncpy(text, name, sizeof text - 1);
  pthread_setname_np(pthread_self(), text);
  // The main thread's, not the creator's: that may be an engine thread.
  const int trainer = getpriority(PRIO_PROCESS, static_cast<id_t>(getpid()));
  setpriority(PRIO_PROCESS, static_cast<id_t>(syscall(SYS_gettid)), std::min(kNicest, trainer + kNicerThanTrainer));
  current_placement().apply_to_thread();
}

}  // namespace headrace
