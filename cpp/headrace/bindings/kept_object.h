// A Python object that native code keeps alive, and may let go on any thread.
//
// Engine threads never take the interpreter lock: an object that one of them lets go waits in a list, and the interpreter drops it at
// its next chance (a pending call, or the next object that is kept). At interpreter exit the list is left as it is.
#pragma once

#include <pybind11/pybind11.h>

#include <memory>

namespace headrace::bindings {

// REQUIRES: the interpreter lock is held.
std::shared_ptr<const void> keep_object(pybind11::object object);

}  // namespace headrace::bindings
