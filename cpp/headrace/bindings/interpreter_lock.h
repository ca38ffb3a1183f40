// Runs native work without the interpreter lock.
//
// Not pybind11's gil_scoped_release: in a thread that is still waiting when the interpreter ends, taking the lock again unwinds the thread
// (up to Python 3.13), and out of a destructor that ends the whole process.
#pragma once

#include <pybind11/pybind11.h>

namespace headrace::bindings {

// REQUIRES: the lock is held; `work` neither throws nor touches Python.
template <typename Work>
auto without_lock(const Work& work) {
  PyThreadState* state = PyEval_SaveThread();
  auto result = work();
  PyEval_RestoreThread(state);
  return result;
}

}  // namespace headrace::bindings
