"""A pipeline as lines of text: each step, the fields it works on, and what they look like behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headrace.prep.pipeline import Pipeline

__all__ = ["draw"]


def draw(pipe: Pipeline) -> str:
    """The steps below each other; of a fitted pipeline, with the fields that go in and come out."""
    only = "" if pipe.fields is None else f" on {pipe.fields!r}"
    foot: list[str] = []
    if pipe.input_fields_ is None:
        head = f"Pipeline{only}, not fitted"
    elif not pipe.input_fields_:
        head = f"Pipeline{only}, translated"
    else:
        head = f"Pipeline{only}, fitted in {pipe.passes_} {'pass' if pipe.passes_ == 1 else 'passes'}"
        fields = ", ".join(
            f"{f.name}: {f.dtype if f.kind == 'tensor' else f.kind}{list(f.shape) if f.shape else ''}" for f in pipe.input_fields_[:6]
        )
        head += f"\n  {fields}{', ...' if len(pipe.input_fields_) > 6 else ''}"
        values = list(pipe.program(pipe.input_fields_).values.values())
        made = ", ".join(f"{v.name}: {v.dtype if v.kind == 'tensor' else v.kind}{list(v.shape) if v.shape else ''}" for v in values[:6])
        foot = [f"  {made}{', ...' if len(values) > 6 else ''}"]
    lines = [head]
    for step in pipe.steps:
        lines += ["    |", f"  {step!r}"]
    return "\n".join([*lines, *(["    |", *foot] if foot else [])])
