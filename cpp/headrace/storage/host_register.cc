#include "headrace/storage/host_register.h"

#include <atomic>
#include <forward_list>
#include <mutex>
#include <system_error>
#include <thread>

namespace headrace::storage {
namespace {

constexpr unsigned kPortable = 1;  // cudaHostRegisterPortable: locked for every device of the process

std::atomic<const HostRegister*> host_register{nullptr};

void release(const HostRegister& cuda, void* data) {
  if (cuda.unlock(data) != 0 && cuda.clear_error != nullptr) (void)cuda.clear_error();
}

}  // namespace

void set_host_register(const HostRegister& functions) {
  // Never freed: slabs may outlive static destructors.
  static std::mutex& mutex = *new std::mutex;
  static auto& all = *new std::forward_list<HostRegister>;
  std::lock_guard lock(mutex);
  if (functions.lock == nullptr || functions.unlock == nullptr) {
    host_register.store(nullptr);
    return;
  }
  host_register.store(&all.emplace_front(functions));
}

bool has_host_register() { return host_register.load() != nullptr; }

bool PageLock::lock(void* data, std::size_t bytes) {
  const HostRegister* cuda = host_register.load();
  if (cuda == nullptr) return false;
  if (cuda->lock(data, bytes, kPortable) != 0) {
    if (cuda->clear_error != nullptr) (void)cuda->clear_error();
    return false;
  }
  if (cuda->get_device == nullptr || cuda->set_device == nullptr || cuda->get_device(&device_) != 0) device_ = -1;
  by_ = cuda;
  return true;
}

void PageLock::unlock(void* data) {
  const HostRegister& cuda = *by_;
  by_ = nullptr;
  int current = -1;
  if (device_ < 0 || (cuda.get_device(&current) == 0 && current == device_)) return release(cuda, data);
  try {
    // Not by a change of this thread's device: to change it back would make a context there.
    std::thread([&] {
      (void)cuda.set_device(device_);
      release(cuda, data);
    }).join();
  } catch (const std::system_error&) {
    release(cuda, data);  // No thread to be had: better a context too many than memory that stays locked.
  }
}

}  // namespace headrace::storage
