"""NVIDIA DALI's pipeline on the CPU: its reader, the crop inside its decoder, resize, and crop, mirror and normalise in one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nvidia.dali import fn, pipeline_def, types

from benchmarks.rivals.photo_peers import BATCH, MEAN, SHORTER, SIDE, STD


class Peer:
    name = "DALI, CPU"

    def __init__(self, paths: list[Path], kind: str) -> None:
        self._paths = [str(path) for path in paths]
        self._kind = kind

    def settings(self) -> list[dict[str, Any]]:
        """Threads, and the decoder's faster transform."""
        return [{"num_threads": count, "fast": fast} for count in (1, 2) for fast in (True, False)]

    def open(self, num_threads: int, fast: bool) -> None:
        self._left = 0
        self._pipeline: Any = None

        @pipeline_def(batch_size=BATCH, num_threads=num_threads, device_id=None, prefetch_queue_depth=3)
        def photos() -> Any:
            encoded, _ = fn.readers.file(files=self._paths, random_shuffle=True, initial_fill=1024, name="photos")
            if self._kind == "train":
                image = fn.decoders.image_random_crop(
                    encoded, device="cpu", random_area=[0.08, 1.0], random_aspect_ratio=[3 / 4, 4 / 3], use_fast_idct=fast
                )
                image = fn.resize(image, resize_x=SIDE, resize_y=SIDE, interp_type=types.INTERP_LINEAR)
                mirror: Any = fn.random.coin_flip()
            else:
                image = fn.decoders.image(encoded, device="cpu", use_fast_idct=fast)
                image = fn.resize(image, resize_shorter=SHORTER, interp_type=types.INTERP_LINEAR)
                mirror = 0
            mean, std = [value * 255 for value in MEAN], [value * 255 for value in STD]
            return fn.crop_mirror_normalize(
                image, crop=(SIDE, SIDE), dtype=types.FLOAT, output_layout="CHW", mean=mean, std=std, mirror=mirror
            )

        self._pipeline = photos()
        self._pipeline.build()

    def batches(self, epoch: int) -> Iterator[Any]:
        """The pipeline goes on from epoch to epoch; a pass is as many batches as the photos fill."""
        for _ in range(len(self._paths) // BATCH):
            (images,) = self._pipeline.run()
            yield images.as_array()
