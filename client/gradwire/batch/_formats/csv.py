"""CSV, and TSV: read in parts of two megabytes, twice; written with a column for each element of a row.

A column's type is that of all its cells. So the first reading finds the types and where lines end, and each unit then
reads its own bytes.
"""

# pyarrow has no types.
# pyright: basic

from __future__ import annotations

import csv
import io
import threading
from collections.abc import Iterator
from typing import Any, BinaryIO, Final, NamedTuple, final

from gradwire._errors import DataError
from gradwire._extras import import_extra
from gradwire._tables import EXTRA, column_names, require_distinct
from gradwire._tables.formats.csv import QUOTE, Head, numbers_of_cells, read_cells, read_head, read_options
from gradwire.batch._files import InputFile
from gradwire.batch._formats import Layout, in_blocks

PART: Final = 2 << 20  # bytes that are read at once in search of types
MOST: Final = 64 << 20  # of a row
BLOCK: Final = 1 << 20  # and of rows
NEWLINES: Final = (b"\n", b"\r")
KINDS: Final = ("null", "int64", "double", "string")  # each holds what those before it hold
_searching = threading.Lock()  # files are looked at many at once


class _Kind(NamedTuple):
    """The type of a column, and whether some cells are numbers only once blanks and a plus are taken away."""

    name: str = KINDS[0]
    is_cast: bool = False


class _Place(NamedTuple):
    """Where a unit begins, and the types of the whole file's columns."""

    offset: int
    kinds: tuple[_Kind, ...]


def read_layout(file: InputFile, decimal: str) -> Layout:
    """Read all cells for the columns' types, and note where rows begin, every two megabytes."""
    path = file.local()
    head = read_head(path, decimal)
    require_distinct(file.name, head.names)
    kinds, rows, offsets = [_Kind()] * len(head.names), [0], [head.size]
    with _searching, path.open("rb") as stream:
        stream.seek(head.size)
        for part in () if head.is_all else _parts(stream, head):
            count, seen = _look(part, head, decimal)
            kinds = [_united(*each) for each in zip(kinds, seen, strict=True)]
            rows.append(rows[-1] + count)
            offsets.append(offsets[-1] + len(part))
    pa = import_extra("pyarrow", EXTRA)
    schema = pa.schema([(name, _type(pa, kind)) for name, kind in zip(head.names, kinds, strict=True)])
    return Layout(schema, tuple(rows), tuple(_Place(offset, tuple(kinds)) for offset in offsets))


def read_blocks(file: InputFile, start: int, stop: int, rows: int, decimal: str, place: Any) -> Iterator[Any]:
    """Iterate over the rows from a place on."""
    if start == stop:
        return
    pa, reader = (import_extra(name, EXTRA) for name in ("pyarrow", "pyarrow.csv"))
    path = file.local()
    head = read_head(path, decimal)
    kinds: tuple[_Kind, ...] = place.kinds
    types = [_type(pa, kind) for kind in kinds]
    options = read_options(
        head, decimal, {i: pa.string() if kinds[i].is_cast else kind for i, kind in enumerate(types)}
    )
    options["read_options"].block_size = BLOCK
    options["read_options"].use_threads = False  # which read ahead; two units are at work as it is

    def batches() -> Iterator[Any]:
        for batch in opened:
            arrays = [
                numbers_of_cells(column, decimal, kind) if each.is_cast and kind != pa.string() else column
                for column, each, kind in zip(batch.columns, kinds, types, strict=True)
            ]
            yield pa.RecordBatch.from_arrays(arrays, names=list(head.names))

    with path.open("rb") as stream:
        stream.seek(place.offset)
        with reader.open_csv(stream, **options) as opened:
            yield from in_blocks(batches(), rows, stop - start)


def _parts(stream: BinaryIO, head: Head) -> Iterator[bytes]:
    """Read whole rows, some two megabytes at a time."""
    rest, following = b"", stream.read(PART)
    while data := following:
        following = stream.read(PART)
        part = rest + data
        end = _end_of_rows(part, head) if following else len(part)
        rest = part[end:]
        if end:
            yield part[:end]
        if len(rest) > MOST:
            raise DataError(f"a row has more than {MOST:,} bytes: is a quote not closed?")


def _end_of_rows(part: bytes, head: Head) -> int:
    """Return how many bytes belong to rows that end in a part, which begins with a row; 0 if none does for sure."""
    if not head.is_quoted or QUOTE.encode() not in part:
        newline, carriage = NEWLINES
        # One at the end may be half of the other kind.
        return part.rfind(newline) + 1 or part.rfind(carriage, 0, len(part) - 1) + 1
    size = before = end = 0

    def lines() -> Iterator[str]:
        nonlocal size
        # A character a byte, and every mark that matters is one.
        for line in io.StringIO(part.decode("latin-1"), newline=""):
            size += len(line)
            yield line

    try:
        for _ in csv.reader(lines(), delimiter=head.separator):
            before, end = end, size
    except csv.Error as error:
        raise DataError(f"a cell after byte {end} of a part of {len(part)} cannot be read: {error}") from error
    return before  # the last row may go on


def _look(part: bytes, head: Head, decimal: str) -> tuple[int, list[_Kind]]:
    """Return the number of rows of a part, and the types of its columns."""
    pa = import_extra("pyarrow", EXTRA)
    if not part.strip():
        return 0, [_Kind()] * len(head.names)
    arrays, cast = read_cells(pa.py_buffer(part), head, decimal)
    return len(arrays[0]), [_Kind(str(array.type), index in cast) for index, array in enumerate(arrays)]


def _united(first: _Kind, second: _Kind) -> _Kind:
    name = max(first.name, second.name, key=KINDS.index)
    return _Kind(name, first.is_cast or second.is_cast)


def _type(pa: Any, kind: _Kind) -> Any:
    return pa.type_for_alias(kind.name)


@final
class _CsvWriter:
    def __init__(self, stream: BinaryIO, schema: Any) -> None:
        self._pa, csv = import_extra("pyarrow", EXTRA), import_extra("pyarrow.csv", EXTRA)
        empty = schema.empty_table().to_batches()
        flat = self._flat(empty[0] if empty else self._pa.RecordBatch.from_pylist([], schema=schema))
        self._writer = csv.CSVWriter(stream, flat.schema)

    def write(self, batch: Any) -> None:
        self._writer.write_batch(self._flat(batch))

    def close(self) -> None:
        self._writer.close()

    def _flat(self, batch: Any) -> Any:
        """Return a batch with a column for each element."""
        pa, columns = self._pa, dict[str, Any]()
        for field, column in zip(batch.schema, batch.columns, strict=True):
            kind, shape = field.type, []
            while pa.types.is_fixed_size_list(kind):
                shape.append(kind.list_size)
                kind = kind.value_type
            if pa.types.is_nested(kind):
                raise DataError(
                    f"column {field.name!r} holds {field.type}, which CSV cannot hold: write Parquet, or drop the column"
                )
            columns |= zip(column_names(field.name, shape), self._elements(column, shape), strict=True)
        return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))

    def _elements(self, column: Any, shape: list[int]) -> list[Any]:
        compute = import_extra("pyarrow.compute", EXTRA)
        columns = [column]
        for size in shape:
            columns = [compute.list_element(each, index) for each in columns for index in range(size)]
        return columns


open_writer = _CsvWriter
