"""Datasets resampled by imbalanced-learn: classes that have few samples get made ones (SMOTE, ADASYN), or others lose some."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.datasets.shards import Dataset
from headrace.datasets.shards import open as open_dataset
from headrace.errors import import_extra
from headrace.writing.writer import refuse_existing, write

__all__ = ["resample"]

# Name -> class of imbalanced-learn, and whether it makes samples up; the others choose among those that there are.
_METHODS = {
    "smote": ("SMOTE", True),
    "smotenc": ("SMOTENC", True),
    "borderline_smote": ("BorderlineSMOTE", True),
    "svm_smote": ("SVMSMOTE", True),
    "kmeans_smote": ("KMeansSMOTE", True),
    "adasyn": ("ADASYN", True),
    "smote_enn": ("SMOTEENN", True),
    "smote_tomek": ("SMOTETomek", True),
    "random_over": ("RandomOverSampler", False),
    "random_under": ("RandomUnderSampler", False),
    "near_miss": ("NearMiss", False),
    "tomek_links": ("TomekLinks", False),
    "edited_neighbours": ("EditedNearestNeighbours", False),
    "one_sided": ("OneSidedSelection", False),
    "instance_hardness": ("InstanceHardnessThreshold", False),
}
_BLIND = ("random_over", "random_under")  # draw without looking at values
_MODULES = ("over_sampling", "under_sampling", "combine")
_WIDEST = 1 << 53  # whole numbers beyond this are not exact in float64


def resample(
    dataset: Any,
    method: Any,
    out: str | os.PathLike[str],
    *,
    label: str,
    fields: Sequence[str] | None = None,
    categorical: Sequence[str] = (),
    seed: int = 0,
    **options: Any,
) -> Dataset:
    """Write a dataset in which classes are balanced, and open it: `hr.prep.resample(train, "smote", "balanced.hr", label="label")`.

    Of the training part alone: samples that were made from those of a test part leak it. To repeat or leave out samples without making any, an order needs no
    copy (headrace.sampling.undersample, oversample).
    method: smote, smotenc, borderline_smote, svm_smote, kmeans_smote, adasyn, smote_enn, smote_tomek, which make samples between neighbours of a class;
    random_over, random_under, near_miss, tomek_links, edited_neighbours, one_sided, instance_hardness, which choose; or an object with fit_resample() that
    makes them. label: the field that is to be balanced. fields: what neighbours are found by, and is delivered; default all but the label. They are numbers
    or booleans, or arrays of them of fixed shape; made values of whole numbers and booleans are rounded. Methods that choose copy all fields, of any kind.
    categorical: fields whose values are names of something (of smotenc): none between two is made. seed, options: of imbalanced-learn
    (sampling_strategy=, k_neighbors=, ...); seed only where the method draws.

    All is in memory meanwhile. Raises KeyError for an unknown field, ValueError for nulls, NaN, infinities and fields that no number is, TypeError for what is
    no dataset of headrace, ExistsError if there is something at `out`, MissingExtraError without imbalanced-learn, and what that raises, with a note.
    """
    if not hasattr(dataset, "schema") or not hasattr(dataset, "native"):
        raise TypeError(
            f"resample() takes a dataset of headrace: hr.open(path), a part of one, or hr.from_arrays(...); got {type(dataset).__name__}"
        )
    if len(dataset) == 0:
        raise ValueError("the dataset is empty: there is nothing to resample")
    for given, value in (("fields", fields), ("categorical", categorical)):
        if isinstance(value, str):
            raise TypeError(f"{given} is {value!r}; expected a list of names: {given}=[{value!r}]")
    refuse_existing(out)  # Before minutes of neighbours.
    names = dataset.schema.names
    chosen = [name for name in names if name != label] if fields is None else list(fields)
    for name in (label, *chosen, *categorical):
        if name not in names:
            raise KeyError(f"there is no field {name!r}; the dataset has {', '.join(map(repr, names))}")
    stray = [name for name in categorical if name not in chosen]
    if label in chosen or stray:
        raise ValueError(
            f"{label!r} is the label, and no field beside it" if label in chosen else f"categorical: {stray[0]!r} is not among the fields"
        )
    if not 0 <= seed < 1 << 32:
        raise ValueError(f"seed must be in [0, 2^32), got {seed}")
    sampler, makes = _sampler(method, seed, options)
    kinds = {field.name: field.kind for field in dataset.schema.fields}
    if not makes and fields is None:  # Neighbours are found by numbers; the others come along.
        chosen = [name for name in chosen if kinds[name] == "tensor"]
    target = _values(dataset, label)
    if target.ndim > 1 or target.dtype.kind == "f":
        raise ValueError(
            f"label {label!r} holds {target.dtype} of shape {target.shape[1:]}; expected classes: whole numbers, texts or booleans"
        )
    columns = {name: _numbers(dataset, name, is_finite=isinstance(method, str) and method not in _BLIND) for name in chosen}
    if not columns:
        raise ValueError("there is no field of numbers to find neighbours by")
    matrix = np.concatenate([values.reshape(len(values), -1).astype(np.float64) for values in columns.values()], axis=1)
    if categorical:
        if not hasattr(sampler, "categorical_features"):
            raise ValueError(f"categorical: {method!r} takes all fields for numbers; smotenc does not")
        sampler.set_params(categorical_features=_places(columns, categorical))
    try:
        made, labels = sampler.fit_resample(matrix, target)
    except ValueError as error:
        classes, counts = np.unique(target, return_counts=True)
        rarest = int(counts.argmin())
        error.add_note(
            f"headrace.prep.resample: {label!r} has {len(classes)} classes; the rarest, {classes[rarest]}, has {counts[rarest]} samples. Where a method "
            "looks for neighbours in a class, k_neighbors (smote; default 5) or n_neighbors must be less than that"
        )
        raise
    if not makes:
        rows = np.asarray(sampler.sample_indices_)
        write(out, dataset.subset(rows if method == "random_over" else np.sort(rows)))
        return open_dataset(out)
    parts: dict[str, Any] = {}
    begin = 0
    for name, values in columns.items():
        width = int(np.prod(values.shape[1:], dtype=np.int64))
        parts[name] = _as(made[:, begin : begin + width], values.dtype).reshape(len(made), *values.shape[1:])
        begin += width
    parts[label] = labels.tolist() if labels.dtype.kind in "OU" else labels
    write(out, {name: parts[name] for name in names if name in parts})
    return open_dataset(out)


def _sampler(method: Any, seed: int, options: dict[str, Any]) -> tuple[Any, bool]:
    """(sampler of imbalanced-learn, whether it makes samples up)."""
    if not isinstance(method, str):
        if not hasattr(method, "fit_resample") or options:
            raise TypeError(f"method is {method!r}; expected a name, or an object with fit_resample() and no options beside it")
        return method, True
    if method not in _METHODS:
        raise ValueError(f"method is {method!r}; expected one of {', '.join(_METHODS)}")
    name, makes = _METHODS[method]
    modules = [import_extra(f"imblearn.{module}", "resample", "headrace.prep.resample()") for module in _MODULES]
    kind = next(getattr(module, name) for module in modules if hasattr(module, name))
    if method == "smotenc":
        options = {"categorical_features": [], **options}
    sampler = kind(**options)
    return (sampler.set_params(random_state=seed) if "random_state" in sampler.get_params() else sampler), makes


def _values(dataset: Any, name: str) -> npt.NDArray[Any]:
    """A field of all samples. Raises ValueError for nulls."""
    at = dataset.schema.names.index(name)
    batch = dataset.native.fetch(np.arange(len(dataset)), [dataset.field_numbers[at]])
    if dataset.schema.fields[at].nullable and not (known := np.asarray(batch.valid(0))).all():
        raise ValueError(
            f"field {name!r}, sample {int(np.argmin(known))}: a null has no neighbours; leave such out with where(), or fill them in"
        )
    return np.array(batch.numpy(0))


def _numbers(dataset: Any, name: str, *, is_finite: bool) -> npt.NDArray[Any]:
    """A field's values of all samples. Raises ValueError for what is no number, and where they must be finite for what is not."""
    field = dataset.schema.fields[dataset.schema.names.index(name)]
    if field.kind != "tensor":
        raise ValueError(f"field {name!r} holds {field.kind} values: nothing lies between two of them; choose fields= of numbers")
    values = _values(dataset, name)
    if values.dtype.kind not in "biuf":
        raise ValueError(f"field {name!r} holds {values.dtype} values; choose fields= of numbers or booleans")
    if is_finite and not (finite := np.isfinite(values).reshape(len(values), -1).all(axis=1)).all():
        at = int(np.argmin(finite))
        odd = values[at][~np.isfinite(values[at])][0] if values.ndim > 1 else values[at]
        raise ValueError(
            f"field {name!r}, sample {at}: {odd} is not finite, and has no neighbours; fill such in, or leave them out with where()"
        )
    if values.dtype.kind in "iu" and values.size and max(abs(int(values.max())), abs(int(values.min()))) > _WIDEST:
        raise ValueError(f"field {name!r} holds whole numbers beyond 2^53, which are not exact as float64; leave it out of fields=")
    return values


def _places(columns: dict[str, npt.NDArray[Any]], categorical: Sequence[str]) -> list[int]:
    """Columns of the matrix that these fields take."""
    places: list[int] = []
    begin = 0
    for name, values in columns.items():
        width = int(np.prod(values.shape[1:], dtype=np.int64))
        if name in categorical:
            places += range(begin, begin + width)
        begin += width
    return places


def _as(values: npt.NDArray[np.float64], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Made values as the field has them: what lies between two whole numbers is rounded."""
    if dtype.kind == "b":
        return values >= 0.5
    return np.rint(values).astype(dtype) if dtype.kind in "iu" else values.astype(dtype)
