#include "headrace/bindings/dlpack.h"

namespace py = pybind11;

namespace headrace::bindings {
namespace {

struct Owned {
  DLManagedTensor tensor{};
  storage::Lease lease;
  std::vector<std::int64_t> shape;
};

void drop(DLManagedTensor* tensor) { delete static_cast<Owned*>(tensor->manager_ctx); }

// A capsule that nobody consumed still owns its tensor; a consumed one was renamed.
void drop_capsule(PyObject* capsule) {
  if (PyCapsule_IsValid(capsule, "dltensor") == 0) return;
  auto* tensor = static_cast<DLManagedTensor*>(PyCapsule_GetPointer(capsule, "dltensor"));
  tensor->deleter(tensor);
}

}  // namespace

py::capsule dlpack_capsule(storage::Lease lease, void* data, DLDataType dtype, std::vector<std::int64_t> shape) {
  auto owned = std::make_unique<Owned>();
  owned->lease = std::move(lease);
  owned->shape = std::move(shape);
  owned->tensor.dl_tensor = {data, {1, 0}, static_cast<std::int32_t>(owned->shape.size()), dtype, owned->shape.data(), nullptr, 0};
  owned->tensor.manager_ctx = owned.get();
  owned->tensor.deleter = &drop;
  py::capsule capsule(&owned->tensor, "dltensor", &drop_capsule);
  owned.release();
  return capsule;
}

}  // namespace headrace::bindings
