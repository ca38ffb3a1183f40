// Images made larger or smaller as Pillow does it, bit for bit: antialiased filters with weights of 22 bits, first along rows, then along
// columns, rounded to 8 bits in between.
//
// An axis says which pixels of the input make which pixels of the output. It may cover a window of the output only, and run backwards: so
// a crop after a resize computes nothing that is cut away, and a flip costs nothing.
//
// Owns nothing but its tables; any thread (buffers are the thread's own). Bits do not depend on the processor.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace headrace::ops {

enum class Filter : std::uint8_t { kNearest, kBox, kBilinear, kHamming, kBicubic, kLanczos };
std::optional<Filter> filter_from_name(std::string_view name);  // "nearest" "box" "bilinear" "hamming" "bicubic" "lanczos"

struct Axis {
  std::uint32_t count = 0;            // pixels of the output
  std::uint32_t most = 0;             // weights of a pixel at most
  std::uint32_t begin = 0, end = 0;   // pixels of the input that are used
  std::vector<std::uint32_t> first;   // [count] first pixel of the input
  std::vector<std::uint32_t> taps;    // [count] how many
  std::vector<std::int32_t> weights;  // [count][most] of 2^22
};

// Pixels [window_begin, window_begin + window_count) of an output of `out_size` pixels that covers [box_begin, box_end) of the input; the
// last one first if `backwards`. REQUIRES: 0 <= box_begin < box_end <= in_size, a window inside the output.
void make_axis(Filter filter, std::uint32_t in_size, double box_begin, double box_end, std::uint32_t out_size, std::uint32_t window_begin,
               std::uint32_t window_count, bool backwards, Axis* axis);

// out[c][y][x], planes of rows.count x columns.count bytes one after the other. `in`: `channels` (1 or 3) interleaved bytes a pixel, of
// which only columns [columns.begin, columns.end) and rows [rows.begin, rows.end) are looked at; it points at pixel (columns.begin,
// rows.begin).
void resample(const std::uint8_t* in, std::size_t stride, std::uint32_t channels, const Axis& columns, const Axis& rows, std::uint8_t* out);

// The same, plainly written: what tests compare with.
void resample_reference(const std::uint8_t* in, std::size_t stride, std::uint32_t channels, const Axis& columns, const Axis& rows,
                        std::uint8_t* out);

}  // namespace headrace::ops
