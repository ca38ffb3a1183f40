// Classes laid out over positions, so that every block of them holds each class in its share.
//
// Of a class with the share w of all positions, a block of B has B * w, rounded up or down: the whole part in every block, and one more in
// some. Which blocks have it is a schedule of periodic tasks on as many processors as a block has such places, and Pfair scheduling solves
// it exactly: after any number of blocks each class is less than one position from its share. So what the last, shorter block has is in
// proportion too. Sources: Baruah, Cohen, Plaxton and Varvel 1996 (it exists); Anderson and Srinivasan 2001 (the rule PD2 that finds it).
//
// Pure function; any thread.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "headrace/base/status.h"

namespace headrace::pipeline {

// The class at each position: quotas[k] positions of class k, in blocks of `block`, the last of what is left. Inside a block the classes
// are spread evenly. Takes time in proportion to the positions and to blocks * classes. Errors: kLimitExceeded (more than 2^31 positions,
// or 2^32 blocks * classes), kInvalidArgument (block is 0).
Result<std::vector<std::uint32_t>> proportional(std::span<const std::uint64_t> quotas, std::uint64_t block);

}  // namespace headrace::pipeline
