"""Trials of options, chosen by Optuna, and the profile of the best."""

from __future__ import annotations

import logging
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
from headrace.tune.measure import Options, Side, make_side, rates

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
    """What `search()` found. `profile` is None if no trial went well; `interrupted`: Ctrl-C ended it early; `saved`: where the profile is."""

    defaults: Options
    trials: list[Trial]
    best: Trial | None
    importance: dict[str, float] = field(default_factory=dict)  # share of each option in how much trials differ; empty if there are too few
    profile: Profile | None = None
    saved: str | None = None
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
    after each. save: write the profile after each improvement, whole or not at all: what stops the search leaves the best so far.

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
    cores = _native.num_threads()
    most = cores if most_workers is None else whole_number("most_workers", most_workers, 0, 1025)
    defaults: Options = {"num_workers": cores, "prefetch_factor": None, "reader": "auto", "window": 32 if order == "window" else None}
    space = _space(most, readers, order)
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # What went wrong is in the trials.
    study = optuna.create_study(direction="maximize", sampler=sampler_of(optuna, sampler, seed, space))
    known = [] if sampler == "grid" else _known(load_profile(opened.native), batch_size, order, space)
    for options in known:
        study.enqueue_trial(options)
    run = _Run(opened, defaults, batch_size, order, seconds, step, objective)
    done: list[Trial] = []
    interrupted = False
    profile: Profile | None = None
    saved: str | None = None
    best: Trial | None = None

    def measure(asked: Any) -> float:
        nonlocal best, profile, saved
        options = {name: asked.suggest_categorical(name, list(values)) for name, values in space.items()}
        trial = run.trial(asked.number, {"window": None, **options})
        done.append(trial)
        if trial.ratio is not None and (best is None or trial.ratio > (best.ratio or 0.0)):
            best = trial
            profile = _profile(opened, batch_size, order, trial, len(done))
            saved = _save(profile) if save else None
        if on_trial is not None:
            on_trial(trial)
        if trial.ratio is None:
            raise _FailedTrial
        return trial.ratio

    try:
        study.optimize(measure, n_trials=min(trials, _size(space) if sampler == "grid" else trials), catch=(_FailedTrial,))
    except KeyboardInterrupt:
        interrupted = True
    finally:
        optuna.logging.set_verbosity(verbosity)
        run.close()
    if best is None and done and not interrupted:
        raise ValueError(f"none of {len(done)} trials went well; the first failed with: {done[0].error}")
    return Search(
        defaults=defaults,
        trials=done,
        best=best,
        importance=importance_of(optuna, study),
        profile=profile,
        saved=saved,
        interrupted=interrupted,
    )


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


def _known(profile: Profile | None, batch_size: int, order: str, space: Space) -> list[Options]:
    """Where a search begins: what a user gets without one, and what an earlier search found."""
    found = [{"num_workers": max(space["num_workers"]), "prefetch_factor": 2, "reader": space["reader"][0], "window": 32}]
    if profile is not None and (profile.batch_size, profile.order) == (batch_size, order):
        found.append({name: getattr(profile, name) for name in ("num_workers", "prefetch_factor", "reader", "window")})
    kept = [{name: options[name] for name in space} for options in found]
    return [options for options in kept if all(options[name] in values for name, values in space.items())]


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


def _save(profile: Profile) -> str | None:
    try:
        return str(save_profile(profile))
    except OSError as error:
        _LOGGER.warning("tune: the profile was not saved, an older one stays: %s", error)
        return None


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
