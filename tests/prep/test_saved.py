"""What is saved as JSON and then changed, its checksum made to fit: one clear error, and nothing is made of a size that is not checked."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import compose, preprocessing

from headrace import prep
from headrace.errors import CorruptDataError, UnsupportedVersionError
from headrace.prep import state

GONE: Any = object()
OTHERS: tuple[Any, ...] = (
    GONE,
    None,
    True,
    -1,
    2**70,
    1e300,
    "nan",
    "x",
    [],
    {},
    [[]],
    {"array": "float64", "shape": [1], "values": [1.0]},
    {"array": "U400000000", "shape": [1], "values": ["a"]},
    {"array": "float64", "shape": [10**12], "values": [1.0]},
    {"array": "object", "shape": [1], "values": ["a"]},
    {"number": "zzz"},
    {"number": "nan"},
    {"tuple": 5},
    {"dict": [[[], 1]]},
)


def data() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {
        "x": rng.normal(size=(60, 2)).astype(np.float32),
        "i": rng.integers(0, 5, 60),
        "t": [("a", "b", "cé", None)[i % 4] for i in range(60)],
        "d": np.arange(60).astype("datetime64[D]"),
        "y": (np.arange(60) % 2).astype(np.int64),
    }


def fitted() -> prep.Pipeline:
    return prep.Pipeline(
        [
            prep.Impute("median", fields="x", indicator=True),
            prep.Outliers("zscore", fields="x"),
            prep.Power(fields="x"),
            prep.Quantile(n_quantiles=5, fields="x"),
            prep.Bucketize(n=3, fields="i", onehot=True),
            prep.Clean(replace={"a": "z"}, casefold=True, fields="t"),
            prep.OneHot(min_frequency=2, fields="t"),
            prep.DateParts(["month"], fields="d"),
            prep.Concat(fields=["x", "i", "t", "d"]),
            prep.SelectKBest("f", 4, target="y", fields="features"),
            prep.PCA(2, fields="features"),
        ]
    ).fit(data())


def places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Of all that JSON holds, but of long lists the first three."""
    if place:
        yield place
    for key in value if isinstance(value, dict) else range(min(3, len(value))) if isinstance(value, list) else ():
        yield from places(value[key], (*place, key))


def changed(saved: Any, place: tuple[Any, ...], other: Any) -> str:
    made = copy.deepcopy(saved)
    at = made["content"]
    for key in place[:-1]:
        at = at[key]
    if other is GONE:
        del at[place[-1]]
    else:
        at[place[-1]] = other
    made["checksum"] = state._checksum(made["content"])
    return json.dumps(made)


def check(text: str, rows: dict[str, Any]) -> None:
    """It is refused, or it is a pipeline that runs or says in an error of Python's what is wrong."""
    try:
        pipe = prep.Pipeline.from_json(text)
    except (CorruptDataError, UnsupportedVersionError):
        return
    for use in (lambda: pipe.transform(rows), pipe.get_feature_names_out, lambda: repr(pipe), pipe.to_json):
        try:
            use()
        except (ValueError, TypeError, KeyError):  # NotFittedError is one
            continue


def test_any_part_changed() -> None:
    saved, rows = json.loads(fitted().to_json()), data()
    cases = [(place, other) for place in places(saved["content"]) for other in OTHERS]
    for place, other in random.Random(7).sample(cases, 150):
        check(changed(saved, place, other), rows)


def test_any_part_of_a_translated_one_changed() -> None:
    frame = pd.DataFrame({"a": np.arange(30.0), "c": ["u", "v", "w"] * 10})
    parts = [("n", preprocessing.StandardScaler(), ["a"]), ("o", preprocessing.OneHotEncoder(handle_unknown="ignore"), ["c"])]
    saved = json.loads(prep.from_sklearn(compose.ColumnTransformer(parts).fit(frame)).to_json())
    rows = {"a": frame["a"].to_numpy(), "c": frame["c"].tolist()}
    cases = [(place, other) for place in places(saved["content"]) for other in OTHERS]
    for place, other in random.Random(7).sample(cases, 150):
        check(changed(saved, place, other), rows)


@pytest.mark.parametrize(
    ("place", "other", "says"),
    [
        (("steps", 0, "learned", "x", "statistics", "shape"), [10**12], r"shape \[1000000000000\] with 2 values"),
        (("steps", 0, "learned", "x", "statistics", "array"), "U400000000", "an array of 'U400000000'; expected one of bool, int8"),
        (("steps", 0, "learned", "x", "statistics", "values"), [1.0], r"shape \[2\] with 1 values"),
        (("steps", 0, "learned", "x", "statistics"), GONE, "lacks a part of a pipeline"),
        (("steps", 0, "step"), "Exec", "there is no step"),
        (("steps", 0, "params", "strategy"), 5, "strategy is 5"),
        (("input_fields", 0, 2), "float3", "float3"),
        (("input_fields", 0, 3), [2**40], "."),
        (("passes",), GONE, "passes"),
    ],
)
def test_what_is_wrong_is_named(place: tuple[Any, ...], other: Any, says: str) -> None:
    with pytest.raises(CorruptDataError, match=says):
        prep.Pipeline.from_json(changed(json.loads(fitted().to_json()), place, other))


def test_text_that_nests_without_end() -> None:
    with pytest.raises(CorruptDataError, match="it is no JSON"):
        prep.Pipeline.from_json("[" * 200_000)
