#include "headrace/base/numa.h"

#include <algorithm>
#include <charconv>
#include <fstream>

namespace headrace {
namespace {

constexpr int kMostNumbers = 1 << 16;  // beyond every kernel's cores and nodes

// Reads one number at the front of `text`, and takes it off.
bool take_number(std::string_view& text, int* out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *out);
  if (error != std::errc() || *out < 0 || *out >= kMostNumbers) return false;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return true;
}

std::optional<std::vector<int>> read_list(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  if (!file) return std::nullopt;
  std::getline(file, line);
  return parse_number_list(line);
}

}  // namespace

std::optional<std::vector<int>> parse_number_list(std::string_view text) {
  std::vector<int> out;
  while (!text.empty()) {
    int first = 0;
    if (!take_number(text, &first)) return std::nullopt;
    int last = first;
    if (!text.empty() && text.front() == '-') {
      text.remove_prefix(1);
      if (!take_number(text, &last) || last < first) return std::nullopt;
    }
    for (int number = first; number <= last; ++number) out.push_back(number);
    if (text.empty()) break;
    if (text.front() != ',' || text.size() == 1) return std::nullopt;
    text.remove_prefix(1);
  }
  return out;
}

std::vector<int> home_nodes(const std::vector<int>& cores, const std::string& root) {
  const std::string folder = root + "/sys/devices/system/node/";
  const auto nodes = read_list(folder + "online");
  std::vector<int> home;
  std::size_t with_cores = 0;
  for (const int node : nodes.value_or(std::vector<int>())) {
    const auto held = read_list(folder + "node" + std::to_string(node) + "/cpulist");
    if (!held || held->empty()) continue;  // Memory without cores (of a device, or on a bus) is nobody's home.
    ++with_cores;
    const bool ours =
        std::any_of(held->begin(), held->end(), [&](int core) { return std::find(cores.begin(), cores.end(), core) != cores.end(); });
    if (ours) home.push_back(node);
  }
  return home.size() == with_cores ? std::vector<int>() : home;
}

}  // namespace headrace
