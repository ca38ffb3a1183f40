#include "headrace/ops/ascii.h"

#include "headrace/base/multiversion.h"

namespace headrace::ops {
namespace {

HR_MULTIVERSION
std::uint8_t copy_and_collect(const std::uint8_t* __restrict in, std::size_t count, std::uint8_t* __restrict out) {
  std::uint8_t seen = 0;
  for (std::size_t i = 0; i < count; ++i) {
    out[i] = in[i];
    seen |= in[i];
  }
  return seen;
}

}  // namespace

bool copy_ascii(const std::uint8_t* in, std::size_t count, std::uint8_t* out) { return copy_and_collect(in, count, out) < 0x80; }

}  // namespace headrace::ops
