// How a camera was held: the orientation that EXIF metadata of a JPEG, PNG or WebP file names.
//
// Plain function; any thread. Reads only inside `image`, whatever it holds.
#pragma once

#include "headrace/base/bytes.h"

namespace headrace::ops {

// 1 (as stored) to 8, as EXIF counts; 1 where there is none, or none that can be read.
int exif_orientation(Bytes image);

}  // namespace headrace::ops
