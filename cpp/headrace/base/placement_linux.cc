#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <string_view>

#include "headrace/base/cpu.h"
#include "headrace/base/numa.h"
#include "headrace/base/placement.h"

// By number and value, so that no libnuma is needed: it is the only one that declares them.
namespace headrace {
namespace {

constexpr int kDefaultPolicy = 0;        // MPOL_DEFAULT
constexpr int kPreferredPolicy = 1;      // MPOL_PREFERRED: one node
constexpr int kPreferredManyPolicy = 5;  // MPOL_PREFERRED_MANY, Linux 5.15
constexpr std::size_t kWordBits = 8 * sizeof(unsigned long);

// A set of numbers as the kernel's calls take it.
std::vector<unsigned long> bits_of(const std::vector<int>& numbers) {
  std::vector<unsigned long> words(1);
  for (const int number : numbers) {
    const std::size_t word = static_cast<std::size_t>(number) / kWordBits;
    words.resize(std::max(words.size(), word + 1));
    words[word] |= 1ul << static_cast<std::size_t>(number) % kWordBits;
  }
  return words;
}

bool has_policy_of_its_own() {
  int mode = kDefaultPolicy;
  return syscall(SYS_get_mempolicy, &mode, nullptr, 0, nullptr, 0) == 0 && mode != kDefaultPolicy;
}

bool is_switched_off() {
  const char* text = std::getenv("HEADRACE_NUMA");
  return text != nullptr && std::string_view(text) == "off";
}

int policy_for(const std::vector<int>& nodes) { return nodes.size() == 1 ? kPreferredPolicy : kPreferredManyPolicy; }

}  // namespace

Placement Placement::of_caller(const std::string& root) {
  Placement out;
  out.cores = allowed_cores();
  out.num_cores = available_cores();
  if (!is_switched_off() && !has_policy_of_its_own()) out.nodes = home_nodes(out.cores, root);
  return out;
}

void Placement::apply_to_thread() const {
  thread_local bool bound = false;  // its memory, by an earlier placement
  if (!cores.empty()) {
    const std::vector<unsigned long> set = bits_of(cores);
    (void)syscall(SYS_sched_setaffinity, 0, set.size() * sizeof(unsigned long), set.data());
  }
  if (nodes.empty()) {
    if (bound) (void)syscall(SYS_set_mempolicy, kDefaultPolicy, nullptr, 0);
    bound = false;
    return;
  }
  const std::vector<unsigned long> set = bits_of(nodes);
  // The kernel takes one bit less than it is told of.
  bound = syscall(SYS_set_mempolicy, policy_for(nodes), set.data(), set.size() * kWordBits + 1) == 0 || bound;
}

void Placement::apply_to_memory(void* begin, std::size_t bytes) const {
  if (nodes.empty()) return;
  const std::vector<unsigned long> set = bits_of(nodes);
  (void)syscall(SYS_mbind, begin, bytes, policy_for(nodes), set.data(), set.size() * kWordBits + 1, 0);
}

}  // namespace headrace
