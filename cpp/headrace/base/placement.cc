#include "headrace/base/placement.h"

#include <atomic>

namespace headrace {
namespace {

std::atomic<const Placement*> in_force{nullptr};

}  // namespace

const Placement& refresh_placement() {
  const Placement* seen = in_force.load(std::memory_order_acquire);
  const auto* fresh = new Placement(Placement::of_caller());
  if (seen != nullptr && *seen == *fresh) {
    delete fresh;
    return *seen;
  }
  in_force.store(fresh, std::memory_order_release);  // The one before stays: other threads may be reading it.
  return *fresh;
}

const Placement& current_placement() {
  const Placement* seen = in_force.load(std::memory_order_acquire);
  return seen != nullptr ? *seen : refresh_placement();
}

}  // namespace headrace
