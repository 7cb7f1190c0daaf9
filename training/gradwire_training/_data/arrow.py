"""Numbers out of Arrow's columns and out of lists of Python objects, with the row of what is none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from gradwire._errors import DataError
from gradwire._extras import import_extra

if TYPE_CHECKING:
    from numpy.typing import NDArray

EXTRA: Final = "train"
SHOWN: Final = 30  # characters of a text that is no number


def numbers_of(column: Any, name: str, *, first_row: int = 0) -> NDArray[np.float64]:
    """Reads a column as float64; nulls become NaN.

    Args:
        column: a pyarrow Array or ChunkedArray of numbers, or of lists of them.
        name: for messages.
        first_row: number of its first row in the table, for messages.

    Returns:
        ``(rows, *row shape)``; lists of one length each give an axis.

    Raises:
        DataError: text or something else that is no number, or lists of different lengths; names the row.
    """
    pa = import_extra("pyarrow", EXTRA)
    kind, types = column.type, pa.types
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if isinstance(kind, pa.FixedShapeTensorType):
        return column.to_numpy_ndarray().astype(np.float64)
    if types.is_null(kind):
        return np.full(len(column), np.nan)
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return _lists(column, name, first_row)
    if types.is_decimal(kind):
        column = column.cast(pa.float64())
    elif types.is_string(kind) or types.is_large_string(kind) or types.is_dictionary(kind):
        return numbers_of_objects(column.to_pylist(), name, first_row=first_row)
    elif not (types.is_floating(kind) or types.is_integer(kind)):
        raise DataError(f"column {name!r} holds {kind}, expected numbers: convert it, or leave it out")
    return column.to_numpy(zero_copy_only=False).astype(np.float64)


def numbers_of_objects(values: list[Any], name: str, *, first_row: int = 0) -> NDArray[np.float64]:
    """Reads a list of numbers, of None, or of rows of numbers.

    Raises:
        DataError: something else, or rows of different lengths; names the row.
    """
    bad = [index for index, value in enumerate(values) if isinstance(value, str | bytes | bool)]
    # '2.5' is text as well, but hardly what went wrong where there is worse.
    bad = [index for index in bad if _array(values[index]) is None] or bad
    bad = bad or [i for i, value in enumerate(values) if value is not None and _array(value) is None]
    if bad:
        shown = repr(values[bad[0]])
        shown = shown if len(shown) <= SHOWN else shown[:SHOWN] + "…"
        raise DataError(
            f"column {name!r} holds {shown} in row {first_row + bad[0]} (counted from 0), expected a number: "
            "leave the cell empty where a label is missing"
        )
    arrays = [None if value is None else _array(value) for value in values]
    shape = next((array.shape for array in arrays if array is not None and array.ndim), ())
    rows = np.full((len(values), *shape), np.nan)
    for index, array in enumerate(arrays):
        if array is not None and array.shape != shape:
            if array.ndim == 0 and np.isnan(array):
                continue  # pandas writes a missing row of several numbers so
            raise DataError(_ragged(name, first_row + index, array.shape, shape))
        if array is not None:
            rows[index] = array
    return rows


def _array(value: Any) -> NDArray[np.float64] | None:
    try:
        return np.asarray(value, np.float64)
    except (TypeError, ValueError):
        return None


def _lists(column: Any, name: str, first_row: int) -> NDArray[np.float64]:
    present = column.is_valid().to_numpy(zero_copy_only=False)
    lengths = column.value_lengths().to_numpy(zero_copy_only=False)
    known = lengths[present].astype(np.int64)
    if not known.size:
        return np.full(len(column), np.nan)
    size = int(known[0])
    if (known != size).any():
        row = int(np.nonzero(present)[0][np.argmax(known != size)])
        raise DataError(_ragged(name, first_row + row, (int(lengths[row]),), (size,)))
    inner = numbers_of(column.flatten(), name, first_row=first_row)  # the items of nulls are left out
    rows = np.full((len(column), size, *inner.shape[1:]), np.nan)
    rows[present] = inner.reshape(len(known), size, *inner.shape[1:])
    return rows


def _ragged(name: str, row: int, got: tuple[int, ...], expected: tuple[int, ...]) -> str:
    def numbers(shape: tuple[int, ...]) -> str:
        return f"a row of {' x '.join(map(str, shape))}" if shape else "one number"

    return (
        f"column {name!r} has {numbers(got)} in row {row} (counted from 0), {numbers(expected)} before: "
        "give rows of one length"
    )
