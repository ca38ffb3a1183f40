"""The contact sheet: each image in its tile, and below it what the transform makes of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

import headrace as hr
from headrace import images
from headrace.images.contact_sheet import contact_sheet
from tests.cli.command_line import headrace_command
from tests.images.photos import IMAGENET, decoded, jpeg, make_folder, photo, planes


def test_tiles_show_what_is_delivered() -> None:
    encoded = jpeg(photo(80, 80))
    steps = [images.CenterCrop(64), images.RandomHorizontalFlip(1.0)]
    for compose in (
        images.Compose(steps),
        images.Compose([*steps, images.ToDtype("bfloat16", scale=True), images.Normalize(*IMAGENET)], layout="HWC"),
    ):
        sheet = contact_sheet([encoded, None, b"no image", encoded], [0, 1, 2, 3], compose, side=64, columns=2)
        assert sheet.size == (2 * 68 + 4, 2 * (2 * 68 + 4) + 4)
        expected = planes(decoded(encoded).crop((8, 8, 72, 72)))[:, :, ::-1]
        got = planes(sheet.crop((4, 4 + 68, 68, 4 + 68 + 64)))
        assert np.abs(got - expected).max() <= (0 if compose.dtype == "uint8" else 2)
        assert (planes(sheet.crop((72, 4, 136, 136))) == 255).all()  # A null one.
        assert sheet.getpixel((10, 4 + 140 + 10)) == (200, 0, 0)


def test_command(tmp_path: Path) -> None:
    hr.convert(make_folder(tmp_path / "photos"), tmp_path / "d")
    (tmp_path / "t.json").write_text(images.Compose([images.RandomResizedCrop(32)]).to_json())
    out = tmp_path / "out.png"
    outcome = headrace_command("head", tmp_path / "d", "-n", "9", "--images", out, "--transform", tmp_path / "t.json", "--json")
    assert outcome.code == 0
    with Image.open(out) as drawn:
        assert (outcome.json["samples"], outcome.json["width"], outcome.json["height"]) == (9, *drawn.size)
    assert "9 images" in headrace_command("head", tmp_path / "d", "-n", "9", "--images", out).out
    assert "needs one field" in headrace_command("head", tmp_path / "d", "--images", out, "--fields", "label").err
    assert "goes with --images" in headrace_command("head", tmp_path / "d", "--transform", tmp_path / "t.json").err
