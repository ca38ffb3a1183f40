#include <signal.h>
#include <sys/prctl.h>

#include "headrace/base/worker_process.h"

namespace headrace {

bool end_with_parent() { return prctl(PR_SET_PDEATHSIG, SIGKILL) == 0; }

}  // namespace headrace
