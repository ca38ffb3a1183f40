#include "headrace/bindings/raise.h"

#include "headrace/bindings/paths.h"

namespace py = pybind11;

namespace headrace::bindings {

const char* exception_name(Code code) {
  switch (code) {
    case Code::kOk: return "";
    case Code::kInvalidArgument: return "ValueError";
    case Code::kNotFound: return "NotFoundError";
    case Code::kAlreadyExists: return "ExistsError";
    case Code::kCorrupt: return "CorruptDataError";
    case Code::kTruncated: return "TruncatedError";
    case Code::kUnsupported: return "UnsupportedVersionError";
    case Code::kLimitExceeded: return "LimitExceededError";
    case Code::kIoError: return "StorageError";
    case Code::kChanged: return "ChangedError";
    case Code::kTimeout: return "LoaderTimeoutError";
    case Code::kForked: return "ForkError";
    case Code::kClosed: return "ClosedError";
    case Code::kOutOfMemory: return "MemoryError";
  }
  return "RuntimeError";
}

void raise(const Status& status) {
  const char* name = exception_name(status.code());
  const py::str message = message_text(status.message());
  if (status.code() == Code::kInvalidArgument || status.code() == Code::kOutOfMemory) {
    PyErr_SetObject(status.code() == Code::kInvalidArgument ? PyExc_ValueError : PyExc_MemoryError, message.ptr());
    throw py::error_already_set();
  }
  const py::object type = py::module_::import("headrace.errors").attr(name);
  const bool is_os = status.code() == Code::kIoError || status.code() == Code::kNotFound || status.code() == Code::kAlreadyExists;
  // OSError(errno, text) fills .errno; with one argument it is left None.
  py::object error = is_os && status.sys_errno() != 0 ? type(status.sys_errno(), message) : type(message);
  PyErr_SetObject(type.ptr(), error.ptr());
  throw py::error_already_set();
}

}  // namespace headrace::bindings
