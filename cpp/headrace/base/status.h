// The one error type of the core: a code that picks the Python exception, and a message for a person.
//
// Values, not exceptions, because a read fails on one thread and is reported on another.
// Message order: action, object (path, chunk, field, byte offset), expected, found, remedy.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace headrace {

enum class Code : std::uint8_t {
  kOk = 0,
  kInvalidArgument,  // ValueError
  kNotFound,         // FileNotFoundError
  kAlreadyExists,    // FileExistsError
  kCorrupt,          // CorruptDataError
  kTruncated,        // TruncatedError, a CorruptDataError
  kUnsupported,      // UnsupportedVersionError
  kLimitExceeded,    // LimitExceededError
  kIoError,          // StorageError, an OSError; sys_errno is kept
  kChanged,          // ChangedError: the file is not the one that the manifest names
  kTimeout,          // TimeoutError
  kForked,           // ForkError
  kClosed,           // ClosedError
  kOutOfMemory,      // MemoryError
};

class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(Code code, std::string message, int sys_errno = 0) : code_(code), errno_(sys_errno), message_(std::move(message)) {}

  static Status ok() { return {}; }
  // Builds "message: strerror(err)" with code kIoError, or kNotFound / kAlreadyExists / kOutOfMemory where errno says so.
  static Status from_errno(int err, std::string_view message);

  bool is_ok() const { return code_ == Code::kOk; }
  explicit operator bool() const { return is_ok(); }
  Code code() const { return code_; }
  int sys_errno() const { return errno_; }
  const std::string& message() const { return message_; }

  // Returns the same error with `context` put before the message.
  Status with_context(std::string_view context) const;

 private:
  Code code_ = Code::kOk;
  int errno_ = 0;
  std::string message_;
};

// A value or the Status that says why there is none.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}         // NOLINT: implicit on purpose
  Result(Status status) : state_(std::in_place_index<1>, std::move(status)) {}  // NOLINT: implicit on purpose

  bool is_ok() const { return state_.index() == 0; }
  explicit operator bool() const { return is_ok(); }
  // REQUIRES: is_ok().
  T& value() & { return std::get<0>(state_); }
  const T& value() const& { return std::get<0>(state_); }
  T&& value() && { return std::get<0>(std::move(state_)); }
  T* operator->() { return &std::get<0>(state_); }
  const T* operator->() const { return &std::get<0>(state_); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  Status status() const { return is_ok() ? Status() : std::get<1>(state_); }

 private:
  std::variant<T, Status> state_;
};

// printf into a std::string (gcc 12 has no std::format).
std::string strf(const char* format, ...) __attribute__((format(printf, 1, 2)));

}  // namespace headrace

#define HR_CONCAT_INNER(a, b) a##b
#define HR_CONCAT(a, b) HR_CONCAT_INNER(a, b)
// Returns from the calling function if `expr` is an error.
#define HR_RETURN_IF_ERROR(expr)                \
  do {                                          \
    ::headrace::Status hr_status_ = (expr);     \
    if (!hr_status_.is_ok()) return hr_status_; \
  } while (false)
// HR_ASSIGN_OR_RETURN(auto x, f()) : binds the value of a Result or returns its status.
#define HR_ASSIGN_OR_RETURN(lhs, expr) HR_ASSIGN_OR_RETURN_IMPL(HR_CONCAT(hr_result_, __LINE__), lhs, expr)
#define HR_ASSIGN_OR_RETURN_IMPL(tmp, lhs, expr) \
  auto tmp = (expr);                             \
  if (!tmp.is_ok()) return tmp.status();         \
  lhs = std::move(tmp).value()
