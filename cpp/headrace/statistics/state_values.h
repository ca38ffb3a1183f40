// Arrays of numbers in the saved state of an accumulator: side by side, as many as the reader knows there to be.
#pragma once

#include <cstdint>
#include <cstring>
#include <vector>

#include "headrace/base/bytes.h"

namespace headrace::statistics {

template <typename T>
void write_all(ByteWriter& out, const std::vector<T>& values) {
  out.write_bytes({reinterpret_cast<const std::uint8_t*>(values.data()), values.size() * sizeof(T)});
}

// As many as `values` holds; where there are fewer, `in` is not ok() afterwards.
template <typename T>
void read_all(ByteReader& in, std::vector<T>& values) {
  const Bytes bytes = in.read_bytes(values.size() * sizeof(T));
  if (!bytes.empty()) std::memcpy(values.data(), bytes.data(), bytes.size());
}

}  // namespace headrace::statistics
