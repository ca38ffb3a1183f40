// How much of a file is in the page cache, by samples. Linux: residency_linux.cc; elsewhere: residency_portable.cc.
//
// Owns nothing; any thread; reads nothing from the device.
#pragma once

#include <cstdint>

namespace headrace::io {

// The share (0 to 1) of `samples` ranges of 64 KiB, spread over the first `bytes` of the file, that the page cache holds; -1 where the
// system does not tell.
double cached_share(int descriptor, std::uint64_t bytes, unsigned samples);

}  // namespace headrace::io
