"""A model run over a dataset, every sample once, on all ranks together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.errors import import_extra
from headrace.evaluate.gathering import gather_rows, place
from headrace.sampling.options import whole_number

__all__ = ["column", "run"]

_OURS = ("shuffle", "sampler", "batch_sampler", "drop_last", "rank", "world_size", "mesh", "uneven", "order", "weights", "batch_by")
_LABELS = ("label", "target", "y")
_AT_ONCE = 1 << 16  # rows


def run(
    predict: Callable[[Any], Any], dataset: Any, label: str | int | None, loader_options: Mapping[str, Any]
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """(what was predicted, what is true), a row a sample, in the dataset's order, the same on every rank.

    Under torch.distributed the ranks share the samples, take the same number of steps, and what fills up the last is left out by its place in the
    dataset. Raises TypeError for what is no model or dataset of known length, and for options that say which samples are read; ValueError for predictions
    that are not a row a sample. What `predict` raises says, in a note, of which samples.
    """
    if not callable(predict):
        raise TypeError(f"predict is {predict!r}; expected a function: inputs of a batch -> a row a sample")
    if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
        raise TypeError(f"the dataset is {type(dataset).__name__}, without a length; an evaluation needs one that is read by index")
    whole_number("batch_size", loader_options.get("batch_size", 1), 1, 1 << 32)
    taken = [name for name in _OURS if name in loader_options]
    if taken or loader_options.get("on_error", "raise") != "raise":
        raise TypeError(f"{', '.join(taken) or 'on_error'}: an evaluation reads every sample once; leave it out")
    if len(dataset) == 0:
        raise ValueError("the dataset is empty: there is nothing to evaluate")
    said, true, rows = [], [], []
    with _as_in_use(predict):
        for places, batch in _batches(dataset, loader_options):
            inputs, labels = _parted(batch, label)
            truth = _array(labels)
            said.append(_predicted(predict, inputs, len(truth), places)[: len(places)])
            true.append(truth[: len(places)])
            rows.append(places)
    if place()[1] > 1 and true[0].dtype.kind in "OUS":
        raise TypeError("labels that are text do not travel between ranks; store the classes as numbers")
    order = gather_rows(np.concatenate(rows))
    _, first = np.unique(order, return_index=True)  # In the dataset's order; what a sampler repeated, once.
    return gather_rows(np.concatenate(said))[first], gather_rows(np.concatenate(true))[first]


def _predicted(predict: Callable[[Any], Any], inputs: Any, rows: int, places: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    """What the model says of a batch of so many rows. Raises TypeError or ValueError unless it is an array with a row for each."""
    try:
        output = predict(inputs)
    except Exception as error:
        if len(places):
            error.add_note(f"headrace.evaluate: predict was given the samples {places[0]} to {places[-1]} of the part that is evaluated")
        raise
    expected = f"expected an array or a tensor with a row for each of the {rows} samples of a batch"
    if output is None or isinstance(output, str | bytes | Mapping):
        raise TypeError(f"predict returned {type(output).__name__}; {expected}")
    try:
        values = _array(output)
    except ValueError as error:  # Rows of different lengths.
        raise ValueError(f"predict returned {type(output).__name__} that is no array ({error}); {expected}") from error
    if values.ndim == 0 or len(values) != rows:
        raise ValueError(f"predict returned shape {values.shape}; {expected}")
    return values


def _batches(dataset: Any, options: Mapping[str, Any]) -> Iterator[tuple[npt.NDArray[np.int64], Any]]:
    """(places in the dataset, the batch that begins with those samples) of this rank."""
    import_extra("torch", "torch", "headrace.evaluate.model()")
    from headrace.loader.loader import DataLoader

    rank, world = place()
    total = len(dataset)
    options = {"batch_size": 1024, **options}
    loader = DataLoader(dataset, **options)
    if world > 1 and loader.is_native:
        loader = DataLoader(dataset, **options, rank=rank, world_size=world, uneven="exact")
        for step, batch in enumerate(loader):
            begin, _ = loader.partition.share(total, step)
            yield np.arange(begin, begin + loader.partition.valid(total, step)), _without_mask(batch)
        return
    mine = np.arange(total) if world == 1 else (np.arange(-(-total // world)) * world + rank) % total
    if world > 1:
        loader = DataLoader(dataset, **options, sampler=mine.tolist())
    size = options["batch_size"]
    for step, batch in enumerate(loader):
        yield mine[step * size : (step + 1) * size], batch


def _without_mask(batch: Any) -> Any:
    if isinstance(batch, dict):
        return {name: value for name, value in batch.items() if name != "valid"}
    inner = batch[:-1]
    return inner[0] if len(inner) == 1 else inner


def _parted(batch: Any, label: str | int | None) -> tuple[Any, Any]:
    """(what predict gets, the labels) of a batch. A dict loses the label's field; of a pair the first is left, of more a tuple."""
    if isinstance(batch, Mapping):
        name = next((name for name in _LABELS if name in batch), None) if label is None else label
        if name not in batch:
            raise KeyError(f"which field is the label? Give label=; the fields are {', '.join(map(repr, batch))}")
        known = batch.get(f"{name}.valid")
        if known is not None and not bool(known.all()):
            raise ValueError(f"field {name!r}: some labels are null; leave such samples out with where()")
        return {field: value for field, value in batch.items() if field not in (name, f"{name}.valid")}, batch[name]
    if not isinstance(batch, list | tuple) or len(batch) < 2:
        raise TypeError(f"a batch is {type(batch).__name__}; expected inputs and labels: a dict, or a tuple with the label last")
    at = len(batch) - 1 if label is None else label
    if not isinstance(at, int):
        raise TypeError(f"label={label!r}: batches are tuples; give the number of the label's place")
    rest = [value for number, value in enumerate(batch) if number != at % len(batch)]
    return rest[0] if len(rest) == 1 else tuple(rest), batch[at]


def _array(values: Any) -> npt.NDArray[Any]:
    """Values of a batch as numpy has them, on the host: a copy, since the batch's memory is used again."""
    if hasattr(values, "detach"):
        values = values.detach()
        values = values.float() if str(values.dtype) == "torch.bfloat16" else values
        values = values.cpu().numpy()
    return np.array(values)


@contextmanager
def _as_in_use(predict: Any) -> Iterator[None]:
    """A torch module in eval mode meanwhile, and no gradients."""
    torch = import_extra("torch", "torch", "headrace.evaluate.model()")
    was_training = isinstance(predict, torch.nn.Module) and predict.training
    if was_training:
        predict.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        if was_training:
            predict.train()


def column(dataset: Any, what: str, key: Any) -> npt.NDArray[Any] | None:
    """The values of a field (a name, or the number of a tuple's place), or the user's own array; shape (len,). Raises ValueError for another length."""
    if key is None:
        return None
    if isinstance(key, str | int):
        if not hasattr(dataset, "native"):
            raise TypeError(f"{what}={key!r}: only datasets of headrace have fields; give an array with an entry a sample")
        names = dataset.schema.names
        if (key not in names) if isinstance(key, str) else not -len(names) <= key < len(names):
            raise KeyError(f"{what}={key!r}: there is no such field; the dataset has {', '.join(map(repr, names))}")
        number = dataset.field_numbers[names.index(key) if isinstance(key, str) else key]
        parts: list[Any] = []
        for begin in range(0, len(dataset), _AT_ONCE):
            batch = dataset.native.fetch(np.arange(begin, min(begin + _AT_ONCE, len(dataset))), [number])
            values: Any = batch.numpy(0)
            parts.append(np.array(values))
        return np.concatenate(parts) if parts else np.zeros(0)
    found = np.asarray(key)
    if found.shape[:1] != (len(dataset),):
        raise ValueError(f"{what}: expected one value a sample, {len(dataset)}, got shape {found.shape}")
    return found
