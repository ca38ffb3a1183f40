// A trained Zstandard dictionary: what small blocks have in common, kept once. FORMAT.md section 6.
//
// Owns:     its bytes, and their digested forms, which all threads share.
// Threads:  immutable; any. One mutex guards the table through which equal dictionaries are shared; nothing waits for it.
// Memory:   equal ones are one in a process, since a decoder's tables should be in its cache once and not once a shard.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "headrace/base/bytes.h"
#include "headrace/base/status.h"

namespace headrace::codec {

class Dictionary {
 public:
  // For decoding: `bytes` as a file holds them. Errors: kCorrupt (not a Zstandard dictionary, or damaged), kOutOfMemory.
  static Result<std::shared_ptr<const Dictionary>> make(Bytes bytes);
  // Trains one of at most `max_bytes` on samples that lie one after the other in `samples`. Depends on its arguments alone.
  // Errors: kInvalidArgument where there is too little to learn from; kOutOfMemory.
  static Result<std::shared_ptr<const Dictionary>> train(Bytes samples, std::span<const std::size_t> sizes, std::size_t max_bytes);
  ~Dictionary();
  Dictionary(const Dictionary&) = delete;
  Dictionary& operator=(const Dictionary&) = delete;

  Bytes bytes() const { return bytes_; }
  const void* decoder() const { return decoder_; }  // ZSTD_DDict
  // ZSTD_CDict of a level, made when first asked for; null if there is no memory.
  const void* encoder(int level) const;

 private:
  struct Encoders;
  Dictionary();
  std::vector<std::uint8_t> bytes_;
  void* decoder_ = nullptr;
  std::unique_ptr<Encoders> encoders_;
};

}  // namespace headrace::codec
