"""Tables of points, from standard input or a file, in blocks: CSV with a header, or JSON lines."""

from __future__ import annotations

import csv
import json
import sys
from contextlib import nullcontext
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO

import numpy as np

from gradwire._cli.io.printers import labels
from gradwire._errors import DataError, InputNameError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray

    from gradwire._package import TensorSpec

STDIN: Final = "-"
FROM_FILE: Final = "@"


def is_table(text: str) -> bool:
    """Whether an ``--input`` is a table of several inputs: ``-``, or ``@points.csv``."""
    return text == STDIN or text.startswith(FROM_FILE)


def open_table(text: str) -> AbstractContextManager[TextIO]:
    """Opens what ``is_table`` says is one.

    Raises:
        DataError: the file cannot be opened.
    """
    if text == STDIN:
        return nullcontext(sys.stdin)
    path = Path(text[len(FROM_FILE) :])
    try:
        return path.open(encoding="utf-8", newline="")
    except OSError as error:
        raise DataError(f"cannot read {path}: {error}") from error


def read_blocks(
    stream: Iterable[str], specs: Mapping[str, TensorSpec], needed: Iterable[str], rows: int
) -> Iterator[dict[str, NDArray[np.float64]]]:
    """Reads a table.

    Args:
        stream: lines of CSV, under a header that names columns (``x``, or ``x[0]``, ``x[1]``, …; others are passed
            over); or of JSON, an object a line (``{"x": 0.5}``).
        specs: every input that the table may hold.
        needed: those that it must hold.
        rows: the most rows of a block.

    Yields:
        ``{input: (rows, *row)}`` for the inputs that the table has.

    Raises:
        InputNameError: a column is missing.
        DataError: text where a number is expected, a line of another length, or no rows.
    """
    lines = _text(stream)
    first = next((line for line in lines if line.strip()), None)
    if first is None:
        raise DataError("no points: the table is empty, expected a header of column names, such as x, and rows")
    back = chain((first,), lines)
    tables = _json_rows(back, specs, needed) if first.lstrip().startswith("{") else _csv_rows(back, specs, needed)
    names, numbered = next(tables), tables
    is_empty = True
    while block := list(islice(numbered, rows)):
        is_empty = False
        yield _arrays(block, names, specs)
    if is_empty:
        raise DataError("no points: the table has a header and no rows")


def _text(stream: Iterable[str]) -> Iterator[str]:
    try:
        yield from stream
    except UnicodeDecodeError as error:
        raise DataError(f"the table is not UTF-8 text ({error.reason}): give CSV or JSON lines") from error


def _csv_rows(lines: Iterator[str], specs: Mapping[str, TensorSpec], needed: Iterable[str]) -> Iterator[Any]:
    """Yields the names of the inputs, then the numbers of each row."""
    reader = csv.reader(lines)
    header = [cell.strip() for cell in next(reader)]
    columns = {name: labels(name, _row(spec)) for name, spec in specs.items()}
    names = [name for name in specs if any(label in header for label in columns[name])]
    wanted = [label for name in names for label in columns[name]]
    missing = [label for name in needed if name not in names for label in columns[name]]
    missing += [label for label in wanted if label not in header]
    if missing:
        raise InputNameError(f"the table has the columns {header}; missing but required: {missing}")
    yield names
    places = [header.index(label) for label in wanted]
    for number, cells in enumerate(reader, 1):
        if not cells:
            continue
        if len(cells) != len(header):
            raise DataError(f"row {number} has {len(cells)} cells, the header has {len(header)}: give as many")
        yield [_number(cells[place], label, number) for place, label in zip(places, wanted, strict=True)]


def _json_rows(lines: Iterator[str], specs: Mapping[str, TensorSpec], needed: Iterable[str]) -> Iterator[Any]:
    """Yields the names of the inputs, then the numbers of each row."""
    names: list[str] | None = None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        row = _object(line, number)
        if names is None:
            names = [name for name in specs if name in row]
            yield names
        missing = (set(needed) | set(names)) - row.keys()
        if missing:
            raise InputNameError(f"line {number} has {sorted(row)}; missing but required: {sorted(missing)}")
        yield [value for name in names for value in _values(row[name], specs[name], number)]


def _object(line: str, number: int) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise DataError(f"line {number} is not JSON: {error}") from error
    if not isinstance(row, dict):
        raise DataError(f'line {number} is {line.strip()[:40]!r}, expected an object, such as {{"x": 0.5}}')
    return row  # pyright: ignore[reportUnknownVariableType] - json.loads is untyped


def _values(value: Any, spec: TensorSpec, number: int) -> list[float]:
    """The numbers of one input, nested as its row is; "NaN" and "Infinity" are numbers, as in our own answers."""
    try:
        array = np.array(value, np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"line {number}: {spec.name!r} is {value!r}, expected numbers") from error
    row = _row(spec)
    if array.size != int(np.prod(row)):
        raise DataError(f"line {number}: {spec.name!r} has {array.size} numbers, expected {int(np.prod(row))}")
    return array.reshape(-1).tolist()


def _arrays(
    block: Sequence[Sequence[float]], names: Sequence[str], specs: Mapping[str, TensorSpec]
) -> dict[str, NDArray[np.float64]]:
    table, start = np.array(block, np.float64), 0
    found: dict[str, NDArray[np.float64]] = {}
    for name in names:
        row = _row(specs[name])
        size = int(np.prod(row))
        found[name] = table[:, start : start + size].reshape(len(block), *row)
        start += size
    return found


def _row(spec: TensorSpec) -> tuple[int, ...]:
    return tuple(size or 1 for size in spec.row_shape)


def _number(cell: str, label: str, number: int) -> float:
    try:
        return float(cell)
    except ValueError as error:
        raise DataError(f"row {number}, column {label!r}: {cell.strip()!r} is not a number") from error
