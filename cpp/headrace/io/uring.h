// Blocking reads through io_uring: up to kRingDepth in flight for one thread. Where the system has no rings: ENOSYS.
//
// Owns:     one ring a thread that reads, made at its first read and closed when the thread ends.
// Threads:  any; rings are not shared, and no lock is held.
// Forking:  the child does not see the parent's ring (its memory is not inherited): the first read there makes a new one. Descriptors of
//           the rings of threads other than the forking one stay open in the child until exec or exit.
#pragma once

#include <span>

#include "headrace/io/transfer.h"

namespace headrace::io {

constexpr unsigned kRingDepth = 64;

// Carries out all transfers that are not settled: 0, or the errno with which the kernel refuses a ring, or took it away on the way: some
// transfers may then be left unsettled, and none is in flight.
int read_with_ring(std::span<Transfer> transfers);
// Makes a ring, and closes it: 0, or the errno with which this process is refused one.
int ring_refusal();

}  // namespace headrace::io
