// Fixed-width little-endian coding on unsigned bytes; the only place that turns bytes into integers.
//
// Owns nothing. A ByteReader borrows its bytes, which must outlive it. One thread at a time.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace headrace {

using Bytes = std::span<const std::uint8_t>;
using MutableBytes = std::span<std::uint8_t>;

static_assert(std::endian::native == std::endian::little, "headrace needs a little-endian machine");

template <typename T>
T load_le(const void* from) {
  static_assert(std::is_trivially_copyable_v<T>);
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

template <typename T>
void store_le(void* to, T value) {
  static_assert(std::is_trivially_copyable_v<T>);
  std::memcpy(to, &value, sizeof value);
}

constexpr std::uint64_t round_up(std::uint64_t value, std::uint64_t multiple) { return (value + multiple - 1) / multiple * multiple; }
constexpr std::uint64_t ceil_div(std::uint64_t value, std::uint64_t divisor) { return (value + divisor - 1) / divisor; }
// False if the sum or product does not fit; `out` is then unspecified.
[[nodiscard]] inline bool checked_add(std::uint64_t a, std::uint64_t b, std::uint64_t* out) { return !__builtin_add_overflow(a, b, out); }
[[nodiscard]] inline bool checked_mul(std::uint64_t a, std::uint64_t b, std::uint64_t* out) { return !__builtin_mul_overflow(a, b, out); }

// A cursor that never leaves its bytes: after a short read, ok() is false for good and values are zero.
class ByteReader {
 public:
  explicit ByteReader(Bytes bytes) : bytes_(bytes) {}

  template <typename T>
  T read() {
    if (!need(sizeof(T))) return T{};
    T value = load_le<T>(bytes_.data() + at_);
    at_ += sizeof(T);
    return value;
  }
  Bytes read_bytes(std::uint64_t count) {
    if (!need(count)) return {};
    Bytes out = bytes_.subspan(at_, count);
    at_ += count;
    return out;
  }
  std::string_view read_string(std::uint64_t count) {
    Bytes raw = read_bytes(count);
    return {reinterpret_cast<const char*>(raw.data()), raw.size()};
  }
  bool ok() const { return ok_; }
  std::size_t position() const { return at_; }
  std::size_t remaining() const { return bytes_.size() - at_; }

 private:
  bool need(std::uint64_t count) {
    if (!ok_ || count > bytes_.size() - at_) ok_ = false;
    return ok_;
  }
  Bytes bytes_;
  std::size_t at_ = 0;
  bool ok_ = true;
};

class ByteWriter {
 public:
  template <typename T>
  void write(T value) {
    const std::size_t at = bytes_.size();
    bytes_.resize(at + sizeof value);
    store_le(bytes_.data() + at, value);
  }
  void write_bytes(Bytes bytes) { bytes_.insert(bytes_.end(), bytes.begin(), bytes.end()); }
  void write_string(std::string_view text) { write_bytes({reinterpret_cast<const std::uint8_t*>(text.data()), text.size()}); }
  void pad_to(std::uint64_t multiple) { bytes_.resize(round_up(bytes_.size(), multiple), 0); }
  std::vector<std::uint8_t>& bytes() { return bytes_; }
  const std::vector<std::uint8_t>& bytes() const { return bytes_; }

 private:
  std::vector<std::uint8_t> bytes_;
};

}  // namespace headrace
