"""What the golden dataset of format 1.1 holds: bit-shuffled numbers and text with a trained dictionary. Never written again.

`python -m tests.format.golden_1_1 NEW_DIRECTORY` (with tests/ on PYTHONPATH) made tests/data/format-1.1 with the first writer of format 1.1.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import reference_schema as s
from reference_schema import Field, Schema
from reference_writer import Row, encode_rows

from tests.format.native import write_native

SCHEMA = Schema(
    (
        Field("text", s.STRING, nullable=True, codec=s.ZSTD, level=19, block_bytes=1024, dictionary=True),
        Field("count", dtype=5, itemsize=4, codec=s.ZSTD, level=3, filter=s.BITSHUFFLE, block_bytes=4 * 100),
        Field("pair", dtype=4, itemsize=2, dims=(2,), codec=s.LZ4, filter=s.BITSHUFFLE, block_bytes=2 * 33),
        Field("complex", dtype=14, itemsize=16, filter=s.BITSHUFFLE, block_bytes=8 * 31),
    )
)
SAMPLES, CHUNK_SAMPLES = 500, 400
WORDS = ("head", "race", "water", "turbine", "channel", "trainer", "batch", "sample", "shard", "epoch", "ü", "☃")


def text(sample: int) -> str | None:
    if sample % 50 == 3:
        return None
    # A small linear congruence, written out so that no library's generator has a say.
    state, words = sample * 2_654_435_761 % (1 << 32), []
    for _ in range(20 + sample % 30):
        state = (state * 1_664_525 + 1_013_904_223) % (1 << 32)
        words.append(WORDS[(state >> 16) % len(WORDS)])
    return f"sample {sample}: " + " ".join(words)


COLUMNS: dict[str, list[Any]] = {
    "text": [text(sample) for sample in range(SAMPLES)],
    "count": [sample * sample - 1000 for sample in range(SAMPLES)],
    "pair": [[sample, 65_535 - sample] for sample in range(SAMPLES)],
    "complex": [complex(sample, -sample / 2) for sample in range(SAMPLES)],
}


def stored_columns() -> list[list[Row]]:
    """Stored bytes of all samples, one list a field."""
    return [encode_rows(spec, COLUMNS[spec.name]) for spec in SCHEMA.fields]


if __name__ == "__main__":
    write_native(Path(sys.argv[1]), SCHEMA, [stored_columns()], chunk_samples=CHUNK_SAMPLES, threads=1)
