"""The `codec` argument: how each field is compressed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from headrace._native import Field

__all__ = ["CodecOption", "apply_codecs"]

CodecOption = str | Mapping[str, Any] | None

_KEYS = {"codec", "level", "filter", "block_bytes", "dictionary"}
_NAMES = ("auto", "none", "lz4", "lz4hc", "zstd")


def apply_codecs(fields: Sequence[Field], codec: CodecOption) -> tuple[list[Field], list[bool]]:
    """The fields with their codecs set, and for each whether the writer is to choose by measurement.

    codec: "auto", a name, "name:level", or a dict from field name to one of those or to a dict with keys of
    (codec, level, filter, block_bytes, dictionary); fields not named there are "auto". None: as the fields say.
    Under "auto", a field that names a codec or a filter itself keeps it. Raises ValueError naming what is unknown.
    """
    per_field: Mapping[str, Any] = {}
    if isinstance(codec, Mapping):
        per_field = codec
        names = [field.name for field in fields]
        unknown = [name for name in codec if name not in names]
        if unknown:
            raise ValueError(f"codec names the field {unknown[0]!r}, which is none of {names}")
        codec = "auto"
    results = [_apply(field, per_field.get(field.name, codec)) for field in fields]
    return [field for field, _ in results], [auto for _, auto in results]


def _apply(field: Field, option: Any) -> tuple[Field, bool]:
    if option is None:
        return field, False
    settings = dict(option) if isinstance(option, Mapping) else {"codec": option}
    unknown = set(settings) - _KEYS
    if unknown:
        raise ValueError(f"codec of field {field.name!r}: unknown {sorted(unknown)}; known are {sorted(_KEYS)}")
    name, level = _parse(settings.get("codec", "auto"), field.name)
    level = settings.get("level", level)
    if name == "auto":
        chosen = [key for key in ("level", "filter", "dictionary") if settings.get(key) is not None]
        if chosen:
            raise ValueError(f"codec of field {field.name!r}: 'auto' chooses the {chosen[0]} itself; name a codec")
        explicit = field.codec != "none" or field.filter != "none"
        return _replace(
            field, field.codec, field.level, field.filter, settings.get("block_bytes", field.block_bytes), field.dictionary
        ), not explicit
    return _replace(
        field,
        name,
        level,
        settings.get("filter") or "none",
        settings.get("block_bytes", field.block_bytes),
        bool(settings.get("dictionary")),
    ), False


def _parse(text: Any, field: str) -> tuple[str, int | None]:
    if not isinstance(text, str):
        raise TypeError(f"codec of field {field!r}: expected a name, 'name:level' or a dict, found {type(text).__name__}")
    name, colon, level = text.partition(":")
    if name not in _NAMES:
        raise ValueError(f"codec of field {field!r}: unknown {name!r}; known are {', '.join(_NAMES)}")
    if not colon:
        return name, None
    try:
        return name, int(level)
    except ValueError:
        raise ValueError(f"codec of field {field!r}: the level in {text!r} is not a whole number") from None


def _replace(field: Field, codec: str, level: int | None, filter_name: str, block_bytes: int, dictionary: bool) -> Field:
    return Field(
        field.name,
        field.kind,
        field.dtype,
        field.shape,
        field.nullable,
        codec,
        filter_name,
        level,
        block_bytes,
        field.metadata,
        dictionary,
    )
