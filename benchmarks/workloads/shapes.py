"""The shapes of data that every loader is given, as plain arrays in .npy files. Needs numpy only: peers run in an environment of their own.

Every sample carries its index in its content, so that a delivered batch can be checked whatever order the loader chose.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["SHAPES", "Shape", "prepare"]

_TOKENS = 2049
_EDGE = 64


@dataclass(frozen=True)
class Shape:
    """Samples of one shape. `fields` are arrays over samples, mapped from files; "text" is a list-like of bytes."""

    name: str
    folder: Path
    samples: int
    batch_size: int

    @property
    def compressible(self) -> bool:
        """Whether a sample is compressed by loaders that can."""
        return self.name in ("volumes", "text")

    @property
    def field_names(self) -> tuple[str, ...]:
        """Fields of a sample, in the order in which batches hold them."""
        return SHAPES[self.name].fields

    def array(self, field: str, *, mapped: bool = True) -> npt.NDArray[Any]:
        """A field of fixed shape, first dimension samples."""
        return np.load(self.folder / f"{field}.npy", mmap_mode="r" if mapped else None)

    def text(self, index: int) -> bytes:
        """A sample of the text shape."""
        offsets = self.array("offsets")
        return self.array("text")[offsets[index] : offsets[index + 1]].tobytes()

    def texts(self) -> list[bytes]:
        """All samples of the text shape."""
        values, offsets = self.array("text", mapped=False).tobytes(), self.array("offsets")
        return [values[begin:end] for begin, end in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)]

    def check(self, batch: Sequence[Any]) -> npt.NDArray[np.int64]:
        """The indices of a delivered batch's samples. Raises AssertionError if any value is not what is stored."""
        if self.name == "text":
            indices = np.array([int(bytes(sample)[:8]) for sample in batch[0]])
            assert all(bytes(sample) == self.text(index) for sample, index in zip(batch[0], indices.tolist(), strict=True))
            return indices
        values = [np.asarray(value) for value in batch]
        assert len(values) == len(self.field_names), f"{len(values)} fields, expected {self.field_names}"
        indices = SHAPES[self.name].indices(values)
        for name, value in zip(self.field_names, values, strict=True):
            expected = self.array(name)[indices]
            wanted = np.int64 if self.name == "tokens" else expected.dtype
            assert value.dtype == wanted, f"{name}: {value.dtype}, expected {wanted}"
            assert value.shape == expected.shape, f"{name}: {value.shape}, expected {expected.shape}"
            assert np.array_equal(value, expected), f"{name}: a value is not the one that is stored"
        return indices


@dataclass(frozen=True)
class _Kind:
    fields: tuple[str, ...]
    samples: int
    batch_size: int
    make: Any  # (rng, samples) -> dict of arrays
    indices: Any = None  # batch values -> indices


def _tabular(rng: np.random.Generator, samples: int) -> dict[str, Any]:
    return {"features": rng.standard_normal((samples, 64), dtype=np.float32), "label": np.arange(samples)}


def _tokens(rng: np.random.Generator, samples: int) -> dict[str, Any]:
    tokens = rng.integers(0, 50_000, (samples, _TOKENS), dtype=np.uint16)
    tokens[:, 0], tokens[:, 1] = np.arange(samples) & 0xFFFF, np.arange(samples) >> 16
    return {"tokens": tokens}


def _raw_images(rng: np.random.Generator, samples: int) -> dict[str, Any]:
    return {"image": rng.integers(0, 256, (samples, 3, _EDGE, _EDGE), dtype=np.uint8), "label": np.arange(samples)}


def _volumes(rng: np.random.Generator, samples: int) -> dict[str, Any]:
    volumes = np.empty((samples, 1, _EDGE, _EDGE, _EDGE), np.float32)
    axis = np.linspace(0, 1, _EDGE, dtype=np.float32)
    for index in range(samples):
        phase, pitch = rng.random((3, 1), dtype=np.float32), rng.integers(1, 4, (3, 1))
        waves = np.sin(2 * np.pi * (pitch * axis + phase))
        field = waves[0][:, None, None] * waves[1][None, :, None] + waves[2][None, None, :]
        volumes[index, 0] = np.round(field * 64) / 64  # a scanner's steps: smooth, and compressible
    volumes[:, 0, 0, 0, 0] = np.arange(samples)
    return {"volume": volumes}


def _text(rng: np.random.Generator, samples: int) -> dict[str, Any]:
    words = [bytes(rng.integers(97, 123, length, dtype=np.uint8)) for length in rng.integers(2, 11, 4000)]
    lengths = rng.integers(200, 2001, samples)
    draws = rng.zipf(1.3, int(lengths.sum() // 4)) % len(words)
    parts, offsets, word = [], [0], 0
    for index, length in enumerate(lengths.tolist()):
        count = max(1, length // 6)
        sample = (b"%08d " % index + b" ".join(words[draw] for draw in draws[word : word + count].tolist()))[:length].ljust(length)
        word += count
        parts.append(sample)
        offsets.append(offsets[-1] + length)
    return {"text": np.frombuffer(b"".join(parts), np.uint8), "offsets": np.array(offsets)}


SHAPES = {
    "tabular": _Kind(("features", "label"), 500_000, 4096, _tabular, lambda values: values[1].astype(np.int64)),
    "tokens": _Kind(
        ("tokens",), 32_768, 16, _tokens, lambda values: values[0][:, 0].astype(np.int64) + (values[0][:, 1].astype(np.int64) << 16)
    ),
    "raw images": _Kind(("image", "label"), 20_000, 256, _raw_images, lambda values: values[1].astype(np.int64)),
    "volumes": _Kind(("volume",), 400, 4, _volumes, lambda values: values[0][:, 0, 0, 0, 0].astype(np.int64)),
    "text": _Kind(("text",), 100_000, 256, _text),
}


def prepare(name: str, folder: Path, samples: int | None = None) -> Shape:
    """Make the data of a shape below `folder`, or use what an earlier run left there."""
    kind = SHAPES[name]
    samples = kind.samples if samples is None else samples
    root = folder / f"shape-{name.replace(' ', '-')}-{samples}"
    if not (root / "complete").exists():
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir(parents=True)
        for field, values in kind.make(np.random.default_rng(20_130_101), samples).items():
            np.save(root / f"{field}.npy", values)
        (root / "complete").write_text(json.dumps({"samples": samples}))
    return Shape(name, root, samples, kind.batch_size)
