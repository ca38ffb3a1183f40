#include "headrace/storage/fault_guard.h"

#include <signal.h>
#include <sys/mman.h>

#include <atomic>
#include <cerrno>
#include <utility>

#include "headrace/storage/kernel.h"

namespace headrace::storage {

// Ranges form a list that the handler walks; they are used again, never freed, so that it may walk at any moment.
struct FaultGuard::Range {
  std::atomic<bool> taken{true};
  std::atomic<std::uintptr_t> begin{0}, end{0};  // equal: guards nothing
  std::atomic<std::uint64_t> faults{0};
  Range* next = nullptr;
};

// What the handler needs, in one place: only lock-free atomics, and a `before` that is written once, before the handler can run.
struct FaultGuard::Signal {
  static std::atomic<Range*> first;
  static std::atomic<int> unused;  // ranges that nobody has taken
  static std::atomic<bool> handled;
  static struct sigaction before;

  static void install() {
    if (handled.exchange(true)) return;
    (void)page_bytes();  // Not first in the handler: a static's initialisation takes a lock.
    if (::sigaction(SIGBUS, nullptr, &before) != 0) return;
    struct sigaction action = {};
    action.sa_sigaction = on_bus_error;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigemptyset(&action.sa_mask);
    (void)::sigaction(SIGBUS, &action, nullptr);
  }

  static void on_bus_error(int signal, siginfo_t* info, void* context) {
    const int error = errno;
    if (info->si_code <= 0 || !put_zeros(reinterpret_cast<std::uintptr_t>(info->si_addr))) pass_on(signal, info, context);
    errno = error;
  }

  static bool put_zeros(std::uintptr_t at) {
    for (Range* range = first.load(); range != nullptr; range = range->next) {
      if (at < range->begin.load() || at >= range->end.load()) continue;
      // Counted before the page can be seen: who reads a zero of it finds the count grown.
      range->faults.fetch_add(1);
      void* page = reinterpret_cast<void*>(at / page_bytes() * page_bytes());
      return ::mmap(page, page_bytes(), PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED;
    }
    return false;
  }

  static void pass_on(int signal, siginfo_t* info, void* context) {
    if ((before.sa_flags & SA_SIGINFO) != 0) return before.sa_sigaction(signal, info, context);
    if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN) return before.sa_handler(signal);
    (void)::sigaction(signal, &before, nullptr);
    if (info->si_code <= 0) (void)::raise(signal);  // Somebody sent it; else the access is repeated, and raises it again.
  }
};

std::atomic<FaultGuard::Range*> FaultGuard::Signal::first{nullptr};
std::atomic<int> FaultGuard::Signal::unused{0};
std::atomic<bool> FaultGuard::Signal::handled{false};
struct sigaction FaultGuard::Signal::before = {};

FaultGuard::FaultGuard(const void* begin, std::size_t bytes) {
  Signal::install();
  for (Range* range = Signal::unused.load() > 0 ? Signal::first.load() : nullptr; range != nullptr; range = range->next) {
    if (range->taken.exchange(true)) continue;
    Signal::unused.fetch_sub(1);
    range_ = range;
    break;
  }
  if (range_ == nullptr) {
    range_ = new Range();
    Range* next = Signal::first.load();
    do {
      range_->next = next;
    } while (!Signal::first.compare_exchange_weak(next, range_));
  }
  const auto from = reinterpret_cast<std::uintptr_t>(begin);
  range_->faults.store(0);
  range_->begin.store(from);
  range_->end.store(from + bytes);
}

FaultGuard::~FaultGuard() {
  if (range_ == nullptr) return;
  range_->end.store(0);
  range_->begin.store(0);
  range_->taken.store(false);
  Signal::unused.fetch_add(1);
}

FaultGuard::FaultGuard(FaultGuard&& other) noexcept : range_(std::exchange(other.range_, nullptr)) {}

FaultGuard& FaultGuard::operator=(FaultGuard&& other) noexcept {
  std::swap(range_, other.range_);
  return *this;
}

std::uint64_t FaultGuard::faults() const { return range_ == nullptr ? 0 : range_->faults.load(); }

}  // namespace headrace::storage
