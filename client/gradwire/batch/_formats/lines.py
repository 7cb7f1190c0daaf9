"""JSON lines: an object a row; read in blocks, twice, for a column's type is that of all its entries."""

# pyarrow has no types.
# pyright: basic

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, BinaryIO, Final, NamedTuple

from gradwire._errors import DataError
from gradwire._extras import import_extra
from gradwire._tables import EXTRA
from gradwire._tables.formats.json import column_of, finite, kind_of, read_line, require_object
from gradwire.batch._files import InputFile
from gradwire.batch._formats import Layout, in_blocks

BLOCK: Final = 1 << 14  # lines that are read at once


class _Place(NamedTuple):
    """Where a unit begins: the byte and the number of the line; and the types of the whole file's columns by name."""

    offset: int
    line: int
    kinds: Mapping[str, Any]


def read_layout(file: InputFile, decimal: str) -> Layout:
    """Read all entries for the columns' types, and note where lines begin."""
    del decimal
    pa = import_extra("pyarrow", EXTRA)
    kinds: dict[str, Any] = {}
    rows, begins = [0], [(0, 1)]
    with file.local().open("rb") as stream:
        for objects, offset, line in _objects(stream, 0, 1, file.name):
            for name in dict.fromkeys(name for each in objects for name in each):
                kind = kind_of(_entries(objects, name))
                kinds[name] = _united(kinds.get(name, pa.null()), kind)
            rows.append(rows[-1] + len(objects))
            begins.append((offset, line))
    if not rows[-1]:
        raise DataError(f"{file.name} has no rows: give at least one")
    schema = pa.schema([(name, pa.string() if kind is None else kind) for name, kind in kinds.items()])
    return Layout(schema, tuple(rows), tuple(_Place(*begin, kinds) for begin in begins))


def read_blocks(file: InputFile, start: int, stop: int, rows: int, decimal: str, place: Any) -> Iterator[Any]:
    """Iterate over the lines from a place on."""
    del decimal
    pa = import_extra("pyarrow", EXTRA)
    kinds: Mapping[str, Any] = place.kinds

    def batches() -> Iterator[Any]:
        for objects, _, _ in _objects(stream, place.offset, place.line, file.name):
            columns = [column_of(_entries(objects, name), kind) for name, kind in kinds.items()]
            yield pa.RecordBatch.from_arrays(columns, names=list(kinds))

    with file.local().open("rb") as stream:
        yield from in_blocks(batches(), rows, stop - start)


def _objects(stream: BinaryIO, offset: int, line: int, what: str) -> Iterator[tuple[list[dict[str, Any]], int, int]]:
    """Yield some objects, and the byte and the number of the line behind them."""
    stream.seek(offset)
    while lines := list(islice(stream, BLOCK)):
        objects: list[dict[str, Any]] = []
        for number, text in enumerate(lines, line):
            if text.strip():
                objects.append(read_line(text, number, what))
                require_object(objects[-1], number - 1, what)
        offset, line = offset + sum(map(len, lines)), line + len(lines)
        if objects:
            yield objects, offset, line


def _entries(objects: list[dict[str, Any]], name: str) -> list[Any]:
    return [finite(each.get(name)) for each in objects]


def _united(first: Any, second: Any) -> Any:
    """Return the type that holds what both hold; None for JSON text."""
    pa = import_extra("pyarrow", EXTRA)
    if first is None or second is None:
        return None
    try:
        schemas = [pa.schema([("", kind)]) for kind in (first, second)]
        return pa.unify_schemas(schemas, promote_options="permissive").field(0).type
    except pa.ArrowException:
        return None
