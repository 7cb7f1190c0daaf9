"""JSON: an object a line, a list of objects, or one object of columns; null is a missing label.

An object whose entries are all lists is one of columns, except in a file of JSON lines.
"""

# pyarrow has no types.
# pyright: basic

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

from gradwire._errors import DataError
from gradwire._extras import import_extra
from gradwire._tables.numbers import EXTRA, NON_FINITE
from gradwire._tables.table import Table, in_memory

LINES: Final = (".jsonl", ".ndjson")


def open_file(path: Path, decimal: str) -> Table:
    """Read a file of JSON."""
    del decimal
    pa = import_extra("pyarrow", EXTRA)
    text = path.read_text(encoding="utf-8-sig")
    data = _lines(text, path) if path.suffix.lower() in LINES else _objects(text, path)
    columns = _columns(data, path.name)
    if not columns or not len(next(iter(columns.values()))):
        raise DataError(f"{path.name} has no rows: give at least one")
    return in_memory(path, pa.table({name: _to_arrow(values) for name, values in columns.items()}))


def object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build an object from its entries.

    Raises:
        DataError: a key is there twice, of which JSON readers keep the last in silence.
    """
    entries = dict(pairs)
    if len(entries) < len(pairs):
        keys = [key for key, _ in pairs]
        raise DataError(f"an object has two entries named {next(k for k in keys if keys.count(k) > 1)!r}: drop one")
    return entries


def _objects(text: str, path: Path) -> Any:
    try:
        return json.loads(text, object_pairs_hook=object_of)
    except json.JSONDecodeError:
        return _lines(text, path)


def _lines(text: str, path: Path) -> list[Any]:
    rows: list[Any] = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            rows.append(read_line(line, number, path.name))
    return rows


def read_line(line: str | bytes, number: int, what: str) -> Any:
    """Read a line of JSON.

    Args:
        line: the line.
        number: its number in the file, from 1, for messages.
        what: the file's name, for messages.

    Raises:
        DataError: it is not JSON, or an object has two entries of one name.
    """
    try:
        return _decoder().decode(line if isinstance(line, str) else line.decode("utf-8-sig"))
    except json.JSONDecodeError as error:
        raise DataError(f"{what}: line {number} is not JSON: {error}") from error


@cache
def _decoder() -> json.JSONDecoder:
    return json.JSONDecoder(object_pairs_hook=object_of)  # json.loads makes one a call, which takes ten times as long


def _columns(data: Any, what: str) -> Mapping[str, list[Any]]:
    if isinstance(data, dict) and all(isinstance(value, list) for value in data.values()):
        lengths = {name: len(value) for name, value in data.items()}
        if len(set(lengths.values())) <= 1:
            return data
        raise DataError(f"{what} has columns of different numbers of rows, {lengths}: give one entry a row")
    rows = data if isinstance(data, list) else [data]
    for index, row in enumerate(rows):
        require_object(row, index, what)
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def require_object(row: Any, index: int, what: str) -> None:
    """Raise if an entry is no object.

    Raises:
        DataError: it is not; names the file and the entry.
    """
    if not isinstance(row, dict):
        raise DataError(f'{what}: entry {index} is {json.dumps(row)[:40]}, expected an object, such as {{"x": 0.5}}')


def kind_of(values: list[Any]) -> Any:
    """Return the type of a column of ``finite`` values; None for one of mixed kinds."""
    pa = import_extra("pyarrow", EXTRA)
    if any(isinstance(value, bool) for value in values):  # a column of truth values alone is told by its row, too
        return None
    try:
        return pa.array(values).type
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return None


def column_of(values: list[Any], kind: Any) -> Any:
    """Return a column of ``finite`` values; one of mixed kinds as JSON text, which is refused by row if it is read."""
    pa = import_extra("pyarrow", EXTRA)
    if kind is None:
        return pa.array([None if value is None else json.dumps(value) for value in values], pa.string())
    return pa.array(values, kind)


def _to_arrow(values: list[Any]) -> Any:
    values = [finite(value) for value in values]
    return column_of(values, kind_of(values))


def finite(value: Any) -> Any:
    """Return a value, or list, with numbers for the words that stand for those that JSON has not."""
    if isinstance(value, list):
        return [finite(item) for item in value]
    return NON_FINITE.get(value, value) if isinstance(value, str) else value
