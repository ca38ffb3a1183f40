"""Fitting: passes over the rows, each through the native plan of what is fitted already, until every step knows what it needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from headrace.prep.categories import CategoryCollector, chosen_texts
from headrace.prep.program import FLOATS, Program, Value
from headrace.prep.rows import Counted, Rows
from headrace.prep.step import Step
from headrace.prep.summary import Collector
from headrace.prep.transform import OrderedRows

__all__ = ["Walk", "fit_steps"]


@dataclass
class Wait:
    """A field that some steps cannot go on with before a pass has looked at it."""

    value: Value  # where the first of them meets it
    needs: frozenset[str]
    left: frozenset[str]  # what would still be known of it behind the last of them
    chain: list[Step] = field(default_factory=list)

    def takes(self, step: Step) -> bool:
        """Whether the step learns from this pass, too: what it needs can be computed from what the earlier ones find."""
        return bool(step.needs) and step.needs <= self.left

    def add(self, step: Step) -> None:
        """Let it learn behind the others."""
        self.needs, self.left = self.needs | step.needs, self.left & step.keeps
        self.chain.append(step)


class Walk:
    """The steps as far as they are fitted, as a Program, and the fields that wait for a pass.

    is_planned: nothing is learned; steps count as fitted once a walk has met them (to count passes).
    """

    def __init__(self, steps: Sequence[Step], fields: Any, among: Sequence[str], planned: set[tuple[int, str]] | None = None) -> None:
        self.program = Program(fields)
        self.waits: dict[str, Wait] = {}
        self.together: tuple[Step, list[str]] | None = None  # a step that looks at several fields at once
        self.idle: list[Step] = []  # steps that no field suits
        self._planned = planned
        self.is_whole = True
        for number, step in enumerate(steps):
            if not self._take(number, step, among):
                self.is_whole = False
                break

    def _is_fitted(self, number: int, step: Step, name: str) -> bool:
        return name in step.learned if self._planned is None else (number, name) in self._planned

    def _take(self, number: int, step: Step, among: Sequence[str]) -> bool:
        """Emit the step where it is fitted, let fields wait where not. False: nothing behind it can be looked at in this pass."""
        if self.waits and step.is_joint:
            return False
        try:
            names = step.chosen(self.program.values, among)
        except KeyError:
            if not self.waits and self._planned is None:
                raise
            return self._planned is not None  # It may be for a field that a waiting step makes.
        if not names:
            self.idle.append(step)
        waiting = [name for name in names if name in self.waits]
        unfitted = [name for name in names if step.needs and not self._is_fitted(number, step, name)]
        if step.is_joint and unfitted:
            self.together = (step, names)
            return False
        for name in names:
            if name in self.waits:
                self._append(number, step, name)
            elif name in unfitted:
                self.waits[name] = Wait(step.read(self.program, name), step.needs, step.needs_after(), [step])
                self._plan(number, name)
                self._hold(name)
        ready = [name for name in names if name not in self.waits]
        if ready and (self._planned is None or not step.needs):
            step.emit_all(self.program, ready)
        elif ready:
            for name in ready:
                step.sketch(self.program, name)
        return not ((waiting or unfitted) and (step.drops_rows or step.remakes))

    def _append(self, number: int, step: Step, name: str) -> None:
        wait = self.waits[name]
        if wait.takes(step) and not self._is_fitted(number, step, name):
            wait.add(step)
            self._plan(number, name)
        else:
            wait.left = frozenset()

    def _plan(self, number: int, name: str) -> None:
        if self._planned is not None:
            self._planned.add((number, name))

    def _hold(self, name: str) -> None:
        """Later steps see the field as it will be: numbers; none of them touches its register."""
        value = self.program.values[name]
        kind = value.type if value.type in (*FLOATS, "int64") else "float32"
        self.program.values[name] = replace(value, kind="tensor", dtype="float32", type=kind, source=None)

    @property
    def is_done(self) -> bool:
        """Whether every step is fitted."""
        return self.is_whole and not self.waits and self.together is None


def fit_steps(steps: Sequence[Step], rows: Rows | OrderedRows, among: Sequence[str], threads: int) -> int:
    """Fit the steps on the rows. Returns how many passes over them it took."""
    passes = 0
    while not (walk := Walk(steps, rows.fields, among)).is_done:
        _run_pass(walk, rows, threads)
        passes += 1
    return passes


def count_passes(steps: Sequence[Step], fields: Any, among: Sequence[str]) -> int:
    """How many passes fit_steps() takes; where what a step makes depends on the data, as many as with one component for each field."""
    planned: set[tuple[int, str]] = set()
    passes = 0
    while not (walk := Walk(steps, fields, among, planned)).is_done:
        if walk.together is not None:
            number = next(i for i, step in enumerate(steps) if step is walk.together[0])
            planned.update((number, name) for name in walk.together[1])
        passes += 1
    return passes


def _run_pass(walk: Walk, rows: Rows | OrderedRows, threads: int) -> None:
    program = walk.program
    wanted = {name: wait.value for name, wait in walk.waits.items()}
    collectors = {name: _collector(wait) for name, wait in walk.waits.items()}
    joint: Any = None
    if walk.together is not None:
        step, names = walk.together
        values = {name: step.read(program, name) for name in names}
        joint = step.begin(values)
        wanted.update({f"together {name}": value for name, value in values.items()})
    keys = list(wanted)
    flags = program.flags()
    plan = program.compile({**wanted, **flags})
    # Where no row is left out, the engine counts moments as it builds batches.
    widths = {name: wait.value.width for name, wait in walk.waits.items() if wait.needs == {"moments"} and not flags}
    for batch in rows.batches(plan, [*keys, *flags], threads, program.input_names, widths):
        kept = None if not flags else np.logical_and.reduce([batch.pop(flag) != 0 for flag in flags])
        columns = {key: _flat(batch[key], wanted[key].width, kept) for key in keys}
        for name, collector in collectors.items():
            column = columns[name]
            if isinstance(column, Counted) and isinstance(collector, Collector):
                collector.add(column)
            else:
                collector.update(column, threads)
        if joint is not None:
            joint.update({key.removeprefix("together "): column for key, column in columns.items() if key.startswith("together ")}, threads)
    for name, wait in walk.waits.items():
        summary = collectors[name].summary()
        for step in wait.chain:
            learned = step.learn(wait.value, summary)
            step.learned[name] = learned
            summary = step.pass_on(summary, learned)
    if walk.together is not None:
        step, names = walk.together
        step.learned.update(step.finish(joint))


def _collector(wait: Wait) -> Collector | CategoryCollector:
    if "categories" in wait.needs:
        return CategoryCollector(wait.value)
    return Collector(wait.value.width, wait.needs)


def _flat(values: Any, width: int, kept: Any) -> Any:
    if isinstance(values, Counted):
        return values
    if isinstance(values, tuple):
        return values if kept is None else chosen_texts(values, kept)
    flat = values.reshape(len(values), width)
    return flat if kept is None else flat[kept]
