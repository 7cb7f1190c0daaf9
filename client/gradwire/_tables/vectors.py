"""Rows of several elements: a column of lists, of lists of fixed length, or one column for each element."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gradwire._errors import DataError
from gradwire._package import row_to_fill

ELEMENT: Final = re.compile(r"(?P<base>[^\[\]]+)\[(?P<index>\d+(?:\s*,\s*\d+)*)\]")  # x[0], df_dx[1,0]
MOST_COLUMNS: Final = 2**20
REAL: Final = "iuf"  # NumPy's kinds of real numbers

Elements = dict[tuple[int, ...], str]  # index -> column


def column_names(name: str, row_shape: Sequence[int]) -> list[str]:
    """Name the columns of a tensor, one for each element: ``x``; or ``x[0]``, ``x[1]`` and so on.

    Raises:
        UsageError: there are more than 2²⁰.
    """
    if tuple(row_shape) in ((), (1,)):
        return [name]
    row = row_to_fill(name, row_shape, MOST_COLUMNS) if 0 not in row_shape else row_shape
    return [f"{name}[{','.join(map(str, index))}]" for index in np.ndindex(*row)]


def elements_of(names: Iterable[str], what: str) -> dict[str, Elements]:
    """Group columns by the tensor that they belong to: one column, with the index (), or one for each element.

    Raises:
        DataError: columns that do not fit together, such as ``x`` beside ``x[0]``.
    """
    bases: dict[str, Elements] = {}
    for name in names:
        match = ELEMENT.fullmatch(name.strip())
        base = match["base"].strip() if match else name.strip()
        index = tuple(int(part) for part in match["index"].split(",")) if match else ()
        elements = bases.setdefault(base, {})
        if any(len(other) != len(index) or other == index for other in elements):
            raise DataError(
                f"{what} has columns {[*elements.values(), name]}, which do not fit together: "
                f"give {base!r}, or {base}[0], {base}[1], …"
            )
        elements[index] = name
    return bases


def join(
    base: str, elements: Elements, read: Callable[[str], Any], shape: tuple[int, ...] | None = None
) -> NDArray[Any]:
    """Read the column of a tensor, or join one column for each element.

    Args:
        base: its name.
        elements: its columns.
        read: returns a column by its name.
        shape: of a row of a derivative, whose elements may be missing: they are NaN; None to tell it by the columns.

    Raises:
        DataError: an element is missing or one too many, or its column does not hold one number a row.
    """
    if () in elements:
        return np.asarray(read(elements[()]))
    if shape is None or len(shape) != len(next(iter(elements))):
        shape = tuple(max(sizes) + 1 for sizes in zip(*elements, strict=True))
        if missing := [index for index in np.ndindex(*shape) if index not in elements]:
            element = f"{base}[{','.join(map(str, missing[0]))}]"
            raise DataError(f"column {element!r} is missing: {list(elements.values())} are there")
    if outside := [column for index, column in elements.items() if any(np.greater_equal(index, shape))]:
        raise DataError(f"column {outside[0]!r} is one too many: a row of {base!r} has shape {shape}")
    arrays = {index: np.asarray(read(column)) for index, column in elements.items()}
    for index, array in arrays.items():
        if array.ndim != 1 or array.dtype.kind not in REAL:
            raise DataError(
                f"column {elements[index]!r} holds {array.dtype} of shape {array.shape}, expected one number a row"
            )
    is_complete = len(arrays) == int(np.prod(shape))
    dtype = np.result_type(*arrays.values()) if is_complete else np.dtype(np.float64)
    array = np.full((len(next(iter(arrays.values()))), *shape), 0 if is_complete else np.nan, dtype)
    for index, column in arrays.items():
        array[(slice(None), *index)] = column
    return array


def joined(base: str, elements: Elements, read: Callable[[str], Any], row_shape: tuple[int, ...]) -> NDArray[Any]:
    """Read the rows ``(rows, *row shape)`` of an input, every element of which is known.

    Raises:
        DataError: they have another shape.
    """
    array = join(base, elements, read)
    if array.shape[1:] == row_shape or int(np.prod(array.shape[1:])) == int(np.prod(row_shape)) == 1:
        return array.reshape(len(array), *row_shape)
    size = "numbers" if array.ndim == 1 else f"rows of shape {array.shape[1:]}"
    hint = "" if () not in elements else f": a column of lists, or columns {base}[0], {base}[1], …"
    raise DataError(f"column {base!r} holds {size}, expected rows of shape {row_shape}{hint}")
