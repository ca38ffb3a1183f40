"""tf.data: files read, decoded with the crop inside the decoder, resized and normalised a photo at a time, in parallel calls."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf

from benchmarks.rivals.photo_peers import BATCH, MEAN, SHORTER, SIDE, STD


class Peer:
    name = "tf.data"

    def __init__(self, paths: list[Path], kind: str) -> None:
        self._paths = [str(path) for path in paths]
        self._kind = kind

    def settings(self) -> list[dict[str, Any]]:
        """Parallel calls, and the decoder's transform."""
        return [{"calls": calls, "dct": dct} for calls in (2, 0) for dct in ("INTEGER_FAST", "INTEGER_ACCURATE")]

    def open(self, calls: int, dct: str) -> None:
        tf.config.set_visible_devices([], "GPU")
        self._calls, self._dct = calls or tf.data.AUTOTUNE, dct

    def _prepare(self, path: Any) -> Any:
        encoded = tf.io.read_file(path)
        if self._kind == "train":
            box = tf.zeros((1, 0, 4))
            begin, size, _ = tf.image.sample_distorted_bounding_box(
                tf.image.extract_jpeg_shape(encoded),
                box,
                aspect_ratio_range=(3 / 4, 4 / 3),
                area_range=(0.08, 1.0),
                use_image_if_no_bounding_boxes=True,
            )
            window = tf.stack([begin[0], begin[1], size[0], size[1]])
            image = tf.io.decode_and_crop_jpeg(encoded, window, channels=3, dct_method=self._dct, fancy_upscaling=False)
            image = tf.image.random_flip_left_right(tf.image.resize(image, (SIDE, SIDE)))
        else:
            image = tf.io.decode_jpeg(encoded, channels=3, dct_method=self._dct, fancy_upscaling=False)
            size = tf.cast(tf.shape(image)[:2], tf.float32)
            size = tf.cast(tf.round(size * SHORTER / tf.reduce_min(size)), tf.int32)
            image = tf.image.resize_with_crop_or_pad(tf.image.resize(image, size), SIDE, SIDE)
        image = (image - tf.constant(MEAN) * 255) * (1 / (tf.constant(STD) * 255))
        return tf.ensure_shape(tf.transpose(image, (2, 0, 1)), (3, SIDE, SIDE))

    def batches(self, epoch: int) -> Iterator[Any]:
        dataset = tf.data.Dataset.from_tensor_slices(self._paths).shuffle(len(self._paths), seed=epoch)
        dataset = dataset.map(self._prepare, num_parallel_calls=self._calls, deterministic=False).batch(BATCH).prefetch(tf.data.AUTOTUNE)
        return dataset.as_numpy_iterator()
