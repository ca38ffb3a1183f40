// Runs code in a forked child and answers how it ended. Tests only; not under ThreadSanitizer, which cannot follow a fork.
#pragma once

#include <sys/wait.h>
#include <unistd.h>

namespace headrace {

// What `body` returned in the child (0 to 99), or 100 + the signal that ended it. A child that hangs ends by SIGALRM (114).
template <typename Body>
int in_child(Body&& body) {
  constexpr unsigned kHangSeconds = 60;
  const pid_t child = fork();
  if (child < 0) return -1;
  if (child == 0) {
    alarm(kHangSeconds);
    _exit(body());
  }
  int status = 0;
  if (waitpid(child, &status, 0) != child) return -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 100 + WTERMSIG(status);
}

}  // namespace headrace
