// Keeps the signals of people and timers away from threads of ours.
//
// Owns:     the calling thread's signal mask, put back by the destructor. Use on one thread.
#pragma once

#include <signal.h>

#include <initializer_list>

namespace headrace {

// While it lives, threads made by this one are born with every signal blocked that a person or a timer sends, so that the
// process's handlers (Ctrl-C, itimers, profilers) interrupt the user's threads and never a read of ours.
class BlockedSignals {
 public:
  BlockedSignals() {
    sigset_t set;
    sigfillset(&set);
    for (const int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS}) sigdelset(&set, fault);
    pthread_sigmask(SIG_BLOCK, &set, &before_);
  }
  ~BlockedSignals() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  BlockedSignals(const BlockedSignals&) = delete;
  BlockedSignals& operator=(const BlockedSignals&) = delete;

 private:
  sigset_t before_;
};

}  // namespace headrace
