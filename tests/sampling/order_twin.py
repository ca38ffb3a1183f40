"""The numpy twin of cpp/headrace/pipeline/permutation.cc and order.cc, written for plainness: materialised, one idea a line.

Where the two differ, one of them is wrong. Unlike the core, a twin permutation takes many keys at once: statistics over keys are quick.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

U64 = npt.NDArray[np.uint64]

ROUNDS = 8
MIN_BITS = 10
GOLDEN = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1


def u64(values: object) -> U64:
    """Values as a uint64 array of at least one dimension (numpy warns when a scalar wraps around, and not when an array does)."""
    return np.atleast_1d(np.asarray(values, dtype=np.uint64))


def finalise(z: U64) -> U64:
    """SplitMix64's finaliser."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def mix_key(a: object, b: object) -> U64:
    """Keys of (a, b), shape as the two broadcast."""
    first = finalise(u64(a) + np.uint64(GOLDEN))
    second = (u64(b) + np.uint64(2 * GOLDEN & _MASK)) * np.uint64(0xD1342543DE82EF95)
    return finalise(first ^ second)


class Permutation:
    """Bijections of [0, size), one a key. Fewer rounds and no swap make networks that are too weak, to see that the checks find them."""

    def __init__(self, size: int, keys: object, rounds: int = ROUNDS, swap: bool = True) -> None:
        self.size = size
        self.rounds = rounds
        bits = max(MIN_BITS, (size - 1).bit_length() if size > 1 else 0)
        self.high_bits = bits // 2
        self.low_bits = bits - self.high_bits
        derived = [finalise(u64(keys) + np.uint64(GOLDEN * i & _MASK)) for i in range(1, rounds + 2)]
        self.round_keys = derived[:rounds]
        self.swap = (derived[rounds] >> np.uint64(63)) * np.uint64(swap and size > 1)

    def _hash(self, half: U64, key: U64, bits: int) -> U64:
        h = (half ^ key) * np.uint64(0xD6E8FEB86659FD93)
        h = (h ^ (h >> np.uint64(32))) * np.uint64(0xD6E8FEB86659FD93)
        return h >> np.uint64(64 - bits)

    def encrypt(self, value: U64, which: npt.NDArray[np.intp] | slice = slice(None)) -> U64:
        """One pass through the network; `which` chooses the key of each value."""
        low = value & np.uint64((1 << self.low_bits) - 1)
        high = value >> np.uint64(self.low_bits)
        for i in range(0, self.rounds, 2):
            high = high ^ self._hash(low, self.round_keys[i][which], self.high_bits)
            low = low ^ self._hash(high, self.round_keys[i + 1][which], self.low_bits)
        return high << np.uint64(self.low_bits) | low

    def forward(self, index: object) -> U64:
        """Images of `index` under the only key, shape as `index`; or of each index under each of several keys, shape (keys, indices)."""
        places = u64(index)
        keys = self.round_keys[0].size
        which = np.repeat(np.arange(keys), places.size)
        value = self.encrypt(np.tile(places, keys), which)
        outside = np.flatnonzero(value >= self.size)
        while outside.size:
            value[outside] = self.encrypt(value[outside], which[outside])
            outside = outside[value[outside] >= self.size]
        value ^= np.where(value < 2, self.swap[which], np.uint64(0))
        return value if keys == 1 else value.reshape(keys, places.size)

    def all(self) -> U64:
        """The whole permutation, shape (size,), or (keys, size) for several keys."""
        return self.forward(np.arange(self.size, dtype=np.uint64))


@dataclass(frozen=True)
class Chunk:
    """A run of samples that are stored together."""

    first: int
    count: int


def chunks_of(shard_samples: Sequence[int], chunk_samples: Sequence[int]) -> list[Chunk]:
    """The chunks of shards, in order."""
    chunks: list[Chunk] = []
    first = 0
    for samples, size in zip(shard_samples, chunk_samples, strict=True):
        for begin in range(0, samples, size):
            chunks.append(Chunk(first + begin, min(size, samples - begin)))
        first += samples
    return chunks


def global_order(num_samples: int, seed: int, epoch: int) -> U64:
    """Sample at each position, shape (num_samples,)."""
    return Permutation(num_samples, mix_key(seed, epoch)).all()


def window_order(shard_samples: Sequence[int], chunk_samples: Sequence[int], window: int, seed: int, epoch: int) -> U64:
    """Sample at each position, shape (sum of shard_samples,)."""
    chunks = chunks_of(shard_samples, chunk_samples)
    key = mix_key(seed, epoch)
    order = Permutation(len(chunks), key).all()
    parts: list[U64] = [u64([])]
    for number, begin in enumerate(range(0, len(chunks), window)):
        held = [chunks[int(i)] for i in order[begin : begin + window]]
        samples = np.concatenate([np.arange(c.first, c.first + c.count, dtype=np.uint64) for c in held])
        parts.append(samples[Permutation(samples.size, mix_key(key, number)).all()])
    return np.concatenate(parts)
