"""Profiles are kept per dataset and machine, whole or not at all; num_workers="auto" follows them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch.utils.data

import headrace as hr
from headrace.loader.profiles import Profile, load_profile, machine_key, profile_path, save_profile


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HEADRACE_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def dataset(tmp_path: Path) -> hr.Dataset:
    hr.write(tmp_path / "d", {"x": np.arange(100)})
    return hr.open(tmp_path / "d")


def profile_of(dataset: hr.Dataset, **changes: Any) -> Profile:
    values: dict[str, Any] = {
        "machine": machine_key(), "fingerprint": f"{dataset.native.fingerprint:016x}", "batch_size": 10, "order": "window", "num_workers": 5,
        "prefetch_factor": 4, "window": 16, "reader": "pread", "ratio": 1.5, "samples_per_second": 10.0, "trials": 3,
    }  # fmt: skip
    return Profile(**{**values, **changes})


def test_auto_follows_the_profile(dataset: hr.Dataset) -> None:
    assert hr.DataLoader(dataset, 10, num_workers="auto").num_workers == hr.num_threads()
    save_profile(profile_of(dataset))
    loader = hr.DataLoader(dataset, 10, num_workers="auto")
    assert loader.num_workers == 5
    assert sorted(x for batch in loader for x in batch["x"].tolist()) == list(range(100))
    assert hr.DataLoader(hr.from_arrays({"x": np.arange(10)}), 5, num_workers="auto").num_workers == hr.num_threads()


def test_what_was_saved_is_loaded(dataset: hr.Dataset, cache: Path) -> None:
    profile = profile_of(dataset)
    path = save_profile(profile)
    assert path.is_relative_to(cache)
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert load_profile(dataset.native) == profile
    assert profile.loader_options() == {"num_workers": 5, "prefetch_factor": 4, "order": "window", "window": 16}
    assert profile.open_options() == {"reader": "pread"}
    hr.DataLoader(hr.open(dataset.path, **profile.open_options()), 10, shuffle=True, **profile.loader_options())


def test_another_version_of_the_dataset_has_none(dataset: hr.Dataset) -> None:
    save_profile(profile_of(dataset))
    hr.write(dataset.path, {"x": np.arange(5)}, append=True)
    assert load_profile(hr.open(dataset.path).native) is None
    assert load_profile(hr.open(dataset.path, version=1).native) is not None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"version": 2}',
        "\x00",
        '{"version": 1, "num_workers": 1}',
        "DAMAGED num_workers -1",
        "DAMAGED num_workers many",
    ],
)
def test_a_damaged_or_newer_profile_is_none(dataset: hr.Dataset, text: str) -> None:
    path = save_profile(profile_of(dataset))
    if text.startswith("DAMAGED"):
        _, name, value = text.split()
        found = json.loads(path.read_text())
        found[name] = int(value) if value.lstrip("-").isdigit() else value
        text = json.dumps(found)
    path.write_text(text)
    assert load_profile(dataset.native) is None
    assert hr.DataLoader(dataset, 10, num_workers="auto").num_workers == hr.num_threads()


def test_a_write_that_fails_leaves_the_old_one(dataset: hr.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save_profile(profile_of(dataset))
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        save_profile(profile_of(dataset, num_workers=1))
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_the_folder_is_the_users_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("HEADRACE_CACHE_DIR")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # The specification: ignored.
    assert profile_path("f").parent == tmp_path / ".cache" / "headrace" / "profiles"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert profile_path("f").parent == tmp_path / "xdg" / "headrace" / "profiles"


def test_auto_is_for_the_native_engine() -> None:
    with pytest.raises(ValueError, match="only the native engine sets them by itself"):
        hr.DataLoader([1, 2, 3], num_workers="auto")
    with pytest.raises(TypeError, match="num_workers"):
        hr.DataLoader(torch.utils.data.TensorDataset(torch.arange(3)), num_workers="many")


def test_what_killed_writers_left_is_removed(dataset: hr.Dataset, cache: Path) -> None:
    folder = cache / "profiles"
    folder.mkdir(parents=True)
    (folder / ".profile-old").write_text("{")
    os.utime(folder / ".profile-old", (0, 0))
    (folder / ".profile-new").write_text("{")
    path = save_profile(profile_of(dataset))
    assert sorted(folder.iterdir()) == sorted([folder / ".profile-new", path])


@pytest.mark.parametrize(
    "change",
    [
        {"prefetch_factor": "many"}, {"prefetch_factor": 0}, {"window": -1}, {"reader": "tape"}, {"reader": None}, {"ratio": "fast"},
        {"samples_per_second": float("nan")}, {"batch_size": True}, {"num_workers": 2.5},
    ],
)  # fmt: skip
def test_a_profile_that_was_edited_is_none(dataset: hr.Dataset, change: dict[str, Any]) -> None:
    save_profile(profile_of(dataset, **change))
    assert load_profile(dataset.native) is None
    assert hr.DataLoader(dataset, 10, num_workers="auto").num_workers == hr.num_threads()


def test_deep_json_is_no_profile(dataset: hr.Dataset) -> None:
    save_profile(profile_of(dataset)).write_text("[" * 100_000)
    assert load_profile(dataset.native) is None


def test_a_user_without_a_home(dataset: hr.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("HEADRACE_CACHE_DIR")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    assert hr.DataLoader(dataset, 10, num_workers="auto").num_workers == hr.num_threads()
    with pytest.raises(OSError, match="HEADRACE_CACHE_DIR"):
        save_profile(profile_of(dataset))
