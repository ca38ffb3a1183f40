#include "headrace/base/cpu.h"
#include "headrace/base/placement.h"

namespace headrace {

Placement Placement::of_caller(const std::string&) { return {{}, {}, available_cores()}; }

void Placement::apply_to_thread() const {}

void Placement::apply_to_memory(void*, std::size_t) const {}

}  // namespace headrace
