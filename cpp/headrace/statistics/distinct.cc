#include "headrace/statistics/distinct.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <new>

#include "headrace/base/parallel.h"
#include "headrace/codec/checksum.h"

namespace headrace::statistics {
namespace {

constexpr std::size_t kPiece = std::size_t{1} << 16;  // values of a task
constexpr std::size_t kAtOnce = 512;
constexpr std::uint32_t kState = 0x31445248;  // "HRD1"

Status out_of_memory() { return {Code::kOutOfMemory, "distinct: out of memory"}; }

// Ertl's sigma and tau: sums that stand for the registers of 0 and of the greatest value.
double sigma(double x) {
  if (x == 1) return HUGE_VAL;
  double y = 1, z = x, last;
  do {
    x *= x;
    last = z;
    z += x * y;
    y += y;
  } while (z != last);
  return z;
}

double tau(double x) {
  if (x == 0 || x == 1) return 0;
  double y = 1, z = 1 - x, last;
  do {
    x = std::sqrt(x);
    last = z;
    y *= 0.5;
    z -= (1 - x) * (1 - x) * y;
  } while (z != last);
  return z / 3;
}

}  // namespace

Result<Distinct> Distinct::create(int precision) try {
  if (precision < 4 || precision > 18) return Status(Code::kInvalidArgument, strf("precision is %d; expected 4 to 18", precision));
  return Distinct(precision);
} catch (const std::bad_alloc&) {
  return out_of_memory();
}

Status Distinct::be(KeyKind kind) {
  if (kind == KeyKind::kNone || (kind_ != KeyKind::kNone && kind_ != kind)) {
    return {Code::kInvalidArgument,
            "distinct: these are another kind of values than before; expected integers, uint64, floats or texts, one kind for all"};
  }
  kind_ = kind;
  return {};
}

// hashes(first, count, add): calls add(hash) for each value that is there.
template <typename Hashes>
Status Distinct::add(std::size_t count, int threads, const Hashes& hashes) {
  const int shift = 64 - precision_;
  const auto add_to = [&](std::vector<std::uint8_t>& registers) {
    return [&registers, shift](std::uint64_t hash) {
      const std::uint64_t rest = hash << (64 - shift) | std::uint64_t{1} << (63 - shift);
      const auto zeros = static_cast<std::uint8_t>(std::countl_zero(rest) + 1);
      std::uint8_t& at = registers[hash >> shift];
      at = std::max(at, zeros);
    };
  };
  const std::size_t pieces = ceil_div(count, kPiece);
  if (pieces < 2 || threads < 1) {
    hashes(0, count, add_to(registers_));
    return {};
  }
  const std::size_t shares = std::min<std::size_t>(pieces, static_cast<std::size_t>(threads) + 1);
  std::vector<std::vector<std::uint8_t>> found(shares, std::vector<std::uint8_t>(registers_.size()));
  HR_RETURN_IF_ERROR(parallel_for(shares, threads, [&](std::size_t share) {
    for (std::size_t piece = share; piece < pieces; piece += shares) {
      hashes(piece * kPiece, std::min(kPiece, count - piece * kPiece), add_to(found[share]));
    }
    return Status();
  }));
  for (const auto& one : found) {
    for (std::size_t i = 0; i < registers_.size(); ++i) registers_[i] = std::max(registers_[i], one[i]);
  }
  return {};
}

Status Distinct::update(const Rows& rows, int threads) try {
  HR_RETURN_IF_ERROR(be(key_kind(rows.dtype)));
  return add(rows.count, threads, [&](std::size_t first, std::size_t count, const auto& take) {
    std::uint64_t keys[kAtOnce];
    std::uint8_t present[kAtOnce];
    for (std::size_t done = 0; done < count; done += kAtOnce) {
      const std::size_t now = std::min(kAtOnce, count - done);
      load_keys(rows, first + done, now, keys, present);
      for (std::size_t i = 0; i < now; ++i) {
        if (present[i] != 0) take(spread(keys[i] + 0x9E3779B97F4A7C15ull));
      }
    }
  });
} catch (const std::bad_alloc&) {
  return out_of_memory();
}

Status Distinct::update(const Texts& texts, int threads) try {
  HR_RETURN_IF_ERROR(be(KeyKind::kText));
  return add(texts.count, threads, [&](std::size_t first, std::size_t count, const auto& take) {
    for (std::size_t i = first; i < first + count; ++i) {
      if (!texts.is_null(i)) take(codec::hash(texts.at(i), 0));
    }
  });
} catch (const std::bad_alloc&) {
  return out_of_memory();
}

Status Distinct::merge(const Distinct& other) {
  if (other.precision_ != precision_) {
    return {Code::kInvalidArgument, strf("merge: the other has precision %d; expected %d", other.precision_, precision_)};
  }
  if (other.kind_ == KeyKind::kNone) return {};
  HR_RETURN_IF_ERROR(be(other.kind_));
  for (std::size_t i = 0; i < registers_.size(); ++i) registers_[i] = std::max(registers_[i], other.registers_[i]);
  return {};
}

double Distinct::estimate() const {
  const int most = 64 - precision_;
  std::vector<std::uint64_t> counts(static_cast<std::size_t>(most) + 2);
  for (const std::uint8_t value : registers_) ++counts[value];
  const auto m = static_cast<double>(registers_.size());
  double z = m * tau(1 - static_cast<double>(counts[static_cast<std::size_t>(most) + 1]) / m);
  for (int k = most; k >= 1; --k) z = 0.5 * (z + static_cast<double>(counts[static_cast<std::size_t>(k)]));
  z += m * sigma(static_cast<double>(counts[0]) / m);
  return m * m / (2 * std::log(2.0) * z);
}

double Distinct::relative_error() const { return 1.04 / std::sqrt(static_cast<double>(registers_.size())); }

Result<std::vector<std::uint8_t>> Distinct::save() const try {
  ByteWriter out;
  out.write(kState);
  out.write(static_cast<std::uint8_t>(precision_));
  out.write(static_cast<std::uint8_t>(kind_));
  out.write_bytes(registers_);
  return std::move(out.bytes());
} catch (const std::bad_alloc&) {
  return out_of_memory();
}

Result<Distinct> Distinct::load(Bytes state) try {
  const Status damaged(Code::kInvalidArgument, strf("not the state of Distinct: %zu bytes", state.size()));
  ByteReader in(state);
  if (in.read<std::uint32_t>() != kState) return damaged;
  const int precision = in.read<std::uint8_t>(), kind = in.read<std::uint8_t>();
  if (!in.ok() || precision < 4 || precision > 18 || kind > 4 || in.remaining() != std::size_t{1} << precision) return damaged;
  HR_ASSIGN_OR_RETURN(Distinct made, create(precision));
  made.kind_ = static_cast<KeyKind>(kind);
  const Bytes registers = in.read_bytes(made.registers_.size());
  if (std::any_of(registers.begin(), registers.end(), [&](std::uint8_t value) { return value > 64 - precision + 1; })) return damaged;
  made.registers_.assign(registers.begin(), registers.end());
  return made;
} catch (const std::bad_alloc&) {
  return out_of_memory();
}

}  // namespace headrace::statistics
