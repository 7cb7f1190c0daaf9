"""Tables of points, from a file or standard input, in blocks: CSV, or JSON lines."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final, TextIO

import numpy as np
from numpy.typing import NDArray

from gradwire._cli.io.printers import labels
from gradwire._errors import DataError, InputNameError
from gradwire._package import TensorSpec

STDIN: Final = "-"
FROM_FILE: Final = "@"


def is_table(text: str) -> bool:
    """Return whether an ``--input`` is a table: ``-``, or ``@points.csv``."""
    return text == STDIN or text.startswith(FROM_FILE)


def open_table(text: str) -> AbstractContextManager[TextIO]:
    """Open a table (see ``is_table``).

    Raises:
        DataError: the file cannot be opened.
    """
    if text == STDIN:
        return nullcontext(sys.stdin)
    path = Path(text.removeprefix(FROM_FILE))
    try:
        return path.open(encoding="utf-8", newline="")
    except OSError as error:
        raise DataError(f"cannot read {path}: {error}") from error


def read_blocks(
    lines: Iterable[str],
    specs: Mapping[str, TensorSpec],
    required: Iterable[str],
    rows: int,
    *,
    table: str = "the table",
    header_optional: bool = False,
) -> Iterator[dict[str, NDArray[np.float64]]]:
    """Read a table.

    Args:
        lines: of CSV, under a header of column names (``x``, or ``x[0]``, ``x[1]``, …; other columns are ignored); or
            of JSON, an object per line (``{"x": 0.5}``).
        specs: every input that the table may hold.
        required: the inputs that it must hold.
        rows: the most rows of a block.
        table: its name, for messages.
        header_optional: whether CSV may lack the header; its columns are then those of ``specs``, in order.

    Yields:
        ``{input: (rows, *row)}`` for the inputs that the table has.

    Raises:
        InputNameError: a column is missing.
        DataError: text instead of a number, a row of the wrong length, or no rows.
    """
    text = _decoded(lines, table)
    first = next((line for line in text if line.strip()), None)
    if first is None:
        raise DataError(f"no points: {table} is empty, expected a header of column names, such as x, and rows")
    text = chain((first,), text)
    if first.lstrip().startswith("{"):
        records = _json_rows(text, specs, required, table)
    else:
        records = _csv_rows(text, specs, required, table, header_optional)
    names = next(records)
    is_empty = True
    while block := list(islice(records, rows)):
        is_empty = False
        yield _arrays(block, names, specs)
    if is_empty:
        raise DataError(f"no points: {table} has a header and no rows")


def _decoded(lines: Iterable[str], table: str) -> Iterator[str]:
    try:
        yield from lines
    except UnicodeDecodeError as error:
        raise DataError(f"{table} is not UTF-8 text ({error.reason}): give CSV or JSON lines") from error


def _csv_rows(
    lines: Iterator[str], specs: Mapping[str, TensorSpec], required: Iterable[str], table: str, header_optional: bool
) -> Iterator[Any]:
    """Yield the names of the inputs, then the elements of each row."""
    reader = csv.reader(lines)
    columns = {name: labels(name, _row(spec)) for name, spec in specs.items()}
    header = [cell.strip() for cell in next(reader)]
    rows: Iterable[list[str]] = reader
    if header_optional and _is_number(header[0]):
        rows = chain((header,), reader)
        header = [label for each in columns.values() for label in each]
    names = [name for name in specs if any(label in header for label in columns[name])]
    used = [label for name in names for label in columns[name]]
    missing = [label for name in required if name not in names for label in columns[name]]
    missing += [label for label in used if label not in header]
    if missing:
        raise InputNameError(f"{table} has the columns {_braced(header)}; missing but required: {_braced(missing)}")
    yield names
    places = [header.index(label) for label in used]
    for number, cells in enumerate(rows, 1):
        if not cells:
            continue
        if len(cells) != len(header):
            raise DataError(
                f"{table}: row {number} has {len(cells)} cells, expected {len(header)}: {', '.join(header)}"
            )
        try:
            yield [float(cells[place]) for place in places]
        except ValueError:
            label, cell = next(
                (label, cells[place]) for label, place in zip(used, places, strict=True) if not _is_number(cells[place])
            )
            message = f"{table}: row {number}, column {label!r}: {cell.strip()!r} is not a number"
            raise DataError(message) from None


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
        row = json.loads(line)
    except ValueError as error:
        raise DataError(f"{where} is not JSON: {error}") from error
    if not isinstance(row, dict):
        raise DataError(f'{where} is {line.strip()[:40]!r}, expected an object, such as {{"x": 0.5}}')
    return row  # pyright: ignore[reportUnknownVariableType] - json.loads is untyped


def _elements(value: Any, spec: TensorSpec, where: str) -> list[float]:
    """The elements of one input, nested as its row is; "NaN" and "Infinity" are numbers, as in the JSON printed."""
    try:
        array = np.array(value, np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{where}: {spec.name!r} is {value!r}, expected numbers") from error
    size = int(np.prod(_row(spec)))
    if array.size != size:
        raise DataError(f"{where}: {spec.name!r} has {array.size} numbers, expected {size}")
    return array.reshape(-1).tolist()


def _arrays(
    block: Sequence[Sequence[float]], names: Sequence[str], specs: Mapping[str, TensorSpec]
) -> dict[str, NDArray[np.float64]]:
    elements, start = np.array(block, np.float64), 0
    arrays: dict[str, NDArray[np.float64]] = {}
    for name in names:
        row = _row(specs[name])
        size = int(np.prod(row))
        arrays[name] = elements[:, start : start + size].reshape(len(block), *row)
        start += size
    return arrays


def _row(spec: TensorSpec) -> tuple[int, ...]:
    return tuple(size or 1 for size in spec.row_shape)


def _braced(names: Iterable[str]) -> str:
    return "{" + ", ".join(names) + "}"


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
