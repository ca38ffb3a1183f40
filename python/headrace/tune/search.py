"""Trials of options, chosen by Optuna, and the profile of the best."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from headrace import _native
from headrace.datasets.shards import Dataset
from headrace.datasets.shards import open as open_dataset
from headrace.errors import import_extra
from headrace.loader.profiles import Profile, load_profile, machine_key, save_profile
from headrace.sampling.options import one_of, whole_number
from headrace.tune.measure import Options, Side, check_seconds, make_side, rates

__all__ = ["SAMPLERS", "Search", "Trial", "importance_of", "sampler_of", "search"]

_LOGGER = logging.getLogger("headrace")
_PREFETCH = (1, 2, 4, 8)
_WINDOWS = (8, 16, 32, 64, 128)
SAMPLERS = ("tpe", "random", "grid", "gp")
Objective = Callable[[Options], float]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One choice of options: `ratio` is its rate / that of the defaults, measured in turn; None with `error` if it failed."""

    number: int
    options: Options
    ratio: float | None
    samples_per_second: float | None
    error: str | None = None


@dataclass(frozen=True, kw_only=True)
class Search:
    """What `search()` found. `profile`: of `best`, None if no trial went well; `interrupted`: Ctrl-C ended it early.

    saved: where that profile was written; None if it was not. kept: the profile of an earlier search that counts instead then, if there is one.
    """

    defaults: Options
    trials: list[Trial]
    best: Trial | None
    importance: dict[str, float] = field(default_factory=dict)  # share of each option in how much trials differ; empty if there are too few
    profile: Profile | None = None
    saved: str | None = None
    kept: Profile | None = None
    interrupted: bool = False


def search(
    dataset: str | os.PathLike[str] | Dataset,
    *,
    batch_size: int = 256,
    order: str = "global",
    trials: int = 20,
    sampler: str = "tpe",
    seed: int = 0,
    seconds: float = 1.0,
    most_workers: int | None = None,
    readers: Sequence[str] = ("mmap", "pread", "direct", "uring"),
    step: Callable[[Any], object] | None = None,
    objective: Objective | None = None,
    save: bool = True,
    on_trial: Callable[[Trial], object] | None = None,
) -> Search:
    """Search num_workers, prefetch_factor, reader and (order="window") window for the fastest loader over a dataset, and keep what was found.

    Each trial runs its loader in turn with one of the defaults (num_workers = usable cores, reader="auto"), `seconds` each, and is judged by the
    ratio. The first trials are the defaults and, if there is one, the profile of an earlier search; so the result is never worse than those were
    measured to be. sampler: of Optuna, "tpe", "random", "grid" or "gp". step: what the loop does with a batch; then the loop is what is tuned.
    objective: measures options in another way (more is better); with one that does not vary, the same seed gives the same choice. on_trial: called
    after each. save: write the profile after each improvement, whole or not at all: whatever stops the search leaves the best so far. The profile of an
    earlier search is replaced only once its own options were measured here and something was as good, or at the end if they cannot be.

    A trial that raises counts as failed, and the search goes on. Ctrl-C ends it: what was found so far is returned. Raises MissingExtraError without
    Optuna, ValueError for options that make no sense, what opening raises, and what every trial raised if none went well.
    """
    optuna = import_extra("optuna", "tune", "headrace.tune.search")
    one_of("order", order, ("global", "window", "sequential"))
    one_of("sampler", sampler, SAMPLERS)
    trials = whole_number("trials", trials, 1, 100_000)
    opened = dataset if isinstance(dataset, Dataset) else open_dataset(os.fspath(dataset))
    if not (os.path.isdir(opened.path) and opened.is_whole):
        raise ValueError(f"search() opens its dataset again for each reader: give one dataset on disk, whole, not {opened!r}")
    if len(opened) == 0:
        raise ValueError(f"{opened.path} has no samples to measure")
    batch_size = whole_number("batch_size", batch_size, 1, 1 << 32)
    check_seconds(seconds)
    cores = _native.num_threads()
    most = cores if most_workers is None else whole_number("most_workers", most_workers, 0, 1025)
    defaults: Options = {"num_workers": cores, "prefetch_factor": None, "reader": "auto", "window": 32 if order == "window" else None}
    space = _space(most, readers, order)
    keeper = _Keeper(opened, batch_size, order, space, save)
    done: list[Trial] = []
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # What went wrong is in the trials.
    study = optuna.create_study(direction="maximize", sampler=sampler_of(optuna, sampler, seed, space))
    for options in [] if sampler == "grid" else _known(keeper.earlier_options, space):
        study.enqueue_trial(options)
    run: _Run | None = None
    interrupted = False

    def measure(asked: Any) -> float:
        options = {name: asked.suggest_categorical(name, list(values)) for name, values in space.items()}
        assert run is not None
        trial = run.trial(asked.number, {"window": None, **options})
        done.append(trial)
        keeper.look(trial, len(done))
        if on_trial is not None:
            on_trial(trial)
        if trial.ratio is None:
            raise _FailedTrial
        return trial.ratio

    try:
        run = _Run(opened, defaults, batch_size, order, seconds, step, objective)
        study.optimize(measure, n_trials=min(trials, _size(space) if sampler == "grid" else trials), catch=(_FailedTrial,))
    except KeyboardInterrupt:
        interrupted = True
    finally:
        optuna.logging.set_verbosity(verbosity)
        if run is not None:
            run.close()
    if keeper.best is None and done and not interrupted:
        kept = "" if keeper.earlier is None else "; the profile of an earlier search stays"
        raise ValueError(f"none of {len(done)} trials went well; the first failed with: {done[0].error}{kept}")
    if not interrupted:
        keeper.finish()
    return Search(
        defaults=defaults,
        trials=done,
        best=keeper.best,
        importance=importance_of(optuna, study),
        profile=keeper.profile,
        saved=keeper.saved,
        kept=keeper.earlier if keeper.saved is None else None,
        interrupted=interrupted,
    )


class _Keeper:
    """The best trial so far, and its profile on disk: in place of an earlier search's only once that has been measured beside it, or nothing can."""

    def __init__(self, dataset: Dataset, batch_size: int, order: str, space: Space, save: bool) -> None:
        self._dataset, self._batch_size, self._order, self._save = dataset, batch_size, order, save
        self.best: Trial | None = None
        self.profile: Profile | None = None
        self.saved: str | None = None
        self.earlier = load_profile(dataset.native)
        self.earlier_options: Options | None = None
        if self.earlier is not None and (self.earlier.batch_size, self.earlier.order) == (batch_size, order):
            self.earlier_options = {name: getattr(self.earlier, name) for name in space}
        self._may_replace = self.earlier is None

    def look(self, trial: Trial, trials: int) -> None:
        """Take a trial in."""
        is_better = trial.ratio is not None and (self.best is None or trial.ratio > (self.best.ratio or 0.0))
        if is_better:
            self.best = trial
            self.profile = _profile(self._dataset, self._batch_size, self._order, trial, trials)
        was_earlier = self.earlier_options is not None and self.earlier_options.items() <= trial.options.items()
        if self.profile is not None and ((is_better and self._may_replace) or (was_earlier and not self._may_replace)):
            self._may_replace = True
            self._write(self.profile)

    def finish(self) -> None:
        """All trials went by: the best of them counts, though the earlier profile's options were not among them."""
        if self.profile is not None and not self._may_replace:
            self._may_replace = True
            self._write(self.profile)

    def _write(self, profile: Profile) -> None:
        if not self._save:
            return
        try:
            self.saved = str(save_profile(profile))
            self.earlier = None
        except OSError as error:
            stays = "there is none for this dataset" if self.earlier is None and self.saved is None else "the last good one stays"
            _LOGGER.warning("tune: the profile was not saved, %s: %s", stays, error)


class _FailedTrial(Exception):
    """Tells Optuna of a trial that went wrong."""


class _Run:
    """Measures trials against the defaults."""

    def __init__(
        self,
        dataset: Dataset,
        defaults: Options,
        batch_size: int,
        order: str,
        seconds: float,
        step: Callable[[Any], object] | None,
        objective: Objective | None,
    ) -> None:
        self._dataset, self._batch_size, self._order = dataset, batch_size, order
        self._seconds, self._step, self._objective = seconds, step, objective
        self._defaults: Side | None = None if objective is not None else self._side(defaults)

    def _side(self, options: Options) -> Side:
        return make_side(self._dataset, options, batch_size=self._batch_size, order=self._order, step=self._step)

    def trial(self, number: int, options: Options) -> Trial:
        side: Side | None = None
        try:
            if self._objective is not None or self._defaults is None:
                ratio = rate = float(self._objective(options)) if self._objective is not None else 0.0
            else:
                side = self._side(options)
                rate, reference = rates(side, self._defaults, self._seconds)
                ratio = rate / reference
            if not math.isfinite(ratio):
                raise ValueError(f"the objective is {ratio}, which compares with nothing")
            return Trial(number=number, options=options, ratio=ratio, samples_per_second=rate)
        except Exception as error:  # noqa: BLE001 - a reader that this system refuses, memory that is not there: the others go on
            _LOGGER.info("tune: trial %d with %s failed: %s: %s", number, options, type(error).__name__, error)
            return Trial(number=number, options=options, ratio=None, samples_per_second=None, error=f"{type(error).__name__}: {error}")
        finally:
            if side is not None:
                side.close()

    def close(self) -> None:
        if self._defaults is not None:
            self._defaults.close()


Space = Mapping[str, Sequence[Any]]


def _space(most_workers: int, readers: Sequence[str], order: str) -> Space:
    for reader in readers:
        one_of("readers", reader, ("mmap", "pread", "direct", "uring"))
    space: Space = {"num_workers": range(most_workers + 1), "prefetch_factor": _PREFETCH, "reader": tuple(readers)}
    return {**space, "window": _WINDOWS} if order == "window" else space


def _size(space: Space) -> int:
    size = 1
    for values in space.values():
        size *= len(values)
    return size


def sampler_of(optuna: Any, name: str, seed: int, space: Space) -> Any:
    """One of SAMPLERS."""
    if name == "grid":
        return optuna.samplers.GridSampler({key: list(values) for key, values in space.items()}, seed=seed)
    kinds = {"tpe": optuna.samplers.TPESampler, "random": optuna.samplers.RandomSampler, "gp": optuna.samplers.GPSampler}
    return kinds[name](seed=seed)


def _known(earlier: Options | None, space: Space) -> list[Options]:
    """Where a search begins: what a user gets without one, and what an earlier search found."""
    usual = {"num_workers": max(space["num_workers"]), "prefetch_factor": 2, "reader": space["reader"][0], "window": 32}
    found = [{name: usual[name] for name in space}, *([] if earlier is None else [earlier])]
    return [options for options in found if all(options[name] in values for name, values in space.items())]


def _profile(dataset: Dataset, batch_size: int, order: str, trial: Trial, trials: int) -> Profile:
    return Profile(
        machine=machine_key(),
        fingerprint=f"{dataset.native.fingerprint:016x}",
        batch_size=batch_size,
        order=order,
        ratio=trial.ratio or 0.0,
        samples_per_second=trial.samples_per_second or 0.0,
        trials=trials,
        **trial.options,
    )


def importance_of(optuna: Any, study: Any) -> dict[str, float]:
    """Share of each option in how much the trials of a study differ; empty if there are too few."""
    complete = [trial for trial in study.trials if trial.value is not None]
    if len(complete) < 4 or len({trial.value for trial in complete}) < 2:
        return {}
    try:
        found = optuna.importance.get_param_importances(study, evaluator=optuna.importance.PedAnovaImportanceEvaluator())
    except (ValueError, RuntimeError, ImportError):
        return {}
    return {name: float(share) for name, share in found.items()}
