// The one place where a Status becomes a Python exception: the classes of headrace/errors.py.
//
// REQUIRES, for all: the interpreter lock is held.
#pragma once

#include <pybind11/pybind11.h>

#include <utility>

#include "headrace/base/status.h"

namespace headrace::bindings {

// Throws the exception for an error status (pybind11::error_already_set). REQUIRES: !status.is_ok().
[[noreturn]] void raise(const Status& status);
// The exception class's name for a code: for reports that list errors.
const char* exception_name(Code code);

inline void check(const Status& status) {
  if (!status.is_ok()) raise(status);
}
template <typename T>
T unwrap(Result<T> result) {
  if (!result.is_ok()) raise(result.status());
  return std::move(*result);
}

}  // namespace headrace::bindings
