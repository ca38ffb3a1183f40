"""The DLIO benchmark as its command runs it, with a loader that also writes down what it delivers: mpiexec -n N dlio_job.py OUT OVERRIDES..."""

from __future__ import annotations

import hashlib
import itertools
import os
import sys
import types
from collections.abc import Iterator
from typing import Any

# DLIO's main imports TensorFlow (half a gigabyte) for a profiler that nobody asks for here; with PyTorch's framework nothing is used of it.
sys.modules.setdefault("tensorflow", types.ModuleType("tensorflow"))

from dlio_benchmark.main import main  # noqa: E402
from recording import record  # noqa: E402

from headrace.integrations.dlio import HeadraceLoader  # noqa: E402


class RecordedLoader(HeadraceLoader):
    """Named by `reader.data_loader_classname`."""

    def next(self) -> Iterator[Any]:
        """Each sample's digest, as DLIO takes its batch."""
        epoch, out, rank = self.epoch_number, os.environ["DLIO_JOB_OUT"], self._args.my_rank
        for values, offsets in super().next():
            raw, ends = values.numpy().tobytes(), offsets.tolist()
            samples = [raw[begin:end] for begin, end in itertools.pairwise(ends)]
            record(out, rank, [epoch, [hashlib.sha256(sample).hexdigest()[:16] for sample in samples]])
            yield values, offsets


if __name__ == "__main__":
    os.environ["DLIO_JOB_OUT"] = sys.argv.pop(1)
    main()
