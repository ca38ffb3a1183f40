#include "headrace/io/residency.h"

namespace headrace::io {

double cached_share(int, std::uint64_t, unsigned) { return -1; }

}  // namespace headrace::io
