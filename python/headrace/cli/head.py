"""`headrace head`: samples as a person wants to see them."""

from __future__ import annotations

import argparse
import itertools
from typing import Any

from headrace.cli.console import OK, Console, UsageError, add_dataset_version
from headrace.report import humanise
from headrace.report.table import key_values

_MOST_SAMPLES = 10_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this command."""
    parser.add_argument("dataset", help="directory of the dataset")
    parser.add_argument("-n", "--samples", type=int, default=5, metavar="N", help="how many samples (default: 5)")
    parser.add_argument("--index", type=int, default=0, metavar="I", help="first sample; negative ones count from the end (default: 0)")
    parser.add_argument("--fields", default=None, metavar="A,B", help="only these fields, in this order")
    parser.add_argument(
        "--images", default=None, metavar="OUT.png", help="draw the samples' images there instead of listing them (needs Pillow)"
    )
    parser.add_argument(
        "--transform", default=None, metavar="T.json", help="and below each what this transform, Compose.to_json(), makes of it"
    )
    parser.add_argument("--epoch", type=int, default=0, metavar="E", help="the epoch that its random draws are for (default: 0)")
    add_dataset_version(parser)


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Run the command and return its exit code."""
    from headrace._native import Dataset

    if not 0 <= arguments.samples <= _MOST_SAMPLES:
        raise UsageError(f"-n must be in [0, {_MOST_SAMPLES}], got {arguments.samples}")
    dataset = Dataset(arguments.dataset, arguments.dataset_version)
    chosen = _choose_fields(dataset.schema.names, arguments.fields)
    first = arguments.index + len(dataset) if arguments.index < 0 else arguments.index
    if not 0 <= first <= max(0, len(dataset) - 1):
        raise UsageError(f"--index must be in [{-len(dataset)}, {len(dataset)}), got {arguments.index}")
    count = min(arguments.samples, len(dataset) - first)
    if arguments.transform is not None and arguments.images is None:
        raise UsageError("--transform goes with --images")
    if arguments.images is not None:
        return _draw(dataset, first, count, chosen, arguments, console)
    samples = _read(dataset, first, count, chosen)
    if console.json_output:
        console.result_json(_as_document(samples))
        return OK
    for number, sample in enumerate(samples):
        if number:
            console.result()
        console.result(console.style.bold(f"sample {humanise.count(sample['index'])}"))
        console.result(_as_text(sample, console))
    if not samples:
        console.message("no samples")
    return OK


def _draw(dataset: Any, first: int, count: int, chosen: list[int], arguments: argparse.Namespace, console: Console) -> int:
    from pathlib import Path

    from headrace.images.compose import Compose
    from headrace.images.contact_sheet import contact_sheet

    pictures = [index for index in chosen if dataset.schema.fields[index].kind == "image"]
    if len(pictures) != 1:
        raise UsageError(f"--images needs one field of encoded images, found {len(pictures)}; choose it with --fields")
    compose = None if arguments.transform is None else Compose.from_json(Path(arguments.transform).read_text())
    encoded = [sample["fields"][0][1] for sample in _read(dataset, first, count, pictures)]
    sheet = contact_sheet(encoded, range(first, first + count), compose, epoch=arguments.epoch)
    sheet.save(arguments.images)
    if console.json_output:
        console.result_json({"images": arguments.images, "samples": count, "width": sheet.width, "height": sheet.height})
    else:
        console.result(f"{arguments.images}: {count} images, {sheet.width} x {sheet.height} pixels")
    return OK


def _choose_fields(names: list[str], fields: str | None) -> list[int]:
    if fields is None:
        return list(range(len(names)))
    wanted = fields.split(",")
    for name in wanted:
        if name not in names:
            raise UsageError(f"no field {name!r}; the dataset has {', '.join(names)}")
    return [names.index(name) for name in wanted]


def _values(batch: Any, position: int, field: Any) -> list[Any]:
    """The values of one field, one a sample; None where it is null."""
    values = batch.numpy(position)
    if field.kind == "ragged":
        inner, offsets = values
        values = [inner[begin:end] for begin, end in itertools.pairwise(offsets)]
    if not field.nullable:
        return list(values)
    return [value if present else None for value, present in zip(values, batch.valid(position), strict=True)]


def _read(dataset: Any, first: int, count: int, chosen: list[int]) -> list[dict[str, Any]]:
    """Samples [first, first + count) as {"index", "fields": [(field, value)]}."""
    import numpy as np

    if count == 0:
        return []
    batch = dataset.fetch(np.arange(first, first + count, dtype=np.int64), chosen, ragged="offsets")
    fields = [dataset.schema.fields[index] for index in chosen]
    columns = [_values(batch, position, field) for position, field in enumerate(fields)]
    return [
        {"index": first + row, "fields": [(field, column[row]) for field, column in zip(fields, columns, strict=True)]}
        for row in range(count)
    ]


def _as_document(samples: list[dict[str, Any]]) -> dict[str, Any]:
    from headrace.report.sample import json_value

    return {
        "samples": [
            {
                "index": sample["index"],
                "fields": {field.name: json_value(value, kind=field.kind, dtype=field.dtype) for field, value in sample["fields"]},
            }
            for sample in samples
        ]
    }


def _as_text(sample: dict[str, Any], console: Console) -> str:
    from headrace.report.sample import describe_type, describe_value

    types = [describe_type(field.kind, field.dtype, field.shape) for field, _ in sample["fields"]]
    longest = max(map(len, types))
    pairs = [
        (field.name, f"{kind:<{longest}}  {describe_value(value, kind=field.kind, dtype=field.dtype)}")
        for (field, value), kind in zip(sample["fields"], types, strict=True)
    ]
    return key_values(pairs, indent="  ", width=console.width, style=console.style)
