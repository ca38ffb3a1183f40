"""Text of 200 to 2,000 bytes, like log lines and notes: compressible only with what other samples say, so a dictionary pays."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

import headrace
from headrace.bench.ceilings import page_in

__all__ = ["TEXT_BATCH", "Texts"]

TEXT_BATCH = 256
_VOCABULARY = 20_000
_PART = 50_000  # samples made at a time


def _words() -> list[str]:
    rng = np.random.default_rng(7)
    letters = np.array(list("etaoinshrdlucmfwypvbgkjqxz"))
    share = 1 / np.arange(1, 27)
    lengths = rng.integers(2, 11, _VOCABULARY)
    return ["".join(rng.choice(letters, length, p=share / share.sum())) for length in lengths]


def texts(begin: int, end: int) -> list[str]:
    """Samples [begin, end): words drawn as language draws them (Zipf), each sample at a length of its own."""
    words = np.array(_words(), object)
    rng = np.random.default_rng([begin, end])
    lengths = rng.integers(200, 2001, end - begin)
    drawn = words[np.minimum(rng.zipf(1.35, int(lengths.sum()) // 4) - 1, _VOCABULARY - 1)]
    made, at = [], 0
    for sample, length in enumerate(lengths):
        text = f"{begin + sample} " + " ".join(drawn[at : at + length // 4])
        at += length // 4
        made.append(text[:length].ljust(200))
    return made


@dataclass(frozen=True)
class Texts:
    """One headrace dataset: Zstandard, a trained dictionary, blocks of about a sample."""

    samples: int
    hashes: npt.NDArray[np.uint64]  # XXH3-64 of each sample
    sample_bytes: float  # mean
    folder: Path

    def __len__(self) -> int:
        return self.samples

    @property
    def path(self) -> str:
        """The headrace dataset."""
        return str(self.folder / "dataset")

    def page_in(self) -> None:
        """Read every file once."""
        page_in([path for path in self.folder.rglob("*") if path.is_file()])

    @classmethod
    def prepare(cls, folder: Path, samples: int) -> Texts:
        """Make the data and write it below `folder`, or use what an earlier run left there."""
        from headrace._native import xxh3_64

        root = folder / f"text-{samples}"
        if not (root / "hashes.npy").exists():
            shutil.rmtree(root, ignore_errors=True)
            root.mkdir(parents=True)
            hashes, total = np.empty(samples, np.uint64), 0
            codec = {"text": {"codec": "zstd", "level": 3, "dictionary": True}}
            with headrace.Writer(root / "dataset", codec=codec) as writer:
                for begin in range(0, samples, _PART):
                    part = texts(begin, min(begin + _PART, samples))
                    hashes[begin : begin + len(part)] = [xxh3_64(text.encode()) for text in part]
                    total += sum(map(len, part))
                    writer.extend({"text": part})
            np.save(root / "bytes.npy", total)
            np.save(root / "hashes.npy", hashes)
        return cls(samples, np.load(root / "hashes.npy"), float(np.load(root / "bytes.npy")) / samples, root)
