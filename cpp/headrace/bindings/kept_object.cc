#include "headrace/bindings/kept_object.h"

#include <mutex>
#include <utility>
#include <vector>

namespace headrace::bindings {
namespace {

// Never destroyed: engine threads outlive static objects.
struct Dropped {
  std::mutex mutex;
  std::vector<PyObject*> objects;  // guarded by mutex
};
Dropped& dropped() {
  static auto* list = new Dropped();
  return *list;
}

// Runs with the interpreter lock.
int drain(void*) {
  std::vector<PyObject*> objects;
  {
    std::lock_guard lock(dropped().mutex);
    objects.swap(dropped().objects);
  }
  for (PyObject* object : objects) Py_DECREF(object);
  return 0;
}

void drop(PyObject* object) {
  if (Py_IsInitialized() == 0) return;
  if (PyGILState_Check() == 1) {
    Py_DECREF(object);
    return;
  }
  {
    std::lock_guard lock(dropped().mutex);
    dropped().objects.push_back(object);
  }
  (void)Py_AddPendingCall(&drain, nullptr);  // Full: a later one drains this object too.
}

}  // namespace

std::shared_ptr<const void> keep_object(pybind11::object object) {
  drain(nullptr);
  PyObject* raw = object.ptr();
  std::shared_ptr<const void> kept(raw, [](const void* held) { drop(static_cast<PyObject*>(const_cast<void*>(held))); });
  object.release();
  return kept;
}

}  // namespace headrace::bindings
