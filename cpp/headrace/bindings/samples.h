// Index arrays from Python, checked against a dataset's size.
#pragma once

#include <pybind11/numpy.h>

#include <cstdint>
#include <vector>

#include "headrace/base/status.h"

namespace headrace::bindings {

using SampleArray = pybind11::array_t<std::int64_t, pybind11::array::c_style | pybind11::array::forcecast>;

// Throws IndexError for an index outside [0, size).
inline std::vector<std::uint64_t> samples_of(const SampleArray& indices, std::uint64_t size) {
  std::vector<std::uint64_t> samples(static_cast<std::size_t>(indices.size()));
  for (std::size_t i = 0; i < samples.size(); ++i) {
    const std::int64_t index = indices.data()[i];
    if (index < 0 || static_cast<std::uint64_t>(index) >= size) {
      throw pybind11::index_error(
          strf("index %lld is outside the dataset's %llu samples", static_cast<long long>(index), static_cast<unsigned long long>(size)));
    }
    samples[i] = static_cast<std::uint64_t>(index);
  }
  return samples;
}

}  // namespace headrace::bindings
