"""SPDL: demuxing, decoding, cropping and scaling by FFmpeg's libraries in threads, then batches of frames in one buffer, normalised by torch."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import spdl.io
import spdl.pipeline
import torch

from benchmarks.rivals.photo_peers import BATCH, MEAN, SHORTER, SIDE, STD, random_part


class Peer:
    name = "SPDL"

    def __init__(self, paths: list[Path], kind: str) -> None:
        self._paths = [str(path) for path in paths]
        self._kind = kind
        self._mean = torch.tensor(MEAN).view(1, 3, 1, 1) * 255
        self._scale = 1 / (torch.tensor(STD).view(1, 3, 1, 1) * 255)

    def settings(self) -> list[dict[str, Any]]:
        """Threads of the stage that decodes, and of FFmpeg's own scaler."""
        return [{"concurrency": count, "flags": flags} for count in (2, 3) for flags in ("bilinear", "fast_bilinear")]

    def open(self, concurrency: int, flags: str) -> None:
        torch.set_num_threads(1)
        self._concurrency, self._flags = concurrency, flags

    def _filter(self) -> str:
        scaled = f"scale={SIDE}:{SIDE}:flags={self._flags}"
        if self._kind == "evaluate":
            shorter = f"scale=w='if(gt(iw,ih),-1,{SHORTER})':h='if(gt(iw,ih),{SHORTER},-1)':flags={self._flags}"
            return f"{shorter},crop={SIDE}:{SIDE},format=rgb24"
        share, ratio = random_part()
        width, height = f"min(iw,sqrt({share * ratio}*iw*ih))", f"min(ih,sqrt({share / ratio}*iw*ih))"
        place = f"x='(iw-ow)*{random.random()}':y='(ih-oh)*{random.random()}'"
        flip = ",hflip" if random.random() < 0.5 else ""
        return f"crop=w='{width}':h='{height}':{place}:exact=1,{scaled}{flip},format=rgb24"

    def _decode(self, path: str) -> Any:
        return spdl.io.decode_packets(spdl.io.demux_image(path), filter_desc=self._filter())

    def _batch(self, frames: list[Any]) -> Any:
        images = spdl.io.to_torch(spdl.io.convert_frames(frames))
        return images.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format).sub_(self._mean).mul_(self._scale)

    def batches(self, epoch: int) -> Iterator[Any]:
        paths = random.Random(epoch).sample(self._paths, len(self._paths))
        builder = spdl.pipeline.PipelineBuilder().add_source(paths).pipe(self._decode, concurrency=self._concurrency)
        builder = builder.aggregate(BATCH).pipe(self._batch, concurrency=1).add_sink(4)
        pipeline = builder.build(num_threads=self._concurrency)
        with pipeline.auto_stop():
            yield from pipeline
