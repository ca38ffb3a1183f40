#include "headrace/ops/jpeg_scan.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "headrace/base/multiversion.h"

namespace headrace::ops {
namespace {

// Where the k-th coefficient of the zigzag lies; a run may end up to 16 behind the last one, as libjpeg lets it.
constexpr std::array<std::uint8_t, 80> kNatural = {0,  1,  8,  16, 9,  2,  3,  10, 17, 24, 32, 25, 18, 11, 4,  5,  12, 19, 26, 33,
                                                   40, 48, 41, 34, 27, 20, 13, 6,  7,  14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36,
                                                   29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54,
                                                   47, 55, 62, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63};

constexpr std::int32_t kFull = 56;             // bits that are there after a fill, at least: a code and its value take 31 at most
constexpr int kPairRound = 5, kSkipRound = 4;  // look-ups between two fills
static_assert(kPairRound * HuffmanTable::kPair <= kFull && kSkipRound * HuffmanTable::kSkip <= kFull);

// The state of reading. What is rare takes and returns it by value: an address given away would keep it out of registers.
struct Reader {
  const std::uint8_t* at;
  const std::uint8_t* end;
  std::uint64_t bits;
  std::int32_t count, padding;

  HR_INLINE void consume(std::int32_t n) {
    bits <<= n & 63;
    count -= n;
  }
  HR_INLINE std::uint32_t peek(int n) const { return static_cast<std::uint32_t>(bits >> (64 - n)); }

  HR_INLINE void fill() {
    if (end - at >= 8) [[likely]] {
      std::uint64_t word;
      std::memcpy(&word, at, 8);
      const std::uint64_t is_ff = (word & 0x7F7F7F7F7F7F7F7Full) + 0x0101010101010101ull;
      if ((is_ff & word & 0x8080808080808080ull) == 0) [[likely]] {
        if constexpr (std::endian::native == std::endian::little) word = __builtin_bswap64(word);
        const std::int32_t bytes = (63 - count) >> 3;
        // What is below the counted bits then is of the next byte, and is put there again by the next fill.
        bits |= word >> count;
        at += bytes;
        count += bytes * 8;
        return;
      }
    }
    *this = filled_slowly(*this);
  }
  // Byte by byte, up to a marker or the end; behind it zeros. It never comes to 64 bits.
  __attribute__((noinline)) static Reader filled_slowly(Reader r) {
    r.bits = r.count == 0 ? 0 : r.bits >> (64 - r.count) << (64 - r.count);
    while (r.count < kFull) {
      std::uint64_t byte = 0;
      const std::uint8_t* next = r.at;
      while (next != r.end && *next == 0xFF) ++next;
      if (next == r.at && r.at != r.end) {
        byte = *r.at++;
      } else if (next != r.end && next != r.at && *next == 0) {
        byte = 0xFF;
        r.at = next + 1;
      } else {
        r.padding += 8;
      }
      r.bits |= byte << (56 - r.count);
      r.count += 8;
    }
    return r;
  }
};

// The value of `size` bits: those with a 0 in front are negative.
HR_INLINE std::int32_t extend(std::uint32_t bits, std::uint32_t size) {
  // No branch: signs are not to be foretold. Of no bits, the value is 0.
  const std::int32_t is_negative = static_cast<std::int32_t>(bits << 1 >> size & 1) - 1;
  return static_cast<std::int32_t>(bits) + (is_negative & ((-1 << size) + 1));
}

// A code of any length and the value behind it. False if there is no such code. REQUIRES: a fill just before.
HR_INLINE bool decode_one(Reader& reader, const HuffmanTable& table, std::uint8_t* symbol, std::int16_t* value) {
  const HuffmanTable::Symbol found = table.find(reader.peek(16));
  if (found.length == 0) return false;
  reader.consume(found.length);
  const std::uint32_t size = found.symbol & 15u;
  *symbol = found.symbol;
  *value = static_cast<std::int16_t>(extend(static_cast<std::uint32_t>(reader.bits >> 1 >> (63 - size)), size));
  reader.consume(static_cast<std::int32_t>(size));
  return true;
}

// One coefficient other than 0, or the end of the block: k is then kEndOfBlock, or kNoCode.
struct Slow {
  Reader reader;
  std::uint32_t k;
};
constexpr std::uint32_t kEndOfBlock = 64, kNoCode = 65;
// `block` may be null.
__attribute__((noinline)) Slow decode_slowly(Reader reader, const HuffmanTable& table, std::int16_t* block, std::uint32_t k) {
  std::uint8_t symbol = 0;
  std::int16_t value = 0;
  reader.fill();
  if (!decode_one(reader, table, &symbol, &value)) return {reader, kNoCode};
  if ((symbol & 15) == 0 && symbol != 0xF0) return {reader, kEndOfBlock};
  k += symbol >> 4;
  if (block != nullptr) block[kNatural[k]] = value;
  return {reader, std::min(k + 1, kEndOfBlock)};
}

HR_INLINE bool decode_ac(Reader& reader, HuffmanTable& table, const HuffmanTable::Pair* pairs, std::int16_t* block) {
  for (std::uint32_t k = 1;;) {
    reader.fill();
    bool is_slow = false;
    for (int i = 0; i < kPairRound; ++i) {
      const HuffmanTable::Pair pair = pairs[reader.peek(HuffmanTable::kPair)];
      const std::uint32_t after = k + (static_cast<std::uint32_t>(pair) >> 6 & 127);
      is_slow = after > 63;
      if (is_slow) [[unlikely]]
        break;
      reader.consume(static_cast<std::int32_t>(pair & 63));
      block[kNatural[k + (static_cast<std::uint32_t>(pair) >> 13 & 15)]] = static_cast<std::int16_t>(pair >> 32);
      block[kNatural[k + (static_cast<std::uint32_t>(pair) >> 17 & 63)]] = static_cast<std::int16_t>(pair >> 48);
      if ((pair & HuffmanTable::kPairEnd) != 0) return true;
      k = after;
    }
    if (!is_slow) continue;
    const HuffmanTable::Pair pair = pairs[reader.peek(HuffmanTable::kPair)];
    if (pair == HuffmanTable::kNoPairYet) {
      table.make_pair(reader.peek(HuffmanTable::kPair));
      continue;
    }
    const auto size = static_cast<std::uint32_t>(pair >> 32);
    if (HuffmanTable::has_code_alone(pair) && k + (static_cast<std::uint32_t>(pair) >> 13 & 15) < 63) [[likely]] {
      reader.fill();
      reader.consume(static_cast<std::int32_t>(pair & 63));
      k += static_cast<std::uint32_t>(pair) >> 13 & 15;
      block[kNatural[k++]] = static_cast<std::int16_t>(extend(static_cast<std::uint32_t>(reader.bits >> 1 >> (63 - size)), size));
      reader.consume(static_cast<std::int32_t>(size));
      continue;
    }
    const Slow slow = decode_slowly(reader, table, block, k);
    reader = slow.reader;
    k = slow.k;
    if (k >= kEndOfBlock) return k == kEndOfBlock;
  }
}

HR_INLINE bool skip_ac(Reader& reader, const HuffmanTable& table, const HuffmanTable::Skip* skips) {
  for (std::uint32_t k = 1;;) {
    reader.fill();
    bool is_slow = false;
    for (int i = 0; i < kSkipRound; ++i) {
      const std::uint32_t several = skips[reader.peek(HuffmanTable::kSkip)];
      const std::uint32_t after = k + (several >> 6 & 127);
      is_slow = after > 63;
      if (is_slow) [[unlikely]]
        break;
      reader.consume(static_cast<std::int32_t>(several & 63));
      if ((several & HuffmanTable::kSkipEnd) != 0) return true;
      k = after;
    }
    if (!is_slow) continue;
    const std::uint32_t one = skips[reader.peek(HuffmanTable::kSkip)], zeros = (one >> 6 & 127) - HuffmanTable::kManyFrom;
    if (zeros < 16 && (one & 63) != 0 && k + zeros < 63) [[likely]] {
      reader.fill();
      reader.consume(static_cast<std::int32_t>(one & 63));
      k += zeros + 1;
      continue;
    }
    const Slow slow = decode_slowly(reader, table, nullptr, k);
    reader = slow.reader;
    k = slow.k;
    if (k >= kEndOfBlock) return k == kEndOfBlock;
  }
}

// The next marker from `at` on, or the end. Blocks of bytes are looked at together until one holds a marker.
HR_MULTIVERSION const std::uint8_t* find_marker(const std::uint8_t* at, const std::uint8_t* end) {
  constexpr std::ptrdiff_t kTogether = 128;
  for (; end - at > kTogether; at += kTogether) {
    std::uint8_t found = 0;
    for (std::ptrdiff_t i = 0; i < kTogether; ++i) found |= static_cast<std::uint8_t>((at[i] == 0xFF) & (at[i + 1] - 1u < 0xFEu));
    if (found != 0) break;
  }
  for (; end - at >= 2; ++at) {
    if (at[0] == 0xFF && at[1] != 0 && at[1] != 0xFF) return at;
  }
  return end;
}

}  // namespace

bool HuffmanTable::set(const HuffmanCodes& codes, bool is_ac) {
  if (is_set_ && codes == codes_) return true;
  is_set_ = has_skips_ = false;
  pairs_.fill(kNoPairYet);
  codes_ = codes;
  short_.fill({});
  std::uint32_t code = 0, at = 0;
  for (std::uint32_t bits = 1; bits <= 16; ++bits) {
    offset_[bits] = static_cast<std::int32_t>(at) - static_cast<std::int32_t>(code);
    for (std::uint32_t i = 0; i < codes.counts[bits]; ++i, ++code, ++at) {
      if (at >= 256 || code >= 1u << bits || (!is_ac && codes.symbols[at] > 15)) return false;
      if (bits > kShort) continue;
      const auto first = short_.begin() + static_cast<std::ptrdiff_t>(code << (kShort - bits));
      std::fill(first, first + (std::ptrdiff_t{1} << (kShort - bits)), Symbol{static_cast<std::uint8_t>(bits), codes.symbols[at]});
    }
    most_[bits] = static_cast<std::int32_t>(code << (16 - bits));
    code <<= 1;
  }
  is_set_ = true;
  return true;
}

HuffmanTable::Symbol HuffmanTable::find_long(std::uint32_t bits) const {
  for (std::uint32_t length = kShort + 1; length <= 16; ++length) {
    if (static_cast<std::int32_t>(bits) >= most_[length]) continue;
    const std::int32_t at = static_cast<std::int32_t>(bits >> (16 - length)) + offset_[length];
    return {static_cast<std::uint8_t>(length), codes_.symbols[static_cast<std::size_t>(at) & 255]};
  }
  return {};
}

// The first code in a window of bits and its value; none if they are longer than it, or the code is a long one.
HuffmanTable::Whole HuffmanTable::whole(std::uint32_t window, std::uint32_t window_bits) const {
  const Symbol found = short_[window << (16 - window_bits) >> (16 - kShort) & ((1u << kShort) - 1)];
  const std::uint32_t size = found.symbol & 15u, bits = found.length + size;
  if (found.length == 0 || bits > window_bits) return {};
  const std::uint32_t value = window >> (window_bits - bits) & ((1u << size) - 1), zeros = found.symbol >> 4;
  return {bits, zeros, extend(value, size), size == 0 && zeros != 15};
}

void HuffmanTable::make_pair(std::uint32_t window) {
  const Whole first = whole(window, kPair);
  if (first.bits == 0) {
    const Symbol code = short_[window >> (kPair - kShort)];
    pairs_[window] = Pair{code.symbol & 15u} << 32 | Pair{kMany} << 6 | Pair{code.symbol >> 4 & 15u} << 13 | code.length;
    return;
  }
  const std::uint32_t left = kPair - first.bits;
  const Whole second = first.is_end || left == 0 ? Whole{} : whole(window & ((1u << left) - 1), left);
  const std::uint32_t one = first.is_end ? 0 : first.zeros + 1, two = second.bits == 0 || second.is_end ? 0 : second.zeros + 1;
  const std::uint32_t place = one + (two == 0 ? 0 : second.zeros);
  const bool is_end = first.is_end || second.is_end;
  pairs_[window] = Pair{static_cast<std::uint16_t>(second.value)} << 48 | Pair{static_cast<std::uint16_t>(first.value)} << 32 |
                   (is_end ? kPairEnd : 0) | place << 17 | (first.is_end ? 0 : first.zeros) << 13 | (one + two) << 6 |
                   (first.bits + second.bits);
}

const HuffmanTable::Skip* HuffmanTable::skips() {
  if (has_skips_) return skips_.data();
  // Files bring tables of their own, so this takes time from each: one code for each window first, then only look-ups among those.
  constexpr std::uint32_t kMask = (1u << kSkip) - 1;
  thread_local std::array<Skip, kMask + 1> single;
  for (std::uint32_t window = 0; window <= kMask; ++window) {
    const Symbol code = short_[window >> (kSkip - kShort)];
    const std::uint32_t size = code.symbol & 15u, zeros = code.symbol >> 4, bits = code.length + size;
    const bool is_end = size == 0 && zeros != 15;
    single[window] = static_cast<Skip>(code.length == 0 || bits > kSkip ? 0 : is_end ? kSkipEnd | bits : (zeros + 1) << 6 | bits);
  }
  for (std::uint32_t window = 0; window <= kMask; ++window) {
    std::uint32_t used = 0, rest = 0;  // coefficients and the end, as in the table
    while (rest < 64u << 6) {
      const Skip next = single[window << used & kMask];
      if ((next & 63) == 0 || used + (next & 63u) > kSkip) break;
      used += next & 63u;
      rest += next & ~63u;
    }
    const Symbol code = short_[window >> (kSkip - kShort)];
    const std::uint32_t alone = (kManyFrom + (code.symbol >> 4)) << 6 | (code.length == 0 ? 0 : code.length + (code.symbol & 15u));
    skips_[window] = static_cast<Skip>(used == 0 ? alone : rest | used);
  }
  has_skips_ = true;
  return skips_.data();
}

void JpegScan::begin(Bytes data, std::span<const Block> blocks, std::uint32_t restart_interval, std::uint32_t next_restart) {
  num_blocks_ = blocks.size();
  std::copy(blocks.begin(), blocks.end(), blocks_.begin());
  at_ = data.data();
  end_ = data.data() + data.size();
  bits_ = 0;
  count_ = padding_ = 0;
  last_ = {};
  interval_ = left_ = restart_interval;
  next_restart_ = next_restart % 8;
  passed_ = 0;
}

// What was skipped, without looking at what ends with a marker.
bool JpegScan::pass() {
  while (passed_ > 0) {
    if (interval_ != 0 && passed_ >= left_) {
      passed_ -= left_;
      if (!(left_ == 0 ? restart() : jump())) return false;
    } else {
      if (!unit(nullptr)) return false;
      --passed_;
    }
  }
  return true;
}

// To the next restart marker, and behind it.
bool JpegScan::jump() {
  at_ = find_marker(at_, end_);
  count_ = padding_ = 0;
  return restart();
}

// The marker must stand right here: what is left of the last byte is padding.
bool JpegScan::restart() {
  if (count_ - padding_ >= 8) return false;
  while (end_ - at_ > 2 && at_[0] == 0xFF && at_[1] == 0xFF) ++at_;
  if (end_ - at_ < 2 || at_[0] != 0xFF || at_[1] != 0xD0 + next_restart_) return false;
  at_ += 2;
  next_restart_ = (next_restart_ + 1) % 8;
  bits_ = 0;
  count_ = padding_ = 0;
  last_ = {};
  left_ = interval_;
  return true;
}

HR_MULTIVERSION bool JpegScan::unit(std::int16_t (*const* blocks)[64]) {
  if (interval_ != 0) {
    if (left_ == 0 && !restart()) return false;
    --left_;
  }
  Reader reader{at_, end_, bits_, count_, padding_};
  for (std::size_t i = 0; i < num_blocks_; ++i) {
    const Block& block = blocks_[i];
    std::uint8_t symbol = 0;
    std::int16_t difference = 0;
    reader.fill();
    if (!decode_one(reader, *block.dc, &symbol, &difference)) return false;
    std::int16_t& last = last_[block.component];
    last = static_cast<std::int16_t>(last + difference);
    if (blocks != nullptr) (*blocks[i])[0] = last;
    const bool is_whole = blocks == nullptr || block.dc_alone ? skip_ac(reader, *block.ac, block.ac->skips())
                                                              : decode_ac(reader, *block.ac, block.ac->pairs(), *blocks[i]);
    if (!is_whole) return false;
  }
  at_ = reader.at;
  bits_ = reader.bits;
  count_ = reader.count;
  padding_ = reader.padding;
  return count_ >= padding_;
}

}  // namespace headrace::ops
