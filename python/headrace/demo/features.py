"""What the model takes, made from the flights dataset: standardised numbers, codes, and whether the flight was late; split by date.

Nothing that is known only after departure is used (no delays, no actual times), and everything that is fitted (means, spreads, the
known categories) is fitted on the training part alone.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace._native import Dataset, Field, Schema
from headrace.demo.tables import CATEGORICAL

__all__ = ["LATE_MINUTES", "NUMBERS", "SPLIT", "Features", "read_features"]

SPLIT = np.datetime64("2013-10-01")
LATE_MINUTES = 15
# A tail number has 80 flights on average: as a category it is mostly noise, and the plane's model says the same.
_CODED = [name for name in CATEGORICAL if name != "tailnum"]
NUMBERS = (
    "distance_miles",
    "plane_year",
    "plane_engines",
    "plane_seats",
    "temperature_f",
    "dew_point_f",
    "humidity_percent",
    "wind_speed_mph",
    "wind_gust_mph",
    "precipitation_inches",
    "pressure_millibars",
    "visibility_miles",
)
# Missing together with others, or never: one indicator says it for all of them.
_INDICATED = ("plane_year", "plane_seats", "temperature_f", "wind_direction_degrees", "wind_gust_mph", "pressure_millibars")

Columns = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class Features:
    """Two sets of columns with one schema: "numbers" float32 (n, k), "codes" int64 (n, c), "late" float32 (n,)."""

    train: Columns
    held_out: Columns
    schema: Schema
    cardinalities: list[int]  # codes of column j are in [0, cardinalities[j]); 0 is missing or unknown
    flights: int  # before those without a known arrival were left out


def read_features(path: str) -> Features:
    """Read the flights dataset at `path` and make features of it."""
    values, valid, categories = _read_columns(path)
    known = valid["arrival_delay_minutes"]
    departure = values["scheduled_departure"][known]
    train = departure < SPLIT
    numbers, names = _numbers(values, valid, known, departure, train)
    codes, cardinalities = _codes(values, valid, categories, known, departure, train)
    late = (values["arrival_delay_minutes"][known] > LATE_MINUTES).astype(np.float32)
    columns: Columns = {"numbers": numbers, "codes": codes, "late": late}
    fields = [
        Field("numbers", dtype="float32", shape=[len(names)], metadata=json.dumps({"names": names})),
        Field("codes", dtype="int64", shape=[len(cardinalities)], metadata=json.dumps({"names": [*_CODED, "weekday", "hour"]})),
        Field("late", dtype="float32"),
    ]
    return Features(
        train={name: np.ascontiguousarray(column[train]) for name, column in columns.items()},
        held_out={name: np.ascontiguousarray(column[~train]) for name, column in columns.items()},
        schema=Schema(fields),
        cardinalities=cardinalities,
        flights=len(known),
    )


def _read_columns(path: str) -> tuple[Columns, Columns, dict[str, list[str]]]:
    """Every field of a dataset as one array, which of its values are present, and the names behind its codes."""
    dataset = Dataset(path)
    fields = dataset.schema.fields
    batch = dataset.fetch(np.arange(len(dataset), dtype=np.int64), range(len(fields)))
    values = {field.name: np.array(batch.numpy(number)) for number, field in enumerate(fields)}
    valid = {
        field.name: np.array(batch.valid(number)) if field.nullable else np.ones(len(dataset), np.bool_)
        for number, field in enumerate(fields)
    }
    categories = {field.name: json.loads(field.metadata)["categories"] for field in fields if field.metadata}
    return values, valid, categories


def _cycle(position: npt.NDArray[Any], period: float) -> dict[str, npt.NDArray[np.float64]]:
    angle = position * (2 * np.pi / period)
    return {"sin": np.sin(angle), "cos": np.cos(angle)}


def _numbers(
    values: Columns, valid: Columns, known: npt.NDArray[np.bool_], departure: npt.NDArray[Any], train: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.float32], list[str]]:
    minute = (departure - departure.astype("datetime64[D]")).astype(np.int64)
    arrival = values["scheduled_arrival_minute"][known].astype(np.int64)
    columns: dict[str, npt.NDArray[np.float64]] = {}
    for name in NUMBERS:
        column = values[name][known].astype(np.float64)
        present = valid[name][known]
        fitted = column[present & train]
        spread = fitted.std() if len(fitted) else 0.0
        # A missing value becomes the mean, which is zero after standardising; the indicator below says that it was missing.
        columns[name] = np.where(present, (column - (fitted.mean() if len(fitted) else 0.0)) / (spread or 1.0), 0.0)
    for name in _INDICATED:
        columns[f"{name} missing"] = (~valid[name][known]).astype(np.float64)
    present = valid["wind_direction_degrees"][known]
    for part, column in _cycle(values["wind_direction_degrees"][known].astype(np.float64), 360).items():
        columns[f"wind direction {part}"] = np.where(present, column, 0.0)
    columns.update({f"departure minute {part}": column for part, column in _cycle(minute, 1440).items()})
    columns.update({f"arrival minute {part}": column for part, column in _cycle(arrival, 1440).items()})
    # Departures of a day queue behind each other: delays grow from morning to night.
    columns["departure minute"] = minute / 720.0 - 1.0
    columns["planned minutes"] = ((arrival - minute) % 1440) / 360.0 - 1.0
    return np.stack(list(columns.values()), axis=1).astype(np.float32), list(columns)


def _codes(
    values: Columns,
    valid: Columns,
    categories: dict[str, list[str]],
    known: npt.NDArray[np.bool_],
    departure: npt.NDArray[Any],
    train: npt.NDArray[np.bool_],
) -> tuple[npt.NDArray[np.int64], list[int]]:
    columns, cardinalities = [], []
    for name in _CODED:
        codes = np.where(valid[name][known], values[name][known].astype(np.int64) + 1, 0)
        seen = np.zeros(len(categories[name]) + 1, np.bool_)
        seen[codes[train]] = True
        columns.append(np.where(seen[codes], codes, 0))
        cardinalities.append(len(seen))
    days = departure.astype("datetime64[D]").astype(np.int64)
    columns.append((days + 3) % 7)  # 1970-01-01 was a Thursday: 0 is Monday
    columns.append(departure.astype("datetime64[h]").astype(np.int64) % 24)
    return np.stack(columns, axis=1).astype(np.int64), [*cardinalities, 7, 24]
