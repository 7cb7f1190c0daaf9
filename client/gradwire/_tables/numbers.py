"""Columns of Arrow, and lists of Python's objects, as arrays of numbers."""

# pyarrow has no types.
# pyright: basic

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gradwire._errors import DataError
from gradwire._extras import import_extra
from gradwire._package import STRING, TensorSpec
from gradwire._tables.cells import number_of

EXTRA: Final = "batch"
MISSING_OR_WORD: Final = (
    "leave the cell empty where a label is missing, and make numbers of words: a column of 0 and 1 for each"
)
SHOWN: Final = 30  # characters of a text that is not a number
NON_FINITE: Final = {"NaN": np.nan, "Infinity": np.inf, "-Infinity": -np.inf}  # JSON has no numbers for them


def numbers_of(column: Any, name: str, *, first_row: int = 0, missing: bool = True, decimal: str = ".") -> NDArray[Any]:
    """Return a pyarrow Array or ChunkedArray as numbers ``(rows, *row shape)``; lists make an axis.

    Args:
        column: the column.
        name: its name, for messages.
        first_row: number of its first row, for messages.
        missing: whether nulls are labels that are missing, and NaN; otherwise they are refused. The array is then
            float64, otherwise it has the column's dtype.
        decimal: the decimal mark of text, for messages.

    Raises:
        DataError: text, truth values, dates, rows of different lengths, or nulls; names column and row.
    """
    pa = import_extra("pyarrow", EXTRA)
    kind, types = column.type, pa.types
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if not missing and column.null_count:
        row = first_row + int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))
        raise DataError(f"column {name!r} has a null in row {row}: fill or drop such rows")
    if isinstance(kind, pa.FixedShapeTensorType):
        return column.to_numpy_ndarray().astype(np.float64)
    if types.is_null(kind):
        return np.full(len(column), np.nan)
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return _lists(column, name, first_row, missing)
    if types.is_decimal(kind):
        column = column.cast(pa.float64())
    elif types.is_string(kind) or types.is_large_string(kind) or types.is_dictionary(kind):
        return numbers_of_objects(column.to_pylist(), name, first_row=first_row, missing=missing, decimal=decimal)
    elif not (types.is_floating(kind) or types.is_integer(kind)):
        raise DataError(f"column {name!r} holds {kind}, expected numbers: convert it, or leave it out")
    array = column.to_numpy(zero_copy_only=False)
    return array.astype(np.float64) if missing else array


def require_numeric(spec: TensorSpec) -> None:
    """Raise if an input of a model takes text, which no table gives.

    Raises:
        DataError: it does; says how to give it.
    """
    if spec.dtype == STRING:
        raise DataError(
            f"input {spec.name!r} is string, and tables hold numbers: give it by itself, gradwire query --input "
            f"{spec.name}=TEXT, or call Model.predict"
        )


def numbers_of_objects(
    values: list[Any], name: str, *, first_row: int = 0, missing: bool = True, decimal: str = "."
) -> NDArray[np.float64]:
    """Return a list of numbers, of None, or of rows of numbers as float64 (see ``numbers_of``).

    Raises:
        DataError: text, truth values, or rows of different lengths; names column and row.
    """
    bad = [index for index, value in enumerate(values) if isinstance(value, str | bytes | bool)]
    # '2.5' is text as well, but hardly what went wrong where there is worse.
    bad = [index for index in bad if not _is_number(values[index], decimal)] or bad
    bad = bad or [i for i, value in enumerate(values) if value is not None and _array(value) is None]
    if bad:
        shown = repr(values[bad[0]])
        comma = decimal == "." and "," in shown and _is_number(values[bad[0]], ",")
        advice = MISSING_OR_WORD if missing else "write it as one"
        advice = "for decimal commas give --decimal ," if comma else advice
        shown = shown if len(shown) <= SHOWN else shown[:SHOWN] + "…"
        raise DataError(
            f"column {name!r} holds {shown} in row {first_row + bad[0]} (counted from 0), expected a number: {advice}"
        )
    arrays = [None if value is None else _array(value) for value in values]
    shape = next((array.shape for array in arrays if array is not None and array.ndim), ())
    rows = np.full((len(values), *shape), np.nan)
    for index, array in enumerate(arrays):
        if array is not None and array.shape != shape:
            if array.ndim == 0 and np.isnan(array):
                continue  # pandas writes a missing row of several elements so
            raise DataError(_ragged(name, first_row + index, array.shape, shape))
        if array is not None:
            rows[index] = array
    return rows


def _is_number(value: Any, decimal: str) -> bool:
    return isinstance(value, str) and number_of(value, decimal) is not None


def _array(value: Any) -> NDArray[np.float64] | None:
    if isinstance(value, list) and any(isinstance(item, bool) for item in np.array(value, object).ravel()):
        return None
    try:
        return np.asarray(value, np.float64)
    except (TypeError, ValueError):
        return None


def _lists(column: Any, name: str, first_row: int, missing: bool) -> NDArray[Any]:
    present = column.is_valid().to_numpy(zero_copy_only=False)
    lengths = column.value_lengths().to_numpy(zero_copy_only=False)
    known = lengths[present].astype(np.int64)
    if not known.size:
        return np.full(len(column), np.nan)
    size = int(known[0])
    if (known != size).any():
        row = int(np.nonzero(present)[0][np.argmax(known != size)])
        raise DataError(_ragged(name, first_row + row, (int(lengths[row]),), (size,)))
    items = column.flatten()  # the items of nulls are left out
    if not missing and items.null_count:
        row = int(np.argmax(items.is_null().to_numpy(zero_copy_only=False))) // size
        raise DataError(f"column {name!r} has a null in the list of row {first_row + row}: fill or drop such rows")
    inner = numbers_of(items, name, first_row=first_row, missing=missing)
    if present.all():
        return inner.reshape(len(column), size, *inner.shape[1:])
    rows = np.full((len(column), size, *inner.shape[1:]), np.nan)
    rows[present] = inner.reshape(len(known), size, *inner.shape[1:])
    return rows


def _ragged(name: str, row: int, shape: tuple[int, ...], expected: tuple[int, ...]) -> str:
    def text(shape: tuple[int, ...]) -> str:
        return f"a row of {' x '.join(map(str, shape))}" if shape else "a scalar"

    return (
        f"column {name!r} has {text(shape)} in row {row} (counted from 0), {text(expected)} before: "
        "give rows of one length"
    )
