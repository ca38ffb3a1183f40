"""The DLIO benchmark: a data loader for `reader.data_loader_classname`, so that DLIO's own loop and statistics measure headrace.

dlio_benchmark workload=unet3d_h100 ++workload.reader.data_loader_classname=headrace.integrations.dlio.HeadraceLoader
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from dlio_benchmark.common.enumerations import DataLoaderType, DatasetType, FormatType, Shuffle, StorageType
from dlio_benchmark.data_loader.base_data_loader import BaseDataLoader
from dlio_benchmark.utils.utility import DLIOMPI

from headrace import _native
from headrace.datasets.shards import open as open_dataset
from headrace.errors import ExistsError
from headrace.loader.loader import DataLoader
from headrace.writing.writer import Writer

__all__ = ["HeadraceLoader"]


class HeadraceLoader(BaseDataLoader):  # type: ignore[misc]  # DLIO ships no types
    """Reads DLIO's own samples, from a headrace dataset that is made of its files before the first epoch, once, on the first rank.

    The dataset lies in `<data_folder>/headrace`, named by the names, sizes and times of its files, and is used again while these stay; it takes as many
    bytes as they do. Batches are (values uint8, offsets int64) over the batch's memory: a sample's bytes are those of DLIO's array. Ranks share each
    epoch without repeats; `read_threads` native threads, `prefetch_size` batches ahead; the order is a function of DLIO's seed and the epoch.
    Raises ValueError for formats other than npz and npy, and for storage that is not a local file system.
    """

    def __init__(self, format_type: Any, dataset_type: Any, epoch_number: int) -> None:
        super().__init__(format_type, dataset_type, epoch_number, DataLoaderType.PYTORCH)
        if format_type not in (FormatType.NPZ, FormatType.NPY):
            raise ValueError(
                f"headrace reads DLIO's formats npz and npy, not {format_type}; set dataset.format and generate the data again"
            )
        if self._args.storage_type != StorageType.LOCAL_FS:
            raise ValueError(f"headrace reads DLIO's data from a local file system, not from {self._args.storage_type}")
        self._loader: DataLoader | None = None

    def read(self) -> None:
        """Make or open the dataset; no epoch begins. DLIO calls it on every rank."""
        args = self._args
        files = args.file_list_train if self.dataset_type is DatasetType.TRAIN else args.file_list_eval
        path = _shared_dataset(Path(args.data_folder), [Path(file) for file in files])
        threads = int(args.read_threads)
        self._loader = DataLoader(
            open_dataset(str(path)),
            self.batch_size,
            shuffle=args.sample_shuffle != Shuffle.OFF or args.file_shuffle != Shuffle.OFF,
            seed=int(args.seed),
            num_workers=threads,
            prefetch_factor=-(-int(args.prefetch_size) // threads) if threads > 0 and args.prefetch_size > 0 else None,
            drop_last=True,
            rank=args.my_rank,
            world_size=args.comm_size,
            strings="offsets",
        )

    def next(self) -> Iterator[Any]:
        """The batches of this rank in an epoch; each call begins the next epoch. Raises what reading raises."""
        super().next()
        if self._loader is None:
            raise RuntimeError("DLIO calls read() before next()")
        self._loader.set_epoch(self.epoch_number)
        self.epoch_number += 1
        for batch in self._loader:
            yield batch["x"]

    def finalize(self) -> None:
        """Nothing: DLIO calls it after each epoch, and goes on with the next."""


def _shared_dataset(data_folder: Path, files: list[Path]) -> Path:
    """Where the dataset of these files is; the first rank makes it, all wait for that, and each raises its error."""
    path = data_folder / "headrace" / _name_of(files)
    communicator = DLIOMPI.get_instance().comm()
    error: Exception | None = None
    if DLIOMPI.get_instance().rank() == 0:
        try:
            _make(path, files)
        except Exception as raised:  # noqa: BLE001 - the other ranks wait, and are told
            error = raised
    if (error := communicator.bcast(error, root=0)) is not None:
        raise error
    return path


def _name_of(files: list[Path]) -> str:
    known = [(file.name, (found := file.stat()).st_size, found.st_mtime_ns) for file in files]
    return f"{hashlib.sha256(json.dumps(known).encode()).hexdigest()[:16]}.hr"


def _make(path: Path, files: list[Path]) -> None:
    """Write the samples of the files, in their order, unless they are there."""
    os.makedirs(path.parent, exist_ok=True)
    schema = _native.Schema([_native.Field("x", kind="bytes", codec="none")])  # As DLIO stores them: the bytes that are read are the same.
    try:
        with Writer(str(path), schema=schema) as writer:
            for file in files:
                with open(file, "rb") as opened:
                    found = np.load(opened, allow_pickle=False)
                    array = found["x"] if isinstance(found, np.lib.npyio.NpzFile) else found
                for sample in range(array.shape[-1]):
                    writer.append({"x": np.ascontiguousarray(array[..., sample]).tobytes()})
    except ExistsError:
        return
