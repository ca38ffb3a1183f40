"""`headrace evaluate PREDICTIONS`: how good predictions in a file are."""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from headrace.cli.console import OK, Console, UsageError, at_least

_EXAMPLE = """\
a table with a row a sample: CSV, Parquet, ORC, Arrow, .npz, or a dataset of headrace. For example

  headrace evaluate out.parquet --label y --score p_cat p_dog p_bird --plot out.png
  headrace evaluate out.csv --label y --score p --against q          # is one of two models better?
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this command."""
    parser.add_argument("predictions", help="file with a row a sample (CSV, Parquet, ORC, Arrow, .npz), or a dataset")
    parser.add_argument("--label", required=True, metavar="FIELD", help="what is true")
    said = parser.add_mutually_exclusive_group(required=True)
    several = "numbers that were predicted: one field (of class 1, of all classes where it holds arrays, or of regression), or one a class"
    said.add_argument("--score", nargs="+", metavar="FIELD", help=several)
    said.add_argument("--predicted", metavar="FIELD", help="classes that were predicted, in place of scores")
    against = "fields of a second model, like those of the first: compare both, by the first of --metrics"
    parser.add_argument("--against", nargs="+", metavar="FIELD", help=against)
    parser.add_argument("--task", choices=("binary", "multiclass", "regression"), help="default: by the values of the fields")
    parser.add_argument("--logits", action="store_true", help="scores are logits, not probabilities")
    parser.add_argument("--classes", type=_names, metavar="A,B,...", help="names of the classes, in their order; labels may be names too")
    parser.add_argument("--threshold", type=float, default=0.5, help="score above which class 1 is predicted (default: 0.5)")
    parser.add_argument("--metrics", type=_names, metavar="NAME,...", help="what to measure (default: what fits)")
    parser.add_argument("--group", metavar="FIELD", help="samples with the same value belong together: intervals draw whole groups")
    parser.add_argument(
        "--resamples", type=at_least(0), default=1000, metavar="N", help="of the bootstrap intervals; 0: none (default: 1000)"
    )
    parser.add_argument("--level", type=float, default=0.95, help="of the intervals (default: 0.95)")
    parser.add_argument("--seed", type=at_least(0), default=0, help="of the resamples (default: 0)")
    parser.add_argument("--plot", metavar="PATH", help="draw confusion matrix and curves into this PNG or SVG file")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EXAMPLE + "\nExit codes: headrace --help."


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(","))


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Run the command and return its exit code."""
    from headrace import evaluate

    with _opened(arguments.predictions) as dataset:
        first = arguments.score or [arguments.predicted]
        wanted = [arguments.label, *first, *(arguments.against or []), *([arguments.group] if arguments.group else [])]
        missing = [name for name in wanted if name not in dataset.schema.names]
        if missing:
            raise UsageError(f"there is no field {missing[0]!r}; {arguments.predictions} has {', '.join(map(repr, dataset.schema.names))}")
        target = _column(dataset, [arguments.label])
        groups = _column(dataset, [arguments.group]) if arguments.group else None
        said = [_column(dataset, fields) for fields in (first, arguments.against) if fields]
    classes = arguments.classes
    if classes is None and arguments.predicted and target.dtype.kind in "OUS":
        # Of predicted classes the order says nothing; both models' answers count, so that a number means the same in both.
        classes = sorted({name for values in (target, *said) for name in values.tolist()}, key=str)
    found = [_assess(evaluate, arguments, one, target, groups, classes) for one in said]
    compared = _compare(evaluate, arguments, found) if len(found) == 2 else None
    if console.json_output:
        document = found[0].to_dict()
        if compared is not None:
            document |= {"against": found[1].to_dict(), "comparison": compared}
        console.result_json(document)
    else:
        for name, evaluation in zip(("a", "b"), found, strict=False):
            if compared is not None:
                console.result(f"{name}: {', '.join(first if name == 'a' else arguments.against)}")
            console.result(str(evaluation))
            console.result()
        if compared is not None:
            console.result(str(compared))
    if arguments.plot:
        try:
            found[0].plot(arguments.plot)
        except ValueError as error:  # A kind of file that is not drawn.
            raise UsageError(f"--plot {arguments.plot}: {error}") from error
    return OK


def _compare(evaluate: Any, arguments: argparse.Namespace, found: Sequence[Any]) -> Any:
    """By the first metric that was asked for; classes by McNemar's test if that is accuracy, or none was."""
    metric = arguments.metrics[0] if arguments.metrics and arguments.metrics[0] != "accuracy" else None
    try:
        return evaluate.compare(*found, metric, level=arguments.level, seed=arguments.seed)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _assess(evaluate: Any, arguments: argparse.Namespace, said: Any, target: Any, groups: Any, classes: Any) -> Any:
    try:
        of = evaluate.predictions(
            said,
            target,
            task=arguments.task,
            outputs="logits" if arguments.logits else "probabilities",
            classes=classes,
            threshold=arguments.threshold,
        )
        return evaluate.assess(
            of, arguments.metrics, level=arguments.level, resamples=arguments.resamples, groups=groups, seed=arguments.seed
        )
    except ValueError as error:
        raise UsageError(str(error)) from error


@contextmanager
def _opened(path: str) -> Iterator[Any]:
    """The table as a dataset; of a file, one that is gone afterwards."""
    import headrace

    if os.path.isdir(path):
        yield headrace.open(path)
        return
    with tempfile.TemporaryDirectory() as folder:
        where = os.path.join(folder, "predictions")
        headrace.convert(path, where)
        yield headrace.open(where)


def _column(dataset: Any, names: Sequence[str]) -> Any:
    """Values of one field; of several the columns of an array. Raises UsageError for nulls, and for empty texts, as which a CSV file has them."""
    import numpy as np

    columns = []
    for name in names:
        view = dataset.select([name])
        batch = view.native.fetch(np.arange(len(view)), view.field_numbers)
        if view.schema.fields[0].nullable and not np.asarray(batch.valid(0)).all():
            raise UsageError(f"field {name!r}: row {int(np.argmin(batch.valid(0)))} is null; leave such rows out")
        values: Any = batch.numpy(0)
        if isinstance(values, list) and "" in values:
            raise UsageError(f"field {name!r}: row {values.index('')} is empty; leave such rows out")
        if isinstance(values, tuple):
            raise UsageError(f"field {name!r} holds arrays of varying length; expected one value a row, or as many in each")
        columns.append(np.asarray(values))
    return columns[0] if len(columns) == 1 else np.stack(columns, axis=1)
