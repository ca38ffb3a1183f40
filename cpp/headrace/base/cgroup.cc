#include "headrace/base/cgroup.h"

#include <algorithm>
#include <fstream>
#include <functional>
#include <limits>
#include <sstream>

namespace headrace {
namespace {

constexpr double kNone = std::numeric_limits<double>::infinity();

// Whether a comma-separated list holds a name.
bool lists(const std::string& list, const std::string& name) {
  std::istringstream parts(list);
  for (std::string part; std::getline(parts, part, ',');) {
    if (part == name) return true;
  }
  return false;
}

// Path of this process's group for a controller of version 1, or for version 2 with an empty name; empty if there is none.
// Lines are "number:controllers:path".
std::string group_path(const std::string& root, const std::string& controller) {
  std::ifstream lines(root + "/proc/self/cgroup");
  for (std::string line; std::getline(lines, line);) {
    const auto first = line.find(':');
    const auto second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string names = line.substr(first + 1, second - first - 1);
    if (controller.empty() ? names.empty() : lists(names, controller)) return line.substr(second + 1);
  }
  return {};
}

// The first number of a file; `otherwise` if there is none ("max", no file).
double read_number(const std::string& path, double otherwise) {
  std::ifstream file(path);
  double value = 0;
  return file >> value ? value : otherwise;
}

// The smallest limit of a group and all around it. The root is looked at whatever the path: in a container it is the group itself, while
// the path may be that of the host.
double smallest(std::string path, const std::function<double(const std::string& path)>& limit) {
  double found = limit("");
  while (path.size() > 1) {
    found = std::min(found, limit(path));
    path.resize(path.find_last_of('/') == std::string::npos ? 0 : path.find_last_of('/'));
  }
  return found;
}

double cores_v2(const std::string& folder) {
  std::ifstream file(folder + "/cpu.max");
  double quota = 0, period = 0;
  return file >> quota >> period && quota > 0 && period > 0 ? quota / period : kNone;
}

double cores_v1(const std::string& folder) {
  const double quota = read_number(folder + "/cpu.cfs_quota_us", -1);
  const double period = read_number(folder + "/cpu.cfs_period_us", -1);
  return quota > 0 && period > 0 ? quota / period : kNone;
}

double memory_limit(const std::string& file) {
  const double bytes = read_number(file, kNone);
  return bytes > 0 ? bytes : kNone;
}

// The sum of some of a file's lines "name number".
double sum_of(const std::string& path, const std::string& first, const std::string& second) {
  std::ifstream lines(path);
  double sum = 0, value = 0;
  for (std::string name; lines >> name >> value;) {
    if ((name == first || name == second) && value > 0) sum += value;
  }
  return sum;
}

// Of one group: its limit, less what is used of it and cannot be dropped.
double room(double limit, double used, double files) { return limit == kNone ? kNone : std::max(0.0, limit - std::max(0.0, used - files)); }

double room_v2(const std::string& folder) {
  return room(memory_limit(folder + "/memory.max"), read_number(folder + "/memory.current", 0),
              sum_of(folder + "/memory.stat", "inactive_file", "active_file"));
}

double room_v1(const std::string& folder) {
  return room(memory_limit(folder + "/memory.limit_in_bytes"), read_number(folder + "/memory.usage_in_bytes", 0),
              sum_of(folder + "/memory.stat", "total_inactive_file", "total_active_file"));
}

}  // namespace

double cgroup_cores(const std::string& root) {
  const std::string groups = root + "/sys/fs/cgroup";
  const double v2 = smallest(group_path(root, ""), [&](const std::string& path) { return cores_v2(groups + path); });
  const double v1 = smallest(group_path(root, "cpu"), [&](const std::string& path) { return cores_v1(groups + "/cpu" + path); });
  return std::min(v1, v2);
}

double cgroup_memory_bytes(const std::string& root) {
  const std::string groups = root + "/sys/fs/cgroup";
  const double v2 = smallest(group_path(root, ""), [&](const std::string& path) { return memory_limit(groups + path + "/memory.max"); });
  const double v1 = smallest(group_path(root, "memory"),
                             [&](const std::string& path) { return memory_limit(groups + "/memory" + path + "/memory.limit_in_bytes"); });
  return std::min(v1, v2);
}

double cgroup_memory_room_bytes(const std::string& root) {
  const std::string groups = root + "/sys/fs/cgroup";
  const double v2 = smallest(group_path(root, ""), [&](const std::string& path) { return room_v2(groups + path); });
  const double v1 = smallest(group_path(root, "memory"), [&](const std::string& path) { return room_v1(groups + "/memory" + path); });
  return std::min(v1, v2);
}

}  // namespace headrace
