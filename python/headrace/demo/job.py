"""The whole demo: convert, read back, split, check, measure, train, score; then the same made ready by headrace alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import headrace
from headrace import errors
from headrace._native import Dataset, Schema
from headrace.demo.features import read_features
from headrace.demo.tables import flights_table

if TYPE_CHECKING:
    from headrace.demo.compare import ContenderResult
    from headrace.demo.ready import ReadyResult

__all__ = ["Converted", "DemoResult", "run_demo"]

_QUICK_FLIGHTS = 24_000


@dataclass(frozen=True, kw_only=True)
class Converted:
    """A dataset that the demo wrote."""

    path: str
    samples: int
    fields: int
    raw_bytes: int
    stored_bytes: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class DemoResult:
    """What the demo did and measured. The first of `contenders` is headrace."""

    flights: Converted
    train: Converted
    held_out: Converted
    unknown_arrivals: int  # flights left out: cancelled, diverted, or not recorded
    late_share: float  # of the held-out flights; a score that always says "on time" is right for the others
    batch_size: int
    epochs: int
    seed: int
    checked_batches: int  # of one epoch, bit-equal between headrace and torch before anything was timed
    contenders: list[ContenderResult]
    ready: ReadyResult  # the flights profiled, prepared, balanced, trained on and evaluated by headrace alone
    seconds: float


def run_demo(
    folder: str,
    *,
    quick: bool = False,
    batch_size: int = 2048,
    epochs: int = 3,
    seed: int = 0,
    advance: Callable[[str], None] = lambda stage: None,
) -> DemoResult:
    """Run the demo, writing its datasets below `folder`. quick: a fourteenth of the flights. advance: called with the name of each stage.

    Raises MissingExtraError, ExistsError if `folder` holds the datasets already, ChangedError if a check before the clock fails.
    """
    errors.import_extra("torch", "demo", "the demo")
    from headrace.demo.compare import check_order, check_same_epoch, compare, contenders
    from headrace.demo.ready import run_ready
    from headrace.demo.train import one_torch_thread

    begin = time.perf_counter()
    root = Path(folder)
    advance("reading flights, planes and weather")
    columns, schema = flights_table(_QUICK_FLIGHTS if quick else None)
    advance("converting the flights")
    flights = _write(root / "flights", columns, schema)
    advance("making features")
    features = read_features(flights.path)
    train = _write(root / "train", features.train, features.schema)
    held_out = _write(root / "held-out", features.held_out, features.schema)
    entries = contenders(train.path, features, batch_size=batch_size, seed=seed, open_dataset=_open)
    advance("checking that one epoch is equal in both loaders")
    check_order(train.samples, seed)
    ours, theirs = (entry.make(0)[0] for entry in (entries[0], entries[2]))
    checked = check_same_epoch(ours, theirs, train.samples)
    results = compare(entries, features, lambda: _sequential(held_out.path), epochs=epochs, seed=seed, advance=advance)
    with one_torch_thread():
        ready = run_ready(flights.path, epochs=epochs, seed=seed, advance=advance)
    return DemoResult(
        flights=flights,
        train=train,
        held_out=held_out,
        unknown_arrivals=features.flights - train.samples - held_out.samples,
        late_share=float(features.held_out["late"].mean()),
        batch_size=batch_size,
        epochs=epochs,
        seed=seed,
        checked_batches=checked,
        contenders=results,
        ready=ready,
        seconds=time.perf_counter() - begin,
    )


def _write(path: Path, columns: dict[str, Any], schema: Schema) -> Converted:
    _remove_earlier(path)
    begin = time.perf_counter()
    headrace.write(str(path), columns, schema=schema)
    seconds = time.perf_counter() - begin
    dataset = Dataset(str(path))
    stats = dataset.field_stats()
    return Converted(
        path=str(path),
        samples=len(dataset),
        fields=len(dataset.schema),
        raw_bytes=sum(int(entry["raw_bytes"]) for entry in stats),
        stored_bytes=sum(int(entry["stored_bytes"]) for entry in stats),
        seconds=seconds,
    )


def _remove_earlier(path: Path) -> None:
    """Remove what an earlier run of the demo left at `path`, and nothing that it did not write."""
    if not path.is_dir():
        return
    entries = list(path.iterdir())
    foreign = [entry.name for entry in entries if not (entry.is_file() and entry.suffix in (".hrm", ".hrs", ".tmp"))]
    if foreign:
        raise errors.ExistsError(f"{path}: holds {foreign[0]}, which is no part of a dataset; give the demo another folder")
    for entry in entries:
        entry.unlink()
    path.rmdir()


def _open(path: str) -> Any:
    return headrace.open(path)


def _sequential(path: str) -> Any:
    return headrace.DataLoader(headrace.open(path), 8192)
