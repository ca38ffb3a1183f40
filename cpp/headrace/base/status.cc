#include "headrace/base/status.h"

#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstring>

namespace headrace {

Status Status::from_errno(int err, std::string_view message) {
  Code code = Code::kIoError;
  if (err == ENOENT) code = Code::kNotFound;
  if (err == EEXIST) code = Code::kAlreadyExists;
  if (err == ENOMEM) code = Code::kOutOfMemory;
  char text[256] = {0};
  const char* reason = strerror_r(err, text, sizeof text);  // GNU form: may return a static string
  std::string full(message);
  full += ": ";
  full += reason;
  if (err == EMFILE) full += " (raise the limit with `ulimit -n`)";
  return {code, std::move(full), err};
}

Status Status::with_context(std::string_view context) const {
  if (is_ok()) return *this;
  return {code_, std::string(context) + ": " + message_, errno_};
}

std::string strf(const char* format, ...) {
  va_list args;
  va_start(args, format);
  va_list again;
  va_copy(again, args);
  const int length = std::vsnprintf(nullptr, 0, format, args);
  va_end(args);
  std::string out(length > 0 ? static_cast<std::size_t>(length) : 0, '\0');
  if (length > 0) std::vsnprintf(out.data(), out.size() + 1, format, again);
  va_end(again);
  return out;
}

}  // namespace headrace
