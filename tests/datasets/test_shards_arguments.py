"""What a dataset is opened with, and indexed by."""

from __future__ import annotations

import multiprocessing
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

import headrace
from headrace import errors

VALUES = np.arange(50).reshape(10, 5)


@pytest.fixture
def dataset(tmp_path: Path) -> headrace.Dataset:
    headrace.write(tmp_path / "d", {"label": VALUES})
    return headrace.open(tmp_path / "d")


@pytest.mark.parametrize(
    "index",
    [
        0,
        -1,
        np.int8(-10),
        np.uint64(3),
        np.array(2),
        slice(None),
        slice(None, None, -1),
        slice(8, 2, -3),
        slice(-100, 5),
        slice(4, 4),
        [],
        [-1, 0, -1],
        [True] + [False] * 9,
        np.zeros(10, bool),
        range(9, -1, -2),
        np.arange(10)[::-1],
        np.array([3, 1], ">i4"),
        np.array([3, 1], np.uint8),
    ],
    ids=repr,
)
def test_indices_mean_what_numpy_means(dataset: headrace.Dataset, index: object) -> None:
    np.testing.assert_array_equal(dataset[index]["label"], VALUES[index])  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("index", "error"),
    [
        (10, IndexError),
        (-11, IndexError),
        (1 << 70, IndexError),
        ([1 << 70], IndexError),
        ([0, 10], IndexError),
        ([True, False], IndexError),
        (np.array([1 << 63], np.uint64), IndexError),
        (True, TypeError),
        (1.0, TypeError),
        ([1.0], TypeError),
        ("label", TypeError),
        (None, TypeError),
        ({1, 2}, TypeError),
        (np.zeros((2, 2), int), TypeError),
        (slice(None, None, 0), ValueError),
    ],
    ids=repr,
)
def test_indices_that_mean_nothing_are_refused(dataset: headrace.Dataset, index: object, error: type[Exception]) -> None:
    with pytest.raises(error):
        dataset[index]  # type: ignore[call-overload]


@pytest.mark.parametrize("version", [0, -1, 1.5, "1", True, 1 << 70])
def test_a_version_is_a_number_from_1_on(dataset: headrace.Dataset, version: object) -> None:
    with pytest.raises(ValueError, match="expected a number from 1 on, or None for the newest"):
        headrace.open(dataset.path, version)  # type: ignore[arg-type]


def test_fields_are_a_list_of_names(dataset: headrace.Dataset) -> None:
    with pytest.raises(TypeError, match="fields is the text 'label'; expected a list of names"):
        dataset.select("label")


def test_paths_may_be_bytes_or_anything_like_a_path(dataset: headrace.Dataset) -> None:
    for path in (os.fsencode(dataset.path), Path(dataset.path)):
        assert headrace.open(path).path == dataset.path


@pytest.mark.parametrize("name", errors.__all__)
def test_errors_survive_pickling(name: str) -> None:
    kind = getattr(errors, name)
    error = kind(5, "text") if issubclass(kind, OSError) else kind("text")
    error.add_note("a note")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.__notes__) == (kind, str(error), ["a note"])
    assert getattr(again, "errno", None) == getattr(error, "errno", None)


def test_an_error_of_the_core_crosses_processes(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(1) as pool, pytest.raises(errors.NotFoundError, match="nowhere") as caught:
        pool.apply(headrace.open, (str(tmp_path / "nowhere"),))
    assert caught.value.errno == 2
