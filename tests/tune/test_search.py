"""The search: repeatable, never worse than what it began with, and whatever ends it leaves the best so far."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import headrace as hr
from headrace.loader.profiles import load_profile, profile_path
from headrace.tune import Trial, search

READERS = ("mmap", "pread")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HEADRACE_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("tune") / "d"
    hr.write(made, {"x": np.random.default_rng(0).normal(size=(20_000, 16)).astype(np.float32)}, codec="lz4")
    return made


def hill(options: dict[str, Any]) -> float:
    """Best at 3 workers, prefetch 4, pread."""
    return 10 - (options["num_workers"] - 3) ** 2 - abs(options["prefetch_factor"] - 4) + (options["reader"] == "pread")


@pytest.mark.parametrize("sampler", ["tpe", "random", "grid"])
def test_the_same_seed_chooses_the_same(path: Path, sampler: str) -> None:
    found = [
        search(path, objective=hill, sampler=sampler, trials=25, seed=7, most_workers=6, readers=READERS, save=False) for _ in range(2)
    ]
    assert found[0].trials == found[1].trials
    assert found[0].best == found[1].best
    assert found[0].best is not None
    assert found[0].best.ratio == max(hill(trial.options) for trial in found[0].trials)


def test_the_grid_finds_the_top_and_ends(path: Path) -> None:
    found = search(path, objective=hill, sampler="grid", trials=1000, most_workers=4, readers=READERS)
    assert len(found.trials) == 5 * 4 * 2
    assert found.best is not None
    assert found.best.options == {"num_workers": 3, "prefetch_factor": 4, "reader": "pread", "window": None}
    assert set(found.importance) == {"num_workers", "prefetch_factor", "reader"}
    assert found.importance["num_workers"] > found.importance["reader"]
    assert sum(found.importance.values()) == pytest.approx(1)
    assert load_profile(hr.open(path).native) == found.profile
    assert hr.DataLoader(hr.open(path), 10, num_workers="auto").num_workers == 3


def test_it_begins_with_the_defaults_and_with_what_was_found_before(path: Path) -> None:
    search(path, objective=hill, sampler="grid", trials=1000, most_workers=4, readers=READERS)
    again = search(path, objective=hill, trials=2, most_workers=4, readers=READERS)
    assert again.trials[0].options["num_workers"] == 4
    assert again.trials[1].options == {"num_workers": 3, "prefetch_factor": 4, "reader": "pread", "window": None}


def test_measured_on_a_loader(path: Path) -> None:
    seen: list[Trial] = []
    found = search(path, trials=4, seconds=0.05, most_workers=2, readers=READERS, order="window", batch_size=64, on_trial=seen.append)
    assert seen == found.trials
    assert all(trial.error is None and trial.samples_per_second for trial in found.trials)
    assert found.best is not None
    assert found.profile is not None
    assert found.best.ratio == max(trial.ratio or 0 for trial in found.trials)
    assert found.profile.loader_options() == {
        "num_workers": found.best.options["num_workers"], "prefetch_factor": found.best.options["prefetch_factor"], "order": "window",
        "window": found.best.options["window"],
    }  # fmt: skip


def test_a_slow_consumer_is_part_of_what_is_measured(path: Path) -> None:
    calls = 0

    def step(batch: Any) -> None:
        nonlocal calls
        calls += 1

    search(path, trials=1, seconds=0.02, readers=READERS, step=step, save=False)
    assert calls >= 10


def test_failing_trials_are_counted_and_the_search_goes_on(path: Path) -> None:
    def refused(options: dict[str, Any]) -> float:
        if options["reader"] == "pread":
            raise OSError("not on this system")
        return hill(options)

    found = search(path, objective=refused, sampler="grid", trials=1000, most_workers=4, readers=READERS)
    failed = [trial for trial in found.trials if trial.ratio is None]
    assert len(failed) == 20
    assert {trial.error for trial in failed} == {"OSError: not on this system"}
    assert found.best is not None
    assert found.best.options["reader"] == "mmap"


def test_when_all_fail_the_reason_is_told(path: Path, cache: Path) -> None:
    def broken(options: dict[str, Any]) -> float:
        raise RuntimeError("no disk")

    with pytest.raises(ValueError, match="none of 3 trials went well; the first failed with: RuntimeError: no disk"):
        search(path, objective=broken, trials=3)
    assert not list(cache.rglob("*.json"))


def test_ctrl_c_keeps_what_was_found(path: Path) -> None:
    def until_now(options: dict[str, Any]) -> float:
        if len(done) == 3:
            raise KeyboardInterrupt
        return hill(options)

    done: list[Trial] = []
    found = search(path, objective=until_now, trials=10, most_workers=4, readers=READERS, on_trial=done.append)
    assert found.interrupted
    assert len(found.trials) == 3
    assert load_profile(hr.open(path).native) == found.profile
    assert found.profile is not None


def test_a_full_disk_costs_only_the_profile(
    path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with caplog.at_level(logging.WARNING, logger="headrace"):
        found = search(path, objective=hill, trials=2, most_workers=4, readers=READERS)
    assert found.best is not None
    assert found.saved is None
    assert "not saved, there is none for this dataset" in caplog.text
    monkeypatch.undo()
    monkeypatch.setenv("HEADRACE_CACHE_DIR", str(cache))
    earlier = search(path, objective=hill, trials=2, most_workers=4, readers=READERS).profile
    monkeypatch.setattr("os.fsync", full)
    found = search(path, objective=hill, trials=8, most_workers=4, readers=READERS)
    assert (found.saved, found.kept) == (None, earlier)
    assert load_profile(hr.open(path).native) == earlier
    assert "not saved, the last good one stays: [Errno 28]" in caplog.text
    assert [file.name for file in cache.rglob("*") if file.is_file()] == [profile_path(earlier.fingerprint).name]


def test_an_earlier_profile_stays_until_it_was_measured_again(path: Path) -> None:
    earlier = search(path, objective=hill, sampler="grid", trials=1000, most_workers=4, readers=READERS).profile
    first = search(path, objective=hill, trials=1, most_workers=4, readers=READERS, on_trial=stop)
    assert (first.interrupted, first.saved, first.kept) == (True, None, earlier)
    assert first.profile is not None
    assert load_profile(hr.open(path).native) == earlier
    second = search(path, objective=hill, trials=2, most_workers=4, readers=READERS)
    assert second.best is not None
    assert second.best.options == {"num_workers": 3, "prefetch_factor": 4, "reader": "pread", "window": None}
    assert (second.saved is not None, second.kept) == (True, None)
    assert load_profile(hr.open(path).native) == second.profile


def test_an_earlier_profile_of_another_batch_size_stays_until_the_search_is_over(path: Path) -> None:
    earlier = search(path, objective=hill, trials=3, most_workers=4, readers=READERS, batch_size=7).profile

    def after_three(trial: Trial) -> None:
        if trial.number == 2:
            raise KeyboardInterrupt

    assert search(path, objective=hill, trials=5, most_workers=4, readers=READERS, on_trial=after_three).kept == earlier
    assert load_profile(hr.open(path).native) == earlier
    found = search(path, objective=hill, trials=3, most_workers=4, readers=READERS)
    assert load_profile(hr.open(path).native) == found.profile != earlier


def test_an_earlier_profile_whose_options_fail_now_is_replaced(path: Path) -> None:
    search(path, objective=hill, sampler="grid", trials=1000, most_workers=4, readers=READERS)

    def refused(options: dict[str, Any]) -> float:
        if options["reader"] == "pread":
            raise OSError("not on this system any more")
        return hill(options)

    found = search(path, objective=refused, trials=2, most_workers=4, readers=READERS)
    assert found.profile is not None
    assert found.profile.reader == "mmap"
    assert load_profile(hr.open(path).native) == found.profile


def test_what_compares_with_nothing_is_a_failed_trial(path: Path) -> None:
    values = iter([float("nan"), 2.0, float("inf"), 1.0])
    found = search(path, objective=lambda options: next(values), trials=4, sampler="random", readers=READERS)
    assert [trial.ratio for trial in found.trials] == [None, 2.0, None, 1.0]
    assert found.best == found.trials[1]


def stop(trial: Trial) -> None:
    raise KeyboardInterrupt


def test_a_part_or_a_mixture_is_refused(path: Path) -> None:
    dataset = hr.open(path)
    for other in (dataset.subset(range(10)), hr.mix([dataset, dataset], weights=[0.5, 0.5])):
        with pytest.raises(ValueError, match="one dataset on disk, whole"):
            search(other, objective=hill)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"trials": 0}, ValueError),
        ({"sampler": "best"}, ValueError),
        ({"order": "weighted"}, ValueError),
        ({"readers": ["tape"]}, ValueError),
        ({"seconds": float("nan")}, ValueError),
        ({"seconds": 0}, ValueError),
        ({"batch_size": 0}, ValueError),
    ],
)
def test_options_that_make_no_sense(path: Path, options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        search(path, objective=hill, **options)
