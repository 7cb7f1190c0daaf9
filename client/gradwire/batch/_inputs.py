"""A block's columns as a model's inputs, and the rows that cannot be one."""

# pyarrow has no types.
# pyright: basic

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradwire._errors import DataError, InputError
from gradwire._model import cast
from gradwire._package import TensorSpec, numpy_dtype
from gradwire._tables import Elements, joined, number_of, numbers_of, require_numeric


def read_input(
    block: Any,
    spec: TensorSpec,
    base: str,
    elements: Elements,
    *,
    first_row: int = 0,
    decimal: str = ".",
    reads_text: bool = False,
) -> NDArray[Any]:
    """Return a block's column as the array ``(rows, *input)`` of an input.

    Args:
        block: pyarrow's RecordBatch.
        spec: of the input; rows of several elements are a column of lists, or a column for each element.
        base: the column's name, without the index of an element.
        elements: the column, or those of its elements.
        first_row: number of the block's first row in the file, for messages.
        decimal: the decimal mark of text.
        reads_text: whether text that is a number counts as one: in a file of text a single word makes text of a column.

    Raises:
        DataError: the column holds nulls, text, truth values, or lists of another length; names column and row.
    """
    require_numeric(spec)
    if not block.num_rows:
        return np.zeros((0, *spec.least_row_shape))

    def read(column: str) -> NDArray[Any]:
        values = block.column(column)
        if reads_text and str(values.type) in ("string", "large_string") and not values.null_count:
            numbers = [number_of(cell, decimal) for cell in values.to_pylist()]
            if None not in numbers:
                return np.array(numbers, np.float64)
        return numbers_of(values, column, first_row=first_row, missing=False, decimal=decimal)

    array = joined(base, elements, read, spec.least_row_shape)
    if numpy_dtype(spec.name, spec.dtype).kind in "iu" and array.dtype.kind == "f":
        return _whole(array, base, first_row)
    return array


def read_cast(read: Callable[[Any, int], NDArray[Any]], block: Any, spec: TensorSpec, first_row: int) -> NDArray[Any]:
    """Return a block's column in the dtype of an input, by the casting rules of every call.

    Args:
        read: returns the column of a block whose first row has a number.
        block: pyarrow's RecordBatch.
        spec: of the input.
        first_row: number of the block's first row in the file, for messages.

    Raises:
        DataError: it cannot be read, or a value cannot be held; names column and row.
    """
    array = read(block, first_row)
    try:
        return cast(array, spec.dtype, spec.name)
    except InputError as error:
        for row in range(len(array)):
            try:
                cast(array[row : row + 1], spec.dtype, spec.name)
            except InputError as own:
                raise DataError(f"row {first_row + row}: {own}") from own
        raise DataError(str(error)) from error


def find_bad_rows(read: Callable[[Any, int], object], block: Any, first_row: int) -> dict[int, str]:
    """Return what is wrong with rows that cannot be read, by their number in the block.

    Args:
        read: raises DataError for a block with such a row; gets the block and the number of its first row.
        block: pyarrow's RecordBatch.
        first_row: number of the block's first row in the file.
    """
    bad: dict[int, str] = {}

    def search(start: int, stop: int) -> None:
        try:
            read(block.slice(start, stop - start), first_row + start)
        except DataError as error:
            if stop - start == 1:
                bad[start] = str(error)
                return
            middle = (start + stop) // 2
            search(start, middle)
            search(middle, stop)

    if block.num_rows:
        search(0, block.num_rows)
    return bad


def null_rows(block: Any, elements: Elements) -> NDArray[np.bool_]:
    """Return which rows of a block have a null in one of some columns, ``(rows,)``."""
    mask = np.zeros(block.num_rows, bool)
    for column in elements.values():
        values = block.column(column)
        if values.null_count:
            mask |= values.is_null().to_numpy(zero_copy_only=False)
    return mask


def _whole(array: NDArray[Any], name: str, first_row: int) -> NDArray[Any]:
    """Return the integers that text and JSON may give as floats."""
    with np.errstate(invalid="ignore"):
        integers = array.astype(np.int64)
    bad = np.argwhere(integers != array)
    if len(bad):
        row = int(bad[0][0])
        raise DataError(f"column {name!r} holds {array[tuple(bad[0])]} in row {first_row + row}: give integers")
    return integers
