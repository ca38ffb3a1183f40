// The bits of a baseline JPEG scan, decoded to coefficients, or passed over where nobody wants them: what takes most of the time of a
// photo.
//
// Two codes and the values behind them are looked up together, and more of them where they are passed over; libjpeg-turbo looks up one code
// and then takes its value. Where there are restart markers, what lies between is not even looked at: the next marker is searched for.
// Coefficients are the same. Whoever finds a scan damaged decodes it again with the library, which says what is wrong.
//
// Owns:     its tables, kept until others are set. Borrows the bytes of the scan.
// Threads:  one at a time.
// Bounds:   reads no byte beyond the scan's; of wrong tables it can only make wrong coefficients.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "headrace/base/bytes.h"

namespace headrace::ops {

// A Huffman table as DHT stores it.
struct HuffmanCodes {
  std::array<std::uint8_t, 17> counts{};  // [bits]
  std::array<std::uint8_t, 256> symbols{};
  bool operator==(const HuffmanCodes&) const = default;
};

class HuffmanTable {
 public:
  static constexpr int kShort = 10;  // bits of a code that is looked up
  static constexpr int kPair = 11;   // of codes with their values
  static constexpr int kSkip = 12;   // of codes whose values nobody wants
  struct Symbol {
    std::uint8_t length = 0;  // bits of its code
    std::uint8_t symbol = 0;
  };
  // One or two coefficients, packed: bits (6); coefficients (7): zeros included, kMany where it takes a closer look; zeros before the first
  // value (4); from the first of these zeros to the second value (6); kEnd: no more in this block; in the upper half the two values. Where
  // there is but one, the second is a 0 behind it.
  using Pair = std::uint64_t;
  static constexpr std::uint32_t kMany = 127;
  static constexpr Pair kPairEnd = 1u << 23;
  // Where the first value is not all there: bits of its code (0: too long a one), kMany, zeros before it, and in its place how many bits it
  // has.
  static constexpr Pair kNoPairYet = Pair{kMany} << 6 | 1u << 24;
  static bool has_code_alone(Pair pair) { return (pair >> 6 & 127) == kMany && (pair & 63) != 0; }
  // Several: bits (6), coefficients (7), kSkipEnd. Where not even one is all there: its bits (0: too long a code), kManyFrom + zeros before
  // it.
  static constexpr std::uint32_t kManyFrom = 112;
  using Skip = std::uint16_t;
  static constexpr Skip kSkipEnd = 1u << 13;

  // `is_ac`: a symbol is a run and a size, else a size. False if the codes do not fit into 16 bits, or there are too many.
  bool set(const HuffmanCodes& codes, bool is_ac);
  // kNoPairYet where make_pair() was not called since set(): files bring tables of their own, and use a part of them.
  const Pair* pairs() const { return pairs_.data(); }
  void make_pair(std::uint32_t window);
  const Skip* skips();
  // `bits`: the next 16. Length 0: there is no such code.
  Symbol find(std::uint32_t bits) const {
    const Symbol found = short_[bits >> (16 - kShort)];
    return found.length != 0 ? found : find_long(bits);
  }

 private:
  struct Whole {  // a code and its value
    std::uint32_t bits = 0, zeros = 0;
    std::int32_t value = 0;
    bool is_end = false;
  };
  Symbol find_long(std::uint32_t bits) const;
  Whole whole(std::uint32_t window, std::uint32_t window_bits) const;

  HuffmanCodes codes_;
  bool is_set_ = false, has_skips_ = false;
  std::array<std::int32_t, 17> most_{};    // [bits] first longer code, as if it had 16
  std::array<std::int32_t, 17> offset_{};  // [bits] from a code to its symbol
  std::array<Symbol, 1u << kShort> short_{};
  std::array<Pair, 1u << kPair> pairs_;
  std::array<Skip, 1u << kSkip> skips_;
};

class JpegScan {
 public:
  static constexpr std::size_t kMaxBlocks = 10;  // of a unit (MCU)
  struct Block {
    std::uint8_t component = 0;  // below 4
    HuffmanTable* dc = nullptr;
    HuffmanTable* ac = nullptr;
    bool dc_alone = false;  // of the coefficients, only the first is wanted
  };
  // `blocks`: of a unit, in order. `restart_interval` in units, 0 for none; `next_restart` is the number of the marker that ends the first.
  // REQUIRES: at most kMaxBlocks of them.
  void begin(Bytes data, std::span<const Block> blocks, std::uint32_t restart_interval, std::uint32_t next_restart);
  // One unit. blocks[i]: 64 zeroed coefficients, in natural order. False if the data is damaged or ends: then nothing more can be decoded.
  bool decode(std::int16_t (*const* blocks)[64]) { return (passed_ == 0 || pass()) && unit(blocks); }
  // One unit that nobody wants: passed over by the next decode(), which tells if that cannot be done.
  void skip() { ++passed_; }

 private:
  bool unit(std::int16_t (*const* blocks)[64]);
  bool pass();
  bool jump();
  bool restart();

  std::array<Block, kMaxBlocks> blocks_{};
  std::size_t num_blocks_ = 0;
  const std::uint8_t* at_ = nullptr;
  const std::uint8_t* end_ = nullptr;
  std::uint64_t bits_ = 0;              // the next ones, from the top
  std::int32_t count_ = 0;              // of them
  std::int32_t padding_ = 0;            // of those, made up behind the data's end
  std::array<std::int16_t, 4> last_{};  // [component] DC
  std::uint32_t interval_ = 0, left_ = 0, next_restart_ = 0;
  std::uint64_t passed_ = 0;  // units skipped and still in front of us
};

}  // namespace headrace::ops
