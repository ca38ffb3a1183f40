"""What a `headrace.prep.Pipeline` makes of a loader's fields: the engine's plan, and how batches look then."""

from __future__ import annotations

from typing import Any

from headrace import _native
from headrace.datasets.arrays import ArrayDataset
from headrace.datasets.layout import BatchLayout, CollatedLayout
from headrace.datasets.shards import Dataset
from headrace.loader.image_fields import ImageFields
from headrace.prep.pipeline import Pipeline

__all__ = ["PrepFields", "fields_of"]


class PrepFields:
    """The native plan of a pipeline for a loader's dataset, whose own transform of images (an ImageFolder's) runs beside it.

    Its methods raise the errors of Pipeline.check_loader() and Pipeline.program(), and ValueError where images are mixed: labels cannot follow both.
    """

    def __init__(self, pipe: Pipeline) -> None:
        self._pipe = pipe
        self._images = ImageFields(None)
        self._made_for: Dataset | ArrayDataset | None = None
        self._plan: _native.FieldPlan | None = None
        self._layout: BatchLayout | None = None

    def plans(self, source: Dataset | ArrayDataset) -> list[tuple[int, _native.ImagePlan]]:
        """What the dataset's own transform makes of images."""
        return self._images.plans(source)

    def mix(self, source: Dataset | ArrayDataset) -> None:
        """Nothing is mixed between samples."""

    def field_plan(self, source: Dataset | ArrayDataset) -> _native.FieldPlan:
        """What the engine runs."""
        self._follow(source)
        assert self._plan is not None
        return self._plan

    def layout(self, source: Dataset | ArrayDataset) -> BatchLayout:
        """How batches become what the user receives: the dataset's container, with the fields that the pipeline delivers."""
        self._follow(source)
        assert self._layout is not None
        return self._layout

    def _follow(self, source: Dataset | ArrayDataset) -> None:
        if self._made_for is source:
            return
        self._pipe.check_loader(source)
        if self._images.mix(source) is not None:
            raise ValueError(
                "prepare: the dataset's transform mixes images and their labels, beside which no Pipeline runs; mix with labels as they are, or "
                "give the dataset a transform without MixUp and CutMix"
            )
        program = self._pipe.program(source.schema.fields)
        made = {field.name: field for field in self._images.layout(source).fields}
        # An image is no input of any step: it is delivered as the transform makes it.
        fields = [made[field.name] if field.kind == "image" else field for field in program.fields()]
        container = source.schema.container
        if container == "single" and len(fields) > 1:
            container = "tuple"
        kind = CollatedLayout if isinstance(source.layout, CollatedLayout) else BatchLayout
        self._plan, self._layout = program.compile(), kind(fields, container)
        self._made_for = source

    def __reduce__(self) -> tuple[Any, ...]:
        return PrepFields, (self._pipe,)


def fields_of(prepare: Any) -> ImageFields | PrepFields:
    """What serves this `prepare=`."""
    return PrepFields(prepare) if isinstance(prepare, Pipeline) else ImageFields(prepare)
