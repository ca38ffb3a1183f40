#include "headrace/ops/exif.h"

#include <cstdint>
#include <cstring>

#include "headrace/ops/whole_image.h"

namespace headrace::ops {
namespace {

constexpr std::uint16_t kOrientationTag = 0x0112;

// Numbers of a TIFF structure, in the byte order that it names; 0 beyond its end.
class Tiff {
 public:
  Tiff(Bytes bytes, bool big_endian) : bytes_(bytes), big_endian_(big_endian) {}
  std::uint32_t u16(std::size_t at) const {
    if (at + 2 > bytes_.size()) return 0;
    return big_endian_ ? bytes_[at] << 8u | bytes_[at + 1] : bytes_[at + 1] << 8u | bytes_[at];
  }
  std::uint32_t u32(std::size_t at) const { return big_endian_ ? u16(at) << 16 | u16(at + 2) : u16(at + 2) << 16 | u16(at); }

 private:
  Bytes bytes_;
  bool big_endian_;
};

int orientation_of(Bytes tiff) {
  if (tiff.size() < 8) return 1;
  const bool big_endian = tiff[0] == 'M';
  if (std::memcmp(tiff.data(), big_endian ? "MM" : "II", 2) != 0) return 1;
  const Tiff values(tiff, big_endian);
  const std::size_t directory = values.u32(4);
  const std::uint32_t entries = values.u16(directory);
  for (std::size_t i = 0; i < entries && directory + 2 + i * 12 + 12 <= tiff.size(); ++i) {
    const std::size_t at = directory + 2 + i * 12;
    if (values.u16(at) != kOrientationTag) continue;
    const std::uint32_t value = values.u16(at + 8);
    return value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
  }
  return 1;
}

// Some writers put JPEG's name of the segment before it.
int orientation_behind_name(Bytes exif) {
  const bool is_named = exif.size() > 6 && std::memcmp(exif.data(), "Exif\0\0", 6) == 0;
  return orientation_of(is_named ? exif.subspan(6) : exif);
}

int jpeg_orientation(Bytes jpeg) {
  std::size_t at = 2;  // behind the start-of-image marker
  while (at + 4 <= jpeg.size() && jpeg[at] == 0xFF) {
    const std::uint8_t marker = jpeg[at + 1];
    if (marker == 0xFF) {  // a fill byte
      ++at;
      continue;
    }
    if (marker == 0xDA || marker == 0xD9) return 1;
    const std::size_t length = static_cast<std::size_t>(jpeg[at + 2]) << 8 | jpeg[at + 3];
    if (length < 2 || at + 2 + length > jpeg.size()) return 1;
    const Bytes payload = jpeg.subspan(at + 4, length - 2);
    if (marker == 0xE1 && payload.size() > 6 && std::memcmp(payload.data(), "Exif\0\0", 6) == 0) return orientation_of(payload.subspan(6));
    at += 2 + length;
  }
  return 1;
}

// Chunks of PNG: length, name, content, checksum; it may stand behind the pixels.
int png_orientation(Bytes png) {
  for (std::size_t at = 8; at + 12 <= png.size();) {
    const std::size_t length = Tiff(png, true).u32(at);
    if (length > png.size() - at - 12) return 1;
    if (std::memcmp(png.data() + at + 4, "eXIf", 4) == 0) return orientation_behind_name(png.subspan(at + 8, length));
    at += 12 + length;
  }
  return 1;
}

// Chunks of RIFF: name, length, content up to an even size.
int webp_orientation(Bytes webp) {
  for (std::size_t at = 12; at + 8 <= webp.size();) {
    const std::size_t length = Tiff(webp, false).u32(at + 4);
    if (length > webp.size() - at - 8) return 1;
    if (std::memcmp(webp.data() + at, "EXIF", 4) == 0) return orientation_behind_name(webp.subspan(at + 8, length));
    at += 8 + length + length % 2;
  }
  return 1;
}

}  // namespace

int exif_orientation(Bytes image) {
  switch (image_kind(image)) {
    case ImageKind::kJpeg: return jpeg_orientation(image);
    case ImageKind::kPng: return png_orientation(image);
    case ImageKind::kWebp: return webp_orientation(image);
    case ImageKind::kPpm:
    case ImageKind::kUnknown: break;
  }
  return 1;
}

}  // namespace headrace::ops
