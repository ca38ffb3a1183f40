// Memory for single blocks that come and go: large ones from huge pages that are used again, small ones from malloc.
//
// A block of kSlotBytes or more takes a slot of a region (4 MiB or one slab, huge pages where the kernel gives them) that holds slots of
// one size, so that replacing one block by another costs no page fault. A region whose slots are all free goes back to the system.
//
// Owns:     regions. A Memory is the right to use one slot or piece; it goes back when it dies, on any thread, and may outlive everything.
// Memory:   regions take at most what limit() allows, beyond it malloc serves. A slot is at most an eighth larger than its block.
// Threads:  any. Locks: one mutex around the lists; held while a region is mapped.
// Forking:  not for use in a child; memory that dies there is leaked, since the lock may be held for ever.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace headrace::storage {

class BlockMemory {
 public:
  struct Region;
  // How a block's memory goes back. A default one deletes an array, so that tests and others may fill a Memory with make_unique.
  struct Return {
    std::shared_ptr<Region> region;  // null: malloc
    Return() = default;
    explicit Return(std::shared_ptr<Region> owner) : region(std::move(owner)) {}
    Return(std::default_delete<std::uint8_t[]>) {}  // NOLINT(google-explicit-constructor): unique_ptr converts by it
    Return& operator=(std::default_delete<std::uint8_t[]>) {
      region = nullptr;
      return *this;
    }
    void operator()(std::uint8_t* data) const;
  };
  using Memory = std::unique_ptr<std::uint8_t[], Return>;

  static constexpr std::size_t kSlotBytes = 64u << 10;

  BlockMemory();
  ~BlockMemory();
  BlockMemory(const BlockMemory&) = delete;
  BlockMemory& operator=(const BlockMemory&) = delete;

  // Null if the system has no memory left.
  Memory allocate(std::size_t bytes);
  // What allocate(bytes) takes.
  static std::size_t taken_bytes(std::size_t bytes);
  // Most bytes of regions; those there are stay.
  void set_limit(std::size_t bytes);
  std::size_t region_bytes() const;

 private:
  struct State;
  std::shared_ptr<State> state_;  // with the regions' memory, which may outlive this
};

}  // namespace headrace::storage
