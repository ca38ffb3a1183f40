"""SPDL: its own decoding, cropping and scaling (FFmpeg's libraries) in threads, then frames in one buffer, normalised by torch; or its pipeline around the
plain chain of simplejpeg and OpenCV, which is faster."""

from __future__ import annotations

import importlib.util
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import spdl.io
import spdl.pipeline
import torch

from benchmarks.rivals.hand_written_photos import PlainChain
from benchmarks.rivals.photo_peers import BATCH, MEAN, SHORTER, SIDE, STD, random_part


class Peer:
    name = "SPDL"

    def __init__(self, paths: list[Path], kind: str) -> None:
        self._paths = [str(path) for path in paths]
        self._kind = kind
        self._mean = torch.tensor(MEAN).view(1, 3, 1, 1) * 255
        self._scale = 1 / (torch.tensor(STD).view(1, 3, 1, 1) * 255)

    def settings(self) -> list[dict[str, Any]]:
        """Threads of the stage that decodes; the scaler, FFmpeg's or the plain chain's where that is installed."""
        has_chain = all(importlib.util.find_spec(name) for name in ("simplejpeg", "cv2"))
        scalers = ("bilinear", "fast_bilinear", *(("plain chain",) if has_chain else ()))
        return [{"concurrency": count, "scaler": scaler} for count in (2, 3) for scaler in scalers]

    def open(self, concurrency: int, scaler: str) -> None:
        torch.set_num_threads(1)
        self._concurrency, self._flags = concurrency, scaler
        is_chain = scaler == "plain chain"
        self._chain = PlainChain([Path(path) for path in self._paths], BATCH, train=self._kind == "train") if is_chain else None

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

    def _chain_batch(self, indices: list[int]) -> Any:
        out = np.empty((len(indices), 3, SIDE, SIDE), np.float32)
        assert self._chain is not None
        for index, image in zip(indices, out, strict=True):
            self._chain.prepare(index, image)
        return torch.from_numpy(out)

    def batches(self, epoch: int) -> Iterator[Any]:
        if self._chain is not None:
            order = random.Random(epoch).sample(range(len(self._paths)), len(self._paths))
            source = [order[begin : begin + BATCH] for begin in range(0, len(order), BATCH)]
            chained = spdl.pipeline.PipelineBuilder().add_source(source).pipe(self._chain_batch, concurrency=self._concurrency).add_sink(4)
            with (running := chained.build(num_threads=self._concurrency)).auto_stop():
                yield from running
            return
        paths = random.Random(epoch).sample(self._paths, len(self._paths))
        builder = spdl.pipeline.PipelineBuilder().add_source(paths).pipe(self._decode, concurrency=self._concurrency)
        builder = builder.aggregate(BATCH).pipe(self._batch, concurrency=1).add_sink(4)
        pipeline = builder.build(num_threads=self._concurrency)
        with pipeline.auto_stop():
            yield from pipeline
