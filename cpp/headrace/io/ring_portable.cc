#include <cerrno>

#include "headrace/io/ring.h"

namespace headrace::io {

Ring::Mapping::~Mapping() = default;
Ring::~Ring() = default;

std::unique_ptr<Ring> Ring::make(unsigned, int& error) {
  error = ENOSYS;
  return nullptr;
}

// None of these is ever called: there is no ring.
void Ring::forget_memory() {}
unsigned Ring::unsubmitted() const { return 0; }
void Ring::push_read(int, std::uint64_t, std::uint8_t*, std::size_t, std::uint64_t) {}
void Ring::prepare_wake() {}
bool Ring::push_wake(std::uint64_t) { return false; }
void Ring::wake() const {}
int Ring::enter() { return ENOSYS; }
void Ring::reap(std::vector<Answer>&) {}
void Ring::drain(std::vector<Answer>&) {}

}  // namespace headrace::io
