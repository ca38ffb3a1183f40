// The DLPack structures (version 0, "dltensor" capsules), as https://dmlc.github.io/dlpack/latest/c_api.html lays them out,
// and a capsule that shares a batch's memory and keeps its lease.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "headrace/storage/slab_pool.h"

namespace headrace::bindings {

struct DLDevice {
  std::int32_t device_type;  // 1: CPU
  std::int32_t device_id;
};
struct DLDataType {
  std::uint8_t code;  // 0 int, 1 uint, 2 float, 4 bfloat, 5 complex, 6 bool
  std::uint8_t bits;
  std::uint16_t lanes;
};
struct DLTensor {
  void* data;
  DLDevice device;
  std::int32_t ndim;
  DLDataType dtype;
  std::int64_t* shape;
  std::int64_t* strides;
  std::uint64_t byte_offset;
};
struct DLManagedTensor {
  DLTensor dl_tensor;
  void* manager_ctx;
  void (*deleter)(DLManagedTensor*);
};

// A capsule over `data`, C-contiguous, on the CPU; the lease lives until the consumer's tensor dies.
pybind11::capsule dlpack_capsule(storage::Lease lease, void* data, DLDataType dtype, std::vector<std::int64_t> shape);

}  // namespace headrace::bindings
