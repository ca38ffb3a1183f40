"""The same flights made ready and judged: profiled, split by date, prepared by a pipeline that saw the earlier months alone, balanced, trained on, evaluated.

Beside it, a preparation of scikit-learn's: fitted there, translated, and run by the loader.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

import headrace
from headrace import errors, prep
from headrace.demo.features import LATE_MINUTES, NUMBERS, SPLIT

__all__ = ["ReadyResult", "Translated", "run_ready"]

_LABEL = "arrival_delay_minutes"
_NUMBERS = tuple(name for name in NUMBERS if name != "plane_engines")  # nearly all have two
_NAMES = ("carrier", "origin", "dest", "engine")
_BATCH = 2048


@dataclass(frozen=True, kw_only=True)
class Translated:
    """A pipeline of scikit-learn's, run by the loader."""

    steps: str
    rows: int  # compared, as the loader delivered them
    largest_difference: float  # to scikit-learn's own transform(), relative to the value or to 1, whichever is more


@dataclass(frozen=True, kw_only=True)
class ReadyResult:
    """What the demo made ready, and how good the model is that was trained on it."""

    profile: str  # a table, as text
    profile_seconds: float
    train: int  # samples
    held_out: int
    pipeline: str  # as it prints itself
    fit_passes: int
    fit_seconds: float
    features: int
    late_share: float  # of the training flights
    balanced_late_share: float  # of what the loader delivered
    epochs: int
    train_seconds: float
    evaluation: str  # figures with intervals, as text
    auc: float
    auc_interval: tuple[float, float]
    translated: Translated


def make_pipeline() -> prep.Pipeline:
    """What is learned on the earlier months: fills, bounds, scales, categories; the label is made here too."""
    inputs = [*_NUMBERS, "*_missing", *_NAMES, "scheduled_departure"]
    return prep.Pipeline(
        [
            prep.Binarize(LATE_MINUTES, fields=_LABEL),
            prep.DateParts(["month", "weekday", "hour"], cyclic=True, fields="scheduled_departure"),
            prep.Impute("median", indicator=True, fields=list(_NUMBERS)),
            prep.Outliers("quantile", threshold=(0.001, 0.999), fields=list(_NUMBERS)),
            prep.Standardize(fields=list(_NUMBERS)),
            prep.OneHot(max_categories=60, fields=list(_NAMES)),
            prep.Concat("features", fields=inputs),
        ]
    )


def run_ready(
    path: str, *, epochs: int, seed: int, num_workers: int = 2, advance: Callable[[str], None] = lambda stage: None
) -> ReadyResult:
    """Make the flights dataset at `path` ready, train on it and evaluate. Raises MissingExtraError."""
    errors.import_extra("torch", "demo", "the demo")
    errors.import_extra("sklearn", "demo", "the demo")
    used = headrace.open(path).select([_LABEL, "scheduled_departure", *_NUMBERS, *_NAMES])
    advance("profiling the flights")
    begin = time.perf_counter()
    profile = headrace.profile(used)
    profile_seconds = time.perf_counter() - begin
    known = used.where(~headrace.col(_LABEL).is_null())
    train = known.where(headrace.col("scheduled_departure") < SPLIT)
    held_out = known.where(headrace.col("scheduled_departure") >= SPLIT)

    advance("fitting the pipeline on the earlier months")
    begin = time.perf_counter()
    pipe = make_pipeline().fit(train)
    fit_seconds = time.perf_counter() - begin
    late = labels_of(train) > LATE_MINUTES
    loader = headrace.DataLoader(
        train, _BATCH, shuffle=True, seed=seed, num_workers=num_workers, prepare=pipe, order=headrace.sampling.oversample(late)
    )
    advance("training on balanced batches")
    begin = time.perf_counter()
    model, seen = _train(loader, epochs=epochs, seed=seed)
    train_seconds = time.perf_counter() - begin
    advance("evaluating on the later months")
    found = headrace.evaluate.model(
        model, held_out, ["roc_auc", "average_precision"], label=_LABEL, outputs="logits", prepare=pipe, batch_size=8192, seed=seed
    )
    interval = found.figures["roc_auc"].interval
    assert interval is not None  # resamples were asked for
    advance("translating a pipeline of scikit-learn's")
    return ReadyResult(
        profile=profile.to_text(100),
        profile_seconds=profile_seconds,
        train=len(train),
        held_out=len(held_out),
        pipeline=str(pipe),
        fit_passes=pipe.passes_,
        fit_seconds=fit_seconds,
        features=model.width,
        late_share=float(late.mean()),
        balanced_late_share=seen,
        epochs=epochs,
        train_seconds=train_seconds,
        evaluation=str(found),
        auc=found["roc_auc"],
        auc_interval=(interval.low, interval.high),
        translated=_translate(train),
    )


def labels_of(dataset: Any) -> npt.NDArray[Any]:
    """The delays of all its flights."""
    delays: npt.NDArray[Any] = dataset.select([_LABEL])[:][_LABEL]
    return delays


def _train(loader: Any, *, epochs: int, seed: int) -> tuple[Any, float]:
    """A small network, and the share of late flights among those that it was given."""
    import torch
    from torch import nn

    class Late(nn.Module):
        """Logits of shape (batch,) for {"features": (batch, width)}."""

        def __init__(self, width: int) -> None:
            super().__init__()
            self.width = width
            self.layers = nn.Sequential(nn.Linear(width, 64), nn.ReLU(), nn.Linear(64, 1))

        def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
            logits: torch.Tensor = self.layers(batch["features"]).squeeze(1)
            return logits

    torch.manual_seed(seed)
    model = optimizer = None
    loss_of = nn.BCEWithLogitsLoss()
    late = samples = 0.0
    for epoch in range(epochs):
        loader.set_epoch(epoch)
        for batch in loader:
            if model is None:
                model = Late(batch["features"].shape[1])
                optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
            assert optimizer is not None
            loss = loss_of(model(batch), batch[_LABEL])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            late += float(batch[_LABEL].sum())
            samples += len(batch[_LABEL])
    return model, late / samples


def _translate(train: Any) -> Translated:
    """scikit-learn's imputer, scaler and projection, fitted by it on the training flights, and the loader's batches beside its transform()."""
    import sklearn.decomposition
    import sklearn.impute
    import sklearn.pipeline
    import sklearn.preprocessing

    def table(rows: Any) -> npt.NDArray[np.float64]:
        values = train.select(list(_NUMBERS))[rows]
        columns = [np.where(values.get(f"{name}.valid", True), values[name], np.nan) for name in _NUMBERS]
        return np.stack(columns, axis=1).astype(np.float64)

    steps = [sklearn.impute.SimpleImputer(strategy="median"), sklearn.preprocessing.StandardScaler(), sklearn.decomposition.PCA(6)]
    fitted = sklearn.pipeline.make_pipeline(*steps).fit(table(slice(None)))
    pipe = prep.from_sklearn(fitted, list(_NUMBERS), dtype="float64")
    loader = headrace.DataLoader(train.select(list(_NUMBERS)), 4096, prepare=pipe)
    rows, largest = 0, 0.0
    for batch in loader:
        ours = batch["features"].numpy()
        theirs = fitted.transform(table(slice(rows, rows + len(ours))))
        largest = max(largest, float((np.abs(ours - theirs) / np.maximum(np.abs(theirs), 1.0)).max()))
        rows += len(ours)
    if largest > 1e-6:
        raise errors.ChangedError(f"the translated pipeline differs from scikit-learn's by {largest:.2g}; expected at most 1e-6")
    names = " -> ".join(type(step).__name__ for step in steps)
    return Translated(steps=names, rows=rows, largest_difference=largest)
