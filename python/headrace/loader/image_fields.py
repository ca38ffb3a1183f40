"""What `prepare=` makes of a dataset's fields: which are decoded natively, and how batches look then."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headrace import _native
from headrace.datasets.arrays import ArrayDataset
from headrace.datasets.layout import BatchLayout, CollatedLayout
from headrace.datasets.shards import Dataset
from headrace.images.compose import Compose

__all__ = ["ImageFields"]

_Plans = list[tuple[int, _native.ImagePlan]]


class ImageFields:
    """The native plans of a loader's fields, and the layout of its batches; without any, the dataset's own.

    prepare: a Compose for the one field of encoded images, a dict of them by field name, or None for what the dataset itself asks for.
    Its methods raise TypeError, KeyError or ValueError naming the field.
    """

    def __init__(self, prepare: Any) -> None:
        self._prepare = prepare
        self._made_for: tuple[Any, Any] | None = None
        self._plans: _Plans = []
        self._layout: BatchLayout | None = None

    def field_plan(self, source: Dataset | ArrayDataset) -> None:
        """Images are fields by themselves: there is no plan that makes fields of others."""

    def plans(self, source: Dataset | ArrayDataset) -> _Plans:
        """Numbers of fields, as the engine counts them, and what it makes of them."""
        self._follow(source)
        return self._plans

    def layout(self, source: Dataset | ArrayDataset) -> BatchLayout:
        """How batches of this source become what the user receives."""
        self._follow(source)
        return source.layout if self._layout is None else self._layout

    def _follow(self, source: Dataset | ArrayDataset) -> None:
        transform = getattr(source, "transform", None) if self._prepare is None else self._prepare
        if self._made_for is not None and self._made_for[0] is source and self._made_for[1] is transform:
            return
        schema, fields = source.schema, list(source.schema.fields)
        plans: _Plans = []
        for name, compose in _by_field(transform, schema).items():
            i = schema.names.index(name)
            if fields[i].kind not in ("image", "bytes"):
                raise ValueError(f"prepare: field {name!r} holds {fields[i].kind} values, no encoded images")
            plans.append((source.field_numbers[i], compose.native))
            fields[i] = compose.native.field(fields[i])
        kind = CollatedLayout if isinstance(source.layout, CollatedLayout) else BatchLayout
        self._plans, self._layout = plans, kind(fields, schema.container) if plans else None
        self._made_for = source, transform

    def __reduce__(self) -> tuple[Any, ...]:
        return ImageFields, (self._prepare,)


def _by_field(prepare: Any, schema: _native.Schema) -> dict[str, Compose]:
    if prepare is None:
        return {}
    if isinstance(prepare, Compose):
        images = [field.name for field in schema.fields if field.kind == "image"]
        if len(images) != 1:
            raise ValueError(
                f"prepare: the dataset has {len(images)} fields of encoded images ({', '.join(images) or 'none'}); name the field: prepare={{name: Compose}}"
            )
        return {images[0]: prepare}
    if not isinstance(prepare, Mapping) or not all(isinstance(compose, Compose) for compose in prepare.values()):
        raise TypeError(f"prepare is {prepare!r}; expected a headrace.images.Compose, or a dict of them by field name")
    unknown = [name for name in prepare if name not in schema.names]
    if unknown:
        raise KeyError(f"prepare: there is no field {unknown[0]!r}; the dataset has {', '.join(map(repr, schema.names))}")
    return dict(prepare)
