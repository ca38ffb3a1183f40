"""What the formats that pyarrow reads have in common."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from headrace.errors import CorruptDataError, HeadraceError, import_extra
from headrace.writing.batches import SLICE_BYTES, take_fields

__all__ = ["Scanned", "chosen_schema", "import_pyarrow", "reading", "refuse_other_schema", "rows_for"]

_MAX_ROWS = 1 << 18

Scanned = Callable[[int, "int | None", str], object]
"""Called with (done, total or None if unknown, unit) while files are looked through before they are converted."""


def import_pyarrow(module: str, purpose: str) -> Any:
    """A pyarrow module. Raises MissingExtraError."""
    return import_extra(module, "arrow", purpose)


def rows_for(total_bytes: int, rows: int) -> int:
    """Samples in a batch of about 32 MiB, when `rows` samples take `total_bytes` decoded."""
    return max(1, min(int(SLICE_BYTES * max(rows, 1) / max(total_bytes, 1)), _MAX_ROWS))


def chosen_schema(schema: Any, path: str, fields: Sequence[str] | None) -> Any:
    """The pyarrow schema of the columns to read. Raises ValueError naming a column without a name, or two with the same."""
    names = take_fields(schema.names, fields)
    if "" in names:
        raise ValueError(f"{path}: column {schema.names.index('') + 1} has no name; choose the others with fields=[...], or rename it")
    twice = {name for name, times in Counter(schema.names).items() if times > 1}
    clash = next((name for name in names if name in twice), None)
    if clash is not None:
        raise ValueError(f"{path}: two columns are named {clash!r}; choose the others with fields=[...], or rename one")
    return import_pyarrow("pyarrow", f"reading {path}").schema([schema.field(name) for name in names])


def refuse_other_schema(schema: Any, path: str, first_schema: Any, first: str) -> None:
    """Raises ValueError naming the first column that differs between two pyarrow schemas in name or type."""
    if schema.names != first_schema.names:
        raise ValueError(
            f"{path} has the columns {schema.names}, but {first} has {first_schema.names}; convert them separately, or choose fields=[...]"
        )
    for here, there in zip(schema, first_schema, strict=True):
        if here.type != there.type:
            raise ValueError(f"{path}: column {here.name!r} is {here.type}, but {there.type} in {first}; cast one of them")


@contextmanager
def reading(path: str) -> Iterator[None]:
    """Names the file in what pyarrow raises: CorruptDataError, unless the operating system refused."""
    lib = import_pyarrow("pyarrow", f"reading {path}").lib
    try:
        yield
    except HeadraceError:
        raise
    except (lib.ArrowInvalid, lib.ArrowNotImplementedError, OSError) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        raise CorruptDataError(f"cannot read {path}: {error}") from error
