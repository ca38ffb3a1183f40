#include "headrace/storage/sealed_memory.h"

namespace headrace::storage {

namespace {
Status unsupported() { return {Code::kUnsupported, "share memory between processes: only Linux has sealed memory files"}; }
}  // namespace

bool close_in_children(int) { return true; }
void forget_descriptor(int) {}
SealedMemory::~SealedMemory() = default;
Result<std::shared_ptr<SealedMemory>> SealedMemory::create(std::size_t) { return unsupported(); }
Result<std::shared_ptr<SealedMemory>> SealedMemory::adopt(int, std::size_t) { return unsupported(); }
Status SealedMemory::seal(std::size_t) { return unsupported(); }
Status SealedMemory::map_readable() { return unsupported(); }

}  // namespace headrace::storage
