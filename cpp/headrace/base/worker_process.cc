#include "headrace/base/worker_process.h"

#include <signal.h>
#include <unistd.h>

#include <cerrno>

namespace headrace {
namespace {

volatile sig_atomic_t maker_process = 0;

// Status 0, since torch's loader takes any other, and death by a signal, for a failure of the worker.
void on_terminate(int, siginfo_t* info, void*) {
  if (info->si_pid == maker_process || info->si_pid == getppid()) _exit(0);
}

}  // namespace

Status end_by_word_of(int maker) {
  maker_process = maker;
  struct sigaction action = {};
  action.sa_sigaction = on_terminate;
  action.sa_flags = SA_SIGINFO | SA_RESTART;
  sigemptyset(&action.sa_mask);
  if (sigaction(SIGTERM, &action, nullptr) != 0) return Status::from_errno(errno, "cannot handle SIGTERM in a worker process");
  return {};
}

}  // namespace headrace
