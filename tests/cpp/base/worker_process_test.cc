#include "headrace/base/worker_process.h"

#include <doctest/doctest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

namespace headrace {
namespace {

// A process that has begun as a worker of `maker`; 0 stands for this one. Ends by itself after a minute.
pid_t start_worker(int maker) {
  int ready[2];
  REQUIRE(pipe(ready) == 0);
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    const bool begun = end_by_word_of(maker).is_ok();
    alarm(60);
    if (!begun || write(ready[1], "1", 1) != 1) _exit(9);
    for (;;) pause();
  }
  char word = 0;
  CHECK(read(ready[0], &word, 1) == 1);
  close(ready[0]);
  close(ready[1]);
  return child;
}

TEST_CASE("a worker ends by its maker's word, as if all were well") {
  const pid_t worker = start_worker(getpid());
  REQUIRE(kill(worker, SIGTERM) == 0);
  int status = 0;
  REQUIRE(waitpid(worker, &status, 0) == worker);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
}

TEST_CASE("a worker does not end by anyone else's word") {
  const pid_t worker = start_worker(getpid());
  const pid_t other = fork();
  REQUIRE(other >= 0);
  if (other == 0) _exit(kill(worker, SIGTERM) == 0 ? 0 : 1);
  int status = 0;
  REQUIRE(waitpid(other, &status, 0) == other);
  CHECK(WEXITSTATUS(status) == 0);
  // Signals of one kind are taken in turn: had that one ended it, this one would find no process.
  usleep(50'000);
  CHECK(waitpid(worker, &status, WNOHANG) == 0);
  REQUIRE(kill(worker, SIGTERM) == 0);
  REQUIRE(waitpid(worker, &status, 0) == worker);
  CHECK(WIFEXITED(status));
}

#if defined(__linux__)
TEST_CASE("a worker ends with its parent") {
  int alive[2];
  REQUIRE(pipe(alive) == 0);
  const pid_t parent = fork();
  REQUIRE(parent >= 0);
  if (parent == 0) {
    int ready[2];
    if (pipe(ready) != 0) _exit(1);
    if (fork() == 0) {
      const char word = end_with_parent() ? '1' : '0';
      if (write(ready[1], &word, 1) != 1) _exit(9);
      for (;;) pause();
    }
    char word = 0;
    if (read(ready[0], &word, 1) != 1) word = '0';
    _exit(word == '1' ? 0 : 1);
  }
  close(alive[1]);
  int status = 0;
  REQUIRE(waitpid(parent, &status, 0) == parent);
  CHECK(WEXITSTATUS(status) == 0);
  // The worker is the last that could write here: the end of the file is its end.
  char word = 0;
  CHECK(read(alive[0], &word, 1) == 0);
  close(alive[0]);
}
#endif

}  // namespace
}  // namespace headrace
