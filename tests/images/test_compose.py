"""Composes: what they say of themselves, JSON, and transforms that do not fit."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headrace import images
from tests.images.photos import jpeg, photo, train_transform


def test_prints_itself_and_round_trips(tmp_path: Path) -> None:
    compose = train_transform(layout="HWC", exact=True, exif=False, reducing_gap=2.0, max_pixels=10**6)
    for again in (images.Compose.from_json(compose.to_json()), pickle.loads(pickle.dumps(compose)), eval(repr(compose), vars(images))):
        assert again == compose
        assert hash(again) == hash(compose)
        assert repr(again) == repr(compose)
    assert compose != train_transform()
    encoded = jpeg(photo(50, 40))
    (tmp_path / "a.jpg").write_bytes(encoded)
    np.testing.assert_array_equal(compose(encoded, epoch=2), compose(tmp_path / "a.jpg", epoch=2))
    assert not np.array_equal(compose(encoded, epoch=2), compose(encoded, epoch=3))
    with pytest.raises(ValueError, match="there is no transform 'Blur'"):
        images.Compose.from_json('{"version": 1, "transforms": [{"name": "Blur"}]}')
    with pytest.raises(ValueError, match="expected the JSON of"):
        images.Compose.from_json("[]")


@pytest.mark.parametrize("kind", [kind for kind in vars(images).values() if isinstance(kind, type) and issubclass(kind, images.Transform)])
def test_every_transform_is_documented_and_frozen(kind: type[images.Transform]) -> None:
    assert len(kind.__doc__ or "") > 15
    assert kind.__dataclass_params__.frozen  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: images.Compose([images.Resize(256)]), "differ in size"),
        (lambda: images.Compose([]), "differ in size"),
        (lambda: images.Compose(["Resize"]), r"transforms\[0\] is str"),
        (lambda: images.Compose([images.CenterCrop(3)], layout="NCHW"), "expected 'CHW' or 'HWC'"),
        (lambda: images.Compose([images.CenterCrop(3), images.Normalize(0.5, 0.5)]), r"transforms\[1\] \(Normalize\): .* behind a ToDtype"),
        (
            lambda: images.Compose([images.CenterCrop(3), images.ToDtype(), images.ColorJitter(1)]),
            r"transforms\[2\] \(ColorJitter\): it works on levels",
        ),
        (lambda: images.Compose([images.ToDtype(), images.ToDtype(), images.CenterCrop(3)]), "use one"),
        (lambda: images.Compose([images.CenterCrop(3)], reducing_gap=0.5), "reducing_gap"),
        (lambda: images.Resize((3, 4, 5)), "size is"),
        (lambda: images.Resize(0), "size is 0"),
        (lambda: images.Resize((3, 4), max_size=9), "max_size"),
        (lambda: images.Resize(9, max_size=3), "max_size"),
        (lambda: images.Resize(9, "cubic"), "interpolation is 'cubic'"),
        (lambda: images.CenterCrop(2.5), "size is 2.5"),
        (lambda: images.Pad(-1), "padding is -1"),
        (lambda: images.Pad(1, fill=300), "fill is 300"),
        (lambda: images.Pad(1, padding_mode="wrap"), "padding_mode is 'wrap'"),
        (lambda: images.RandomHorizontalFlip(1.5), "p is 1.5"),
        (lambda: images.RandomResizedCrop(5, scale=(1, 0.5)), "scale is"),
        (lambda: images.RandomResizedCrop(5, ratio=(0, 1)), "ratio is"),
        (lambda: images.ColorJitter(hue=0.7), "hue is"),
        (lambda: images.ColorJitter(brightness=-1), "brightness is -1"),
        (lambda: images.Normalize(0.5, 0), "std is"),
        (lambda: images.Normalize((1, 2), 1), "mean is"),
        (lambda: images.ToDtype("int64"), "dtype is 'int64'"),
        (lambda: images.Grayscale(1), "num_output_channels is 1"),
    ],
)
def test_what_does_not_fit_says_so(make: Any, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        make()


def test_flips_and_crops_may_follow_normalisation() -> None:
    encoded = jpeg(photo(50, 40))
    floats = [images.ToDtype(scale=True), images.Normalize(0.5, 0.25)]
    moves = [images.CenterCrop(32), images.RandomCrop(20), images.RandomHorizontalFlip()]
    before, after = images.Compose([*moves, *floats]), images.Compose([*floats, *moves])
    np.testing.assert_array_equal(before(encoded), after(encoded))


def test_erasing_before_normalisation_is_normalised() -> None:
    erase = images.RandomErasing(1.0, value=(0.5, 0.25, 1.0))
    compose = images.Compose(
        [images.CenterCrop(32), images.ToDtype(scale=True), erase, images.Normalize((0.5, 0.5, 0.5), (0.5, 0.25, 0.125))]
    )
    levels = compose(jpeg(photo(50, 40)), sample=3)
    for channel, value in enumerate((0.0, -1.0, 4.0)):
        assert (levels[channel] == value).sum() >= 0.02 * 32 * 32 - 32


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"version": 1, "transforms": [{"name": "Resize"}]}', "Resize in the JSON of a Compose: .*'size'"),
        (
            '{"version": 1, "transforms": [{"name": "CenterCrop", "size": 3}], "layout": "CHW", "depth": 3}',
            "Compose in the JSON of a Compose: .*'depth'",
        ),
        ('{"version": 1, "transforms": [3]}', "there is no transform 3"),
        ('{"version": 1}', "the images would differ in size"),
    ],
)
def test_json_of_something_else_is_a_value_error(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        images.Compose.from_json(text)


def test_numbers_beyond_the_draws_are_named() -> None:
    compose = images.Compose([images.CenterCrop(4)])
    encoded = jpeg(photo(10, 8))
    for numbers in ({"seed": -1}, {"epoch": 1 << 64}, {"sample": -(1 << 70)}):
        with pytest.raises(ValueError, match=f"{next(iter(numbers))} is .*2\\^64"):
            compose(encoded, **numbers)
    for most in (0, -1, 1 << 64):
        with pytest.raises(ValueError, match="max_pixels is"):
            images.Compose([images.CenterCrop(4)], max_pixels=most)


def test_any_bytes_are_decoded_and_nothing_else() -> None:
    compose = images.Compose([images.CenterCrop(4)])
    encoded = jpeg(photo(10, 8))
    for same in (bytearray(encoded), memoryview(encoded)):
        np.testing.assert_array_equal(compose(same), compose(encoded))
    for other in (5, np.frombuffer(encoded, np.uint8), None):
        with pytest.raises(TypeError):
            compose(other)  # type: ignore[arg-type]
