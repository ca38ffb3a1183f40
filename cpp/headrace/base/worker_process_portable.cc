#include "headrace/base/worker_process.h"

namespace headrace {

bool end_with_parent() { return false; }

}  // namespace headrace
