// Batches whose files change while they are built, or whose samples are damaged.
#pragma once

#include <vector>

#include "headrace/pipeline/batch.h"
#include "headrace/pipeline/pass.h"

namespace headrace::pipeline {

// Takes damaged samples out, or draws others, until a batch can be built. Returns what was taken out. Once all pieces of the job have run,
// on one thread; what cannot be repaired is in job.status.
std::vector<Skipped> repair(Pass& pass, Job& job);

}  // namespace headrace::pipeline
