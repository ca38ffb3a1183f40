// Paths and messages across the border: a path is bytes to the system, and what is not UTF-8 in it must survive the way there and back.
//
// REQUIRES, for all: the interpreter lock is held.
#pragma once

#include <pybind11/pybind11.h>

#include <string>
#include <string_view>

namespace headrace::bindings {

// The bytes of a str, bytes or os.PathLike. Throws TypeError for anything else, ValueError for a NUL inside.
std::string file_path(const pybind11::object& path);
// A path as os.fsdecode() gives it.
pybind11::str path_text(const std::string& path);
// Text of the core, UTF-8 but for paths in it; bytes that are not become lone surrogates, as in Python's own messages.
pybind11::str message_text(std::string_view text);

}  // namespace headrace::bindings
