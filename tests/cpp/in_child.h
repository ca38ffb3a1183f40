// Runs code in a forked child and answers how it ended. Tests only; not under ThreadSanitizer, which cannot follow a fork.
#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>

namespace headrace {

// Before a fork() under AddressSanitizer: its allocator has locks that no child gets back from a thread that holds one, so this waits
// until all other threads have slept for a while (a second at most). Elsewhere nothing: a fork must be safe at any moment.
inline void let_others_sleep() {
#if defined(__SANITIZE_ADDRESS__)
  const std::string self = std::to_string(gettid());
  const auto asleep = [&] {
    for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
      if (task.path().filename() == self) continue;
      std::string line;
      std::getline(std::ifstream(task.path() / "stat"), line);
      const std::size_t name = line.rfind(')');
      if (name != std::string::npos && line.compare(name, 3, ") S") != 0) return false;
    }
    return true;
  };
  int quiet = 0;
  for (int tries = 0; tries < 500 && quiet < 5; ++tries) {
    quiet = asleep() ? quiet + 1 : 0;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
#endif
}

// What `body` returned in the child (0 to 99), or 100 + the signal that ended it. A child that hangs ends by SIGALRM (114).
template <typename Body>
int in_child(Body&& body) {
  constexpr unsigned kHangSeconds = 60;
  let_others_sleep();
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
