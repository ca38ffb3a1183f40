#include "headrace/codec/dictionary.h"

#include <zdict.h>
#include <zstd.h>

#include <map>
#include <mutex>
#include <unordered_map>

#include "headrace/codec/checksum.h"

namespace headrace::codec {
namespace {

constexpr std::uint32_t kDictionaryMagic = 0xEC30A437;
constexpr std::size_t kMinBytes = 256;  // less cannot hold its entropy tables

// Dictionaries of this process by the hash of their bytes. Never destroyed: shards may outlive static objects.
struct Table {
  std::mutex mutex;
  std::unordered_map<std::uint64_t, std::weak_ptr<const Dictionary>> entries;
};

Table& table() {
  static Table* const shared = new Table();
  return *shared;
}

}  // namespace

struct Dictionary::Encoders {
  std::mutex mutex;
  std::map<int, ZSTD_CDict*> by_level;
};

Dictionary::Dictionary() : encoders_(std::make_unique<Encoders>()) {}

Dictionary::~Dictionary() {
  ZSTD_freeDDict(static_cast<ZSTD_DDict*>(decoder_));
  for (const auto& [level, encoder] : encoders_->by_level) ZSTD_freeCDict(encoder);
}

Result<std::shared_ptr<const Dictionary>> Dictionary::make(Bytes bytes) {
  if (bytes.size() < kMinBytes || load_le<std::uint32_t>(bytes.data()) != kDictionaryMagic) {
    return Status(Code::kCorrupt, strf("a dictionary of %zu bytes is none: expected at least %zu, and Zstandard's magic in front",
                                       bytes.size(), kMinBytes));
  }
  const std::uint64_t key = hash(bytes, 0);
  // Not waited for: after a fork it may be locked for ever, and a copy of one's own is only slower.
  std::unique_lock lock(table().mutex, std::try_to_lock);
  if (lock.owns_lock()) {
    const std::shared_ptr<const Dictionary> known = table().entries[key].lock();
    if (known != nullptr && known->bytes_.size() == bytes.size() && std::equal(bytes.begin(), bytes.end(), known->bytes_.begin()))
      return known;
  }
  std::shared_ptr<Dictionary> made(new Dictionary());
  made->bytes_.assign(bytes.begin(), bytes.end());
  made->decoder_ = ZSTD_createDDict(made->bytes_.data(), made->bytes_.size());
  if (made->decoder_ == nullptr)
    return Status(Code::kCorrupt, strf("a dictionary of %zu bytes: Zstandard cannot read its tables", bytes.size()));
  if (lock.owns_lock()) {
    std::erase_if(table().entries, [](const auto& entry) { return entry.second.expired(); });
    table().entries[key] = made;
  }
  return std::shared_ptr<const Dictionary>(std::move(made));
}

Result<std::shared_ptr<const Dictionary>> Dictionary::train(Bytes samples, std::span<const std::size_t> sizes, std::size_t max_bytes) {
  std::vector<std::uint8_t> content(max_bytes);
  const std::size_t size =
      ZDICT_trainFromBuffer(content.data(), content.size(), samples.data(), sizes.data(), static_cast<unsigned>(sizes.size()));
  if (ZDICT_isError(size) != 0) {
    return Status(Code::kInvalidArgument,
                  strf("train a dictionary of %zu bytes on %zu of samples: %s", max_bytes, samples.size(), ZDICT_getErrorName(size)));
  }
  content.resize(size);
  return make(content);
}

const void* Dictionary::encoder(int level) const {
  std::lock_guard lock(encoders_->mutex);
  ZSTD_CDict*& made = encoders_->by_level[level];
  if (made == nullptr) made = ZSTD_createCDict(bytes_.data(), bytes_.size(), level);
  return made;
}

}  // namespace headrace::codec
