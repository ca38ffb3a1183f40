"""What counts as an array, recognised by what it can do: numpy arrays, torch tensors, images, numbers in lists."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from headrace.writing.dtypes import Array, dtype_name

__all__ = ["EXACT_INTEGERS", "as_array", "is_tensor"]

EXACT_INTEGERS = 2**53  # up to which a float64 holds them all


def is_tensor(value: object) -> bool:
    """Whether this is a torch.Tensor (or a subclass); torch is not imported for the answer."""
    torch = sys.modules.get("torch")
    tensor_type = getattr(torch, "Tensor", None)
    return tensor_type is not None and isinstance(value, tensor_type)


def as_array(value: Any, where: str) -> tuple[Array, str, bool]:
    """(array, dtype name, weak): shares memory with arrays and CPU tensors, copies lists. weak: made of Python numbers.

    bfloat16 arrives as uint16 bits under its name. Raises TypeError or ValueError, starting with `where`.
    """
    if isinstance(value, np.ma.MaskedArray):
        value = value.data  # whose mask the caller has seen
    if isinstance(value, np.ndarray):
        name = dtype_name(value.dtype, where)
        return (value.view("u2") if name == "bfloat16" else value), name, False
    if is_tensor(value):
        return _from_tensor(value, where)
    if isinstance(value, (list, tuple, range)):
        return _from_numbers(value, where)
    _refuse_inner_nulls(value, where)
    array = np.asarray(value)
    return array, dtype_name(array.dtype, where), False


def _refuse_inner_nulls(value: Any, where: str) -> None:
    """Arrow arrays become floats in numpy to hold their nulls."""
    nulls = getattr(value, "null_count", 0)
    nulls = nulls() if callable(nulls) else nulls
    if nulls:
        raise ValueError(f"{where}: {nulls} of {len(value)} values are null; only whole samples can be null: fill or drop them first")


def _from_tensor(tensor: Any, where: str) -> tuple[Array, str, bool]:
    if tensor.device.type != "cpu":
        raise ValueError(f"{where}: the tensor is on {tensor.device}; pass it as tensor.cpu()")
    if tensor.layout != sys.modules["torch"].strided:
        raise TypeError(f"{where}: a tensor of layout {tensor.layout} cannot be stored; pass it as tensor.to_dense()")
    plain = tensor.detach()
    if plain.is_conj() or plain.is_neg():
        plain = plain.resolve_conj().resolve_neg()
    name = str(tensor.dtype).removeprefix("torch.")
    if name == "bfloat16":
        return plain.contiguous().view(sys.modules["torch"].uint16).numpy(), name, False
    try:
        array: Array = plain.numpy()
    except TypeError as error:
        raise TypeError(
            f"{where}: a tensor of {tensor.dtype} cannot be stored; convert it with .to(torch.float32), or view it as torch.uint8"
        ) from error
    return array, dtype_name(array.dtype, where), False


def _from_numbers(numbers: Any, where: str) -> tuple[Array, str, bool]:
    if _holds_other(numbers):
        raise TypeError(
            f"{where}: a {type(numbers).__name__} that holds arrays, strings or other containers; "
            "give each part a field of its own (a dict or tuple of arrays, numbers, str and bytes), or stack them into one array"
        )
    try:
        array = np.asarray(numbers)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{where}: these lists make no array: {error}") from error
    if array.dtype.kind in "fc" and bool((np.abs(array) >= EXACT_INTEGERS).any()):
        if not _all_integers(numbers) or bool((array < 0).any()):
            _refuse_rounded(numbers, array.dtype, where)
        else:
            array = np.array(numbers, np.uint64)
    return array, dtype_name(array.dtype, where), _all_python(numbers)


def _all_integers(numbers: Any) -> bool:
    return all(_all_integers(inner) if isinstance(inner, (list, tuple)) else isinstance(inner, (int, np.integer)) for inner in numbers)


def _refuse_rounded(numbers: Any, dtype: np.dtype[Any], where: str) -> None:
    for number in numbers:
        if isinstance(number, (list, tuple)):
            _refuse_rounded(number, dtype, where)
        elif isinstance(number, (int, np.integer)) and abs(int(number)) > EXACT_INTEGERS:
            raise ValueError(
                f"{where}: the integer {number} is not exact as {dtype}, which its list becomes; convert its numbers to one dtype"
            )


def _holds_other(numbers: Any) -> bool:
    if isinstance(numbers, range):
        return False
    kinds = set(map(type, numbers))
    if kinds <= {list, tuple}:
        return any(_holds_other(inner) for inner in numbers)
    return not all(issubclass(kind, (bool, int, float, complex, np.generic)) and not issubclass(kind, (str, bytes)) for kind in kinds)


def _all_python(numbers: Any) -> bool:
    if isinstance(numbers, range):
        return True
    return all(_all_python(inner) if isinstance(inner, (list, tuple)) else not isinstance(inner, np.generic) for inner in numbers)
