#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <limits>
#include <sstream>
#include <string>

#include "headrace/base/cpu.h"

namespace headrace {
namespace {

// Above every trainer thread's default of 0: a loader fills the gaps that the trainer leaves.
constexpr int kEngineNice = 5;

// Whether a comma-separated list holds a name.
bool lists(const std::string& list, const std::string& name) {
  std::istringstream parts(list);
  for (std::string part; std::getline(parts, part, ',');) {
    if (part == name) return true;
  }
  return false;
}

// Path of this process's cgroup for a v1 controller, or for v2 with an empty name; empty if there is none.
std::string cgroup_path(const std::string& controller) {
  std::ifstream lines("/proc/self/cgroup");
  for (std::string line; std::getline(lines, line);) {
    const auto first = line.find(':');
    const auto second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string names = line.substr(first + 1, second - first - 1);
    if (controller.empty() ? names.empty() : lists(names, controller)) return line.substr(second + 1);
  }
  return {};
}

double read_number(const std::string& path, double otherwise) {
  std::ifstream file(path);
  double value = 0;
  return file >> value ? value : otherwise;
}

// Smallest quota along the path from the root to this process's group, in cores.
double quota_cores() {
  double cores = std::numeric_limits<double>::infinity();
  for (std::string path = cgroup_path(""); !path.empty(); path = path.substr(0, path.find_last_of('/'))) {
    std::ifstream file("/sys/fs/cgroup" + path + "/cpu.max");
    std::string quota;
    double period = 0;
    if (file >> quota >> period && quota != "max" && period > 0) cores = std::min(cores, std::stod(quota) / period);
  }
  for (const std::string& path : {cgroup_path("cpu"), std::string()}) {
    const std::string base = "/sys/fs/cgroup/cpu" + path + "/cpu.cfs_";
    const double quota = read_number(base + "quota_us", -1);
    const double period = read_number(base + "period_us", -1);
    if (quota > 0 && period > 0) cores = std::min(cores, quota / period);
  }
  return cores;
}

}  // namespace

int available_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  int cores = 1;
  if (sched_getaffinity(0, sizeof set, &set) == 0) cores = std::max(1, CPU_COUNT(&set));
  const double quota = quota_cores();
  if (std::isfinite(quota)) cores = std::min(cores, std::max(1, static_cast<int>(std::ceil(quota))));
  return cores;
}

std::uint64_t available_memory_bytes() {
  const auto pages = static_cast<std::uint64_t>(std::max(0L, sysconf(_SC_PHYS_PAGES)));
  double bytes = static_cast<double>(pages) * static_cast<double>(sysconf(_SC_PAGESIZE));
  for (std::string path = cgroup_path(""); !path.empty(); path = path.substr(0, path.find_last_of('/'))) {
    bytes = std::min(bytes, read_number("/sys/fs/cgroup" + path + "/memory.max", bytes));
  }
  for (const std::string& path : {cgroup_path("memory"), std::string()}) {
    bytes = std::min(bytes, read_number("/sys/fs/cgroup/memory" + path + "/memory.limit_in_bytes", bytes));
  }
  return static_cast<std::uint64_t>(bytes);
}

void prepare_engine_thread(const char* name) {
  char text[16] = {0};
  std::strncpy(text, name, sizeof text - 1);
  pthread_setname_np(pthread_self(), text);
  setpriority(PRIO_PROCESS, static_cast<id_t>(syscall(SYS_gettid)), kEngineNice);
}

}  // namespace headrace
