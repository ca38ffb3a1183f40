// Brings parts of a mapped file into memory before they are needed, side by side, where the kernel would do it only while a thread waits: a
// mapping that is expected whole is populated a huge page at a time.
//
// Owns:     its threads, up to kPopulateThreads a process, retired after 30 s without work; they share the mappings.
// Threads:  any.
// Forking:  a child has threads of its own.
#pragma once

#include <cstdint>
#include <memory>

#include "headrace/storage/mapping.h"

namespace headrace::io {

// They do nothing but wait for the device: each has one huge page (and what the kernel reads ahead of it) under way.
constexpr int kPopulateThreads = 16;

// Starts populating those huge-page ranges of [offset, offset + length) that are not in memory, once each, and returns. Errors are met by
// whoever populates the range because he needs it. REQUIRES: mapping->is_whole().
void populate_ahead(const std::shared_ptr<const storage::Mapping>& mapping, std::uint64_t offset, std::uint64_t length);

}  // namespace headrace::io
