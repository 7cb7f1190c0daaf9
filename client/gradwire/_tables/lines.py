"""Tables that arrive line by line, through a pipe or from a file, in blocks: CSV, or JSON lines."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gradwire._errors import DataError, InputNameError
from gradwire._package import TensorSpec
from gradwire._tables.cells import MISSING, number_of, separator_of
from gradwire._tables.formats.json import object_of
from gradwire._tables.numbers import NON_FINITE
from gradwire._tables.table import check_decimal, require_distinct
from gradwire._tables.vectors import column_names

MARK: Final = "\ufeff"  # the byte order mark of UTF-8


def read_lines(
    lines: Iterable[str],
    specs: Mapping[str, TensorSpec],
    required: Iterable[str],
    rows: int,
    *,
    table: str = "the table",
    header_optional: bool = False,
    decimal: str = ".",
) -> Iterator[dict[str, NDArray[np.float64]]]:
    """Read a table as it arrives.

    Args:
        lines: of CSV, under a header of column names (``x``, or ``x[0]``, ``x[1]``, …; other columns are ignored); or
            of JSON, an object per line (``{"x": 0.5}``).
        specs: every input that the table may hold.
        required: the inputs that it must hold.
        rows: the most rows of a block.
        table: its name, for messages.
        header_optional: whether CSV may lack the header; its columns are then those of ``specs``, in order.
        decimal: the decimal mark of CSV.

    Yields:
        ``{input: (rows, *row)}`` for the inputs that the table has.

    Raises:
        InputNameError: a column is missing.
        DataError: text instead of a number, a row of the wrong length, two columns of one name, or no rows.
    """
    check_decimal(decimal)
    text = _decoded(lines, table)
    first = next((line for line in text if line.strip()), None)
    if first is None:
        raise DataError(f"no points: {table} is empty, expected a header of column names, such as x, and rows")
    text = chain((first,), text)
    if first.lstrip().startswith("{"):
        records = _json_rows(text, specs, required, table)
    else:
        records = _csv_rows(text, specs, required, table, header_optional, decimal)
    names = next(records)
    is_empty = True
    while block := list(islice(records, rows)):
        is_empty = False
        yield _arrays(block, names, specs)
    if is_empty:
        raise DataError(f"no points: {table} has a header and no rows")


def _decoded(lines: Iterable[str], table: str) -> Iterator[str]:
    try:
        for number, line in enumerate(lines):
            yield line if number else line.removeprefix(MARK)
    except UnicodeDecodeError as error:
        raise DataError(f"{table} is not UTF-8 text ({error.reason}): give CSV or JSON lines") from error


def _csv_rows(
    lines: Iterator[str],
    specs: Mapping[str, TensorSpec],
    required: Iterable[str],
    table: str,
    header_optional: bool,
    decimal: str,
) -> Iterator[Any]:
    """Yield the names of the inputs, then the elements of each row."""
    sample = list(islice(lines, 2))  # of a pipe no more may have come yet
    reader = csv.reader(chain(sample, lines), delimiter=separator_of(sample, decimal))
    columns = {name: column_names(name, spec.least_row_shape) for name, spec in specs.items()}
    header = [cell.strip() for cell in next(reader)]
    rows: Iterable[list[str]] = reader
    if header_optional and number_of(header[0], decimal) is not None:
        rows = chain((header,), reader)
        header = [label for each in columns.values() for label in each]
    require_distinct(table, header)
    names = [name for name in specs if any(label in header for label in columns[name])]
    used = [label for name in names for label in columns[name]]
    missing = [label for name in required if name not in names for label in columns[name]]
    missing += [label for label in used if label not in header]
    if missing:
        raise InputNameError(f"{table} has the columns {_braced(header)}; missing but required: {_braced(missing)}")
    yield names
    places = [(header.index(label), label) for label in used]
    for number, cells in enumerate(rows, 1):
        if not cells:
            continue
        if len(cells) != len(header):
            raise DataError(
                f"{table}: row {number} has {len(cells)} cells, expected {len(header)}: {', '.join(header)}"
            )
        yield [_number(cells[place], f"{table}: row {number}, column {label!r}", decimal) for place, label in places]


def _number(cell: str, where: str, decimal: str) -> float:
    value = number_of(cell, decimal)
    if value is None or cell.strip() in MISSING:
        comma = decimal == "." and number_of(cell, ",") is not None and "," in cell
        advice = ": for decimal commas give --decimal ," if comma else ""
        raise DataError(f"{where}: {cell.strip()!r} is not a number{advice}")
    return value


def _json_rows(
    lines: Iterator[str], specs: Mapping[str, TensorSpec], required: Iterable[str], table: str
) -> Iterator[Any]:
    """Yield the names of the inputs, then the elements of each row."""
    names: list[str] | None = None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{table}: line {number}"
        row = _object(line, where)
        if names is None:
            names = [name for name in specs if name in row]
            yield names
        missing = (set(required) | set(names)) - row.keys()
        if missing:
            raise InputNameError(f"{where} has {_braced(row)}; missing but required: {_braced(missing)}")
        yield [value for name in names for value in _elements(row[name], specs[name], where)]


def _object(line: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line, object_pairs_hook=object_of)
    except DataError as error:
        raise DataError(f"{where}: {error}") from error
    except ValueError as error:
        raise DataError(f"{where} is not JSON: {error}") from error
    if not isinstance(row, dict):
        raise DataError(f'{where} is {line.strip()[:40]!r}, expected an object, such as {{"x": 0.5}}')
    return row  # pyright: ignore[reportUnknownVariableType] - json.loads is untyped


def _elements(value: Any, spec: TensorSpec, where: str) -> list[float]:
    """The elements of one input, nested as its row is; "NaN" and "Infinity" are numbers, as in the JSON printed."""
    elements: list[Any] = [NON_FINITE.get(each, each) if isinstance(each, str) else each for each in _leaves(value)]
    if not all(isinstance(each, (int, float)) and not isinstance(each, bool) for each in elements):
        raise DataError(f"{where}: {spec.name!r} is {value!r}, expected numbers")
    size = int(np.prod(spec.least_row_shape))
    if len(elements) != size:
        raise DataError(f"{where}: {spec.name!r} has {len(elements)} numbers, expected {size}")
    return elements


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        for each in value:  # pyright: ignore[reportUnknownVariableType] - json.loads is untyped
            yield from _leaves(each)
    else:
        yield value


def _arrays(
    block: Sequence[Sequence[float]], names: Sequence[str], specs: Mapping[str, TensorSpec]
) -> dict[str, NDArray[np.float64]]:
    elements, start = np.array(block, np.float64), 0
    arrays: dict[str, NDArray[np.float64]] = {}
    for name in names:
        row = specs[name].least_row_shape
        size = int(np.prod(row))
        arrays[name] = elements[:, start : start + size].reshape(len(block), *row)
        start += size
    return arrays


def _braced(names: Iterable[str]) -> str:
    return "{" + ", ".join(names) + "}"
