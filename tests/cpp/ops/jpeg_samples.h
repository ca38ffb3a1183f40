// JPEG files made for tests, with the library's own compressor.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include <jpeglib.h>

namespace headrace::ops {

struct JpegSample {
  std::uint32_t width = 0, height = 0;
  int quality = 90;
  bool grey = false, progressive = false;
};

// Soft waves with some noise: neither flat nor hopeless to compress.
inline std::vector<std::uint8_t> wave_pixels(std::uint32_t width, std::uint32_t height, std::uint32_t channels) {
  std::vector<std::uint8_t> pixels(std::size_t{width} * height * channels);
  std::uint32_t noise = 12345;
  for (std::size_t y = 0; y < height; ++y) {
    for (std::size_t x = 0; x < width; ++x) {
      for (std::size_t c = 0; c < channels; ++c) {
        noise = noise * 1664525u + 1013904223u;
        pixels[(y * width + x) * channels + c] = static_cast<std::uint8_t>((x * (c + 1) + y * 2) % 200 + (noise >> 27));
      }
    }
  }
  return pixels;
}

inline std::vector<std::uint8_t> make_jpeg(const JpegSample& sample) {
  const std::uint32_t channels = sample.grey ? 1 : 3;
  std::vector<std::uint8_t> pixels = wave_pixels(sample.width, sample.height, channels);
  jpeg_compress_struct info{};
  jpeg_error_mgr errors{};
  info.err = jpeg_std_error(&errors);
  jpeg_create_compress(&info);
  unsigned char* out = nullptr;
  unsigned long size = 0;
  jpeg_mem_dest(&info, &out, &size);
  info.image_width = sample.width;
  info.image_height = sample.height;
  info.input_components = static_cast<int>(channels);
  info.in_color_space = sample.grey ? JCS_GRAYSCALE : JCS_RGB;
  jpeg_set_defaults(&info);
  jpeg_set_quality(&info, sample.quality, TRUE);
  if (sample.progressive) jpeg_simple_progression(&info);
  jpeg_start_compress(&info, TRUE);
  while (info.next_scanline < info.image_height) {
    JSAMPROW row = pixels.data() + std::size_t{info.next_scanline} * sample.width * channels;
    jpeg_write_scanlines(&info, &row, 1);
  }
  jpeg_finish_compress(&info);
  jpeg_destroy_compress(&info);
  std::vector<std::uint8_t> bytes(out, out + size);
  std::free(out);
  return bytes;
}

}  // namespace headrace::ops
