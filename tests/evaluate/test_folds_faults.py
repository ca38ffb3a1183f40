"""Folds that go wrong: one lacks a class, one fails, Ctrl-C is pressed, a part is empty."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score
from sklearn.model_selection import KFold, StratifiedKFold

import headrace as hr


def arrays(y: Any) -> Any:
    rng = np.random.default_rng(0)
    return hr.from_arrays((rng.normal(size=(len(y), 2)).astype(np.float32), np.asarray(y)))


def always(answer: Any) -> Any:
    """A way of fitting whose models say the same of every sample."""
    return lambda train, **_: lambda x: torch.full((len(x),), answer)


def test_a_fold_that_lacks_a_class_is_not_another_task() -> None:
    y = np.arange(100) % 2
    y[[3, 60]] = 2
    said = (np.random.default_rng(0).normal(size=(100, 2)).astype(np.float32)[:, 0] > 0).astype(np.int64)
    found = hr.evaluate.cross_validate(lambda _: lambda x: (x[:, 0] > 0).long(), arrays(y), splitter=KFold(5), metrics=["f1"])
    assert [fold.evaluation.task for fold in found.folds] == ["multiclass"] * 5
    assert [fold.evaluation.confusion.shape for fold in found.folds] == [(3, 3)] * 5
    parts = [test for _, test in KFold(5).split(y)]
    assert found.values("f1").tolist() == pytest.approx([f1_score(y[rows], said[rows], average="macro", zero_division=0) for rows in parts])


def test_numbers_that_happen_to_be_whole_in_a_fold_are_numbers() -> None:
    y = np.arange(100) % 4 + 0.0
    y[::30] = 0.5
    found = hr.evaluate.cross_validate(lambda _: lambda x: x[:, 0], arrays(y), splitter=KFold(5))
    assert {fold.evaluation.task for fold in found.folds} == {"regression"}
    best = hr.evaluate.nested(lambda _, c: lambda x: x[:, 0] + c, arrays(y), [{"c": 9.0}, {"c": 1.5}], "mse", k=3, inner=4)
    assert [fold.chosen for fold in best.folds] == [{"c": 1.5}] * 3


def test_a_fit_that_saw_fewer_classes_is_named() -> None:
    def of_seen_classes(train: Any) -> Any:
        seen = len(np.unique(train[:][1]))
        return lambda x: torch.full((len(x), seen), 1 / seen)

    y = np.arange(60) % 2
    y[50:] = 2
    with pytest.raises(ValueError, match=r"the predictions of fold 2 have shape \(20, 2\), those of fold 0 \(20, 3\)") as raised:
        hr.evaluate.cross_validate(of_seen_classes, arrays(np.where(y == 2, 2, y)), splitter=Uneven())
    assert "stratify=" in str(raised.value)


class Uneven:
    """Holds all samples of the last class out in the last fold."""

    def split(self, x: Any, y: Any = None, groups: Any = None) -> Any:
        for number in range(3):
            test = np.arange(number * 20, number * 20 + 20)
            yield np.setdiff1d(np.arange(60), test), test


def test_nested_and_plain_folds_are_compared() -> None:
    ds = arrays(np.arange(40) % 2)
    a = hr.evaluate.nested(lambda _, c: always(c)(None), ds, [{"c": 0.7}, {"c": 0.6}], "log_loss", k=4, stratify=np.arange(40) % 2)
    b = hr.evaluate.cross_validate(always(0.9), ds, 4, stratify=np.arange(40) % 2, metrics=["log_loss"])
    assert hr.evaluate.compare(a, b, "log_loss").better == "a"


@pytest.mark.parametrize("jobs", [1, 2, 8])
def test_an_error_names_its_fold_and_none_is_begun_after_it(jobs: int) -> None:
    begun: list[int] = []
    failed = threading.Event()
    lock = threading.Lock()

    def fit(train: Any) -> Any:
        with lock:
            begun.append(len(begun))
            mine = begun[-1]
        if mine == jobs - 1:  # The last of those that run at a time; the others are under way.
            failed.set()
            raise RuntimeError("diverged")
        failed.wait(60)
        return always(1)(train)

    with pytest.raises(RuntimeError, match="diverged") as raised:
        hr.evaluate.cross_validate(fit, arrays(np.arange(200) % 2), 40, jobs=jobs)
    assert len(begun) == jobs
    assert raised.value.__notes__[0].startswith("headrace.evaluate: in fold ")
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("headrace-fold")]


def test_errors_of_repeats_and_inner_folds_say_where() -> None:
    def fails_of(train: Any, c: int = 0, seed: int = 0) -> Any:
        raise ValueError("no")

    ds = arrays(np.arange(20) % 2)
    with pytest.raises(ValueError, match="no") as raised:
        hr.evaluate.cross_validate(fails_of, ds, 2, repeats=3)
    assert raised.value.__notes__ == ["headrace.evaluate: in fold 0 of repeat 0"]
    with pytest.raises(ValueError, match="no") as raised:
        hr.evaluate.nested(fails_of, ds, [{"c": 1}], "accuracy", k=2)
    assert raised.value.__notes__ == ["headrace.evaluate: in inner fold 0, with {'c': 1}", "headrace.evaluate: in fold 0"]
    with pytest.raises(ValueError, match="no") as raised:
        hr.evaluate.bootstrap(
            lambda train: always(0)(train) if train is not ds and len(np.unique(train[:][0])) > 35 else fails_of(train), ds, 3
        )


def test_wrong_predictions_are_said_by_their_fold() -> None:
    ds = arrays(np.arange(100) % 2)
    odd = float(ds[:][0][70, 0])
    with pytest.raises(ValueError, match="the prediction of sample 10 is nan") as raised:
        hr.evaluate.cross_validate(lambda _: lambda x: torch.where(x[:, 0] == odd, torch.nan, 0.5), ds, splitter=KFold(5))
    assert raised.value.__notes__ == ["headrace.evaluate: in fold 3"]


def test_metrics_that_do_not_fit_are_known_before_all_folds_are_fitted() -> None:
    ds, fits = arrays(np.arange(40) % 2), []

    def fit(train: Any) -> Any:
        fits.append(1)
        return always(1)(train)

    with pytest.raises(ValueError, match="there is no metric 'acc'"):
        hr.evaluate.cross_validate(fit, ds, 4, metrics=["acc"])
    assert len(fits) == 0
    with pytest.raises(ValueError, match="roc_auc needs probabilities"):
        hr.evaluate.cross_validate(fit, ds, 4, metrics=["roc_auc"])
    assert len(fits) == 1
    with pytest.raises(TypeError, match="expected a list"):
        hr.evaluate.cross_validate(fit, ds, 4, metrics="accuracy")
    with pytest.raises(TypeError, match="expected the name of one, by whose value"):
        hr.evaluate.nested(fit, ds, [{}], lambda a, b: 1.0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="expected a list of at least one dict"):
        hr.evaluate.nested(fit, ds, {"c": [1]}, "accuracy")  # type: ignore[arg-type]


@pytest.mark.parametrize("by", ["group", "time"])
def test_an_empty_part_is_said(by: str) -> None:
    with pytest.raises(ValueError, match=f"the test part of 20 samples, divided by {by}, is empty"):
        hr.evaluate.hold_out(always(0.5), arrays(np.arange(20) % 2), **{by: np.zeros(20)})
    for test in (0, 1.0, 25, True):
        with pytest.raises(ValueError, match="expected the share that is held out"):
            hr.evaluate.hold_out(always(0.5), arrays(np.arange(20) % 2), test)


def test_a_splitter_that_lacks_labels_says_what_to_give() -> None:
    with pytest.raises(TypeError) as raised:
        hr.evaluate.cross_validate(always(0.5), arrays(np.arange(20) % 2), splitter=StratifiedKFold(3))
    assert "what it needs as y is stratify=" in raised.value.__notes__[0]
    with pytest.raises(TypeError, match="splitter is 3; expected one of scikit-learn's"):
        hr.evaluate.cross_validate(always(0.5), arrays(np.arange(20) % 2), splitter=3)


INTERRUPTED = """
import sys, numpy as np, headrace as hr
def fit(train):
    sys.stdout.write("fitting\\n")  # one write: print() makes two, and another thread's may come between
    sys.stdout.flush()
    while True:
        pass
try:
    hr.evaluate.cross_validate(fit, hr.from_arrays((np.zeros((40, 1)), np.arange(40) % 2)), 4, jobs=int(sys.argv[1]))
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@pytest.mark.parametrize("jobs", [1, 2, 8])
def test_one_ctrl_c_ends_all_folds(jobs: int) -> None:
    job = subprocess.Popen([sys.executable, "-c", INTERRUPTED, str(jobs)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert job.stdout is not None
    for _ in range(min(jobs, 4)):
        assert job.stdout.readline() == "fitting\n"
    job.send_signal(signal.SIGINT)
    out, err = job.communicate(timeout=300)
    assert (out, job.returncode) == ("interrupted\n", 0), err
