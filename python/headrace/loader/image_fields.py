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
_Mix = tuple[int, int, _native.ImageMix]
_LABELS = ("label", "labels", "target", "targets")


class ImageFields:
    """The native plans of a loader's fields, and the layout of its batches; without any, the dataset's own.

    prepare: a Compose for the one field of encoded images, a dict of them by field name, or None for what the dataset itself asks for.
    Its methods raise TypeError, KeyError or ValueError naming the field.
    """

    def __init__(self, prepare: Any) -> None:
        self._prepare = prepare
        self._made_for: tuple[Any, Any] | None = None
        self._plans: _Plans = []
        self._mix: _Mix | None = None
        self._layout: BatchLayout | None = None

    def field_plan(self, source: Dataset | ArrayDataset) -> None:
        """Images are fields by themselves: there is no plan that makes fields of others."""

    def plans(self, source: Dataset | ArrayDataset) -> _Plans:
        """Numbers of fields, as the engine counts them, and what it makes of them."""
        self._follow(source)
        return self._plans

    def mix(self, source: Dataset | ArrayDataset) -> _Mix | None:
        """What is mixed in whole batches: numbers of the fields of images and labels, and how; None for nothing."""
        self._follow(source)
        return self._mix

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
        mix: _Mix | None = None
        for name, compose in _by_field(transform, schema).items():
            i = schema.names.index(name)
            if fields[i].kind not in ("image", "bytes"):
                raise ValueError(f"prepare: field {name!r} holds {fields[i].kind} values, no encoded images")
            plans.append((source.field_numbers[i], compose.native))
            fields[i] = compose.native.field(fields[i])
            if compose.mix is None:
                continue
            if mix is not None:
                raise ValueError(f"prepare: two fields are mixed, the second {name!r}; labels can follow one of them only")
            label = _find_labels(compose.mix.label_field, schema)
            classes = getattr(source, "classes", None)
            native = compose.native_mix(None if classes is None else len(classes))
            assert native is not None
            mix = (source.field_numbers[i], source.field_numbers[label], native)
            fields[label] = _native.Field(fields[label].name, dtype="float32", shape=[native.num_classes])
        kind = CollatedLayout if isinstance(source.layout, CollatedLayout) else BatchLayout
        self._plans, self._layout = plans, kind(fields, schema.container) if plans else None
        self._mix = mix
        self._made_for = source, transform

    def __reduce__(self) -> tuple[Any, ...]:
        return ImageFields, (self._prepare,)


def _find_labels(name: str | None, schema: _native.Schema) -> int:
    """Where the labels are that a mix of images changes. Raises KeyError or ValueError."""
    fields = list(schema.fields)
    usable = [i for i, field in enumerate(fields) if field.kind == "tensor" and not field.shape and "int" in field.dtype]
    if name is not None:
        if name not in schema.names:
            raise KeyError(f"labels_getter: there is no field {name!r}; the dataset has {', '.join(map(repr, schema.names))}")
        chosen = [schema.names.index(name)]
    else:
        chosen = [i for i in usable if fields[i].name.lower() in _LABELS] or usable
        if len(chosen) != 1:
            names = ", ".join(repr(fields[i].name) for i in chosen) or "none"
            raise ValueError(
                f"prepare: {len(chosen)} fields may be the labels that are mixed with the images ({names}); name one: labels_getter="
            )
    field = fields[chosen[0]]
    if chosen[0] not in usable or field.nullable:
        raise ValueError(
            f"prepare: labels of mixed images are one integer a sample, never null; field {field.name!r} holds "
            f"{field.kind} {field.dtype} of shape {tuple(field.shape)}{', nullable' if field.nullable else ''}"
        )
    return chosen[0]


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
