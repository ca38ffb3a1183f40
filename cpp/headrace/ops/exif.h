// How a camera was held: the orientation that EXIF metadata of a JPEG file names.
//
// Plain function; any thread. Reads only inside `jpeg`, whatever it holds.
#pragma once

#include "headrace/base/bytes.h"

namespace headrace::ops {

// 1 (as stored) to 8, as EXIF counts; 1 where there is none, or none that can be read.
int exif_orientation(Bytes jpeg);

}  // namespace headrace::ops
