"""CSV and TSV: cells separated by commas, semicolons or tabs; UTF-8, with or without a byte order mark."""

# pyarrow has no types.
# pyright: basic

from __future__ import annotations

import codecs
import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from gradwire._errors import DataError
from gradwire._extras import import_extra
from gradwire._tables.cells import MISSING, SNIFFED, separator_of
from gradwire._tables.numbers import EXTRA
from gradwire._tables.table import Table, in_memory

QUOTE: Final = '"'


class Head(NamedTuple):
    """What stands before the rows of a file of cells.

    Attributes:
        names: of the columns.
        separator: of the cells.
        lines: how many it takes.
        size: how many bytes.
        is_quoted: whether cells are in quotes, and may hold ends of lines.
        is_all: whether no row follows.
    """

    names: tuple[str, ...]
    separator: str
    lines: int
    size: int
    is_quoted: bool
    is_all: bool


def open_file(path: Path, decimal: str) -> Table:
    """Read a file of cells: a column is of numbers if every cell is one, of text otherwise."""
    pa = import_extra("pyarrow", EXTRA)
    head = read_head(path, decimal)
    if head.is_all:
        return in_memory(path, pa.table({name: pa.nulls(0) for name in head.names}), decimal)
    arrays, _ = read_cells(path, head, decimal, skipped=head.lines)
    return in_memory(path, pa.Table.from_arrays(arrays, names=list(head.names)), decimal)


def read_head(path: Path, decimal: str) -> Head:
    """Read the names of the columns, and how cells are written.

    Raises:
        DataError: the file is empty, or the decimal comma would be the separator, too.
    """
    with path.open("rb") as stream:
        mark = len(codecs.BOM_UTF8) if stream.read(len(codecs.BOM_UTF8)) == codecs.BOM_UTF8 else 0
    with path.open(encoding="utf-8-sig", newline="") as stream:
        sample = [line for line, _ in zip(stream, range(SNIFFED), strict=False)]
        if not sample:
            raise DataError(f"cannot read {path}: it is empty, expected columns and rows")
        separator = separator_of(sample, decimal)
        stream.seek(0)
        lines: list[str] = []
        header = csv.reader((lines.append(line) or line for line in stream), delimiter=separator)
        names = next((row for row in header if row), [])
    return Head(
        tuple(name.strip() for name in names), separator, len(lines), mark + sum(len(line.encode()) for line in lines),
        is_quoted=any(QUOTE in line for line in sample),
        is_all=len(sample) < SNIFFED and not any(line.strip() for line in sample[len(lines) :]),
    )  # fmt: skip


def read_options(head: Head, decimal: str, types: Mapping[int, Any] | None = None, skipped: int = 0) -> dict[str, Any]:
    """Return pyarrow's options for the rows below a head.

    Args:
        head: of the file.
        decimal: the decimal mark.
        types: of columns by their index; those of others follow from their cells.
        skipped: lines to leave out.
    """
    reader = import_extra("pyarrow.csv", EXTRA)
    return {
        "read_options": reader.ReadOptions(column_names=_columns(head), skip_rows=skipped),
        "parse_options": reader.ParseOptions(delimiter=head.separator, newlines_in_values=head.is_quoted),
        "convert_options": reader.ConvertOptions(
            null_values=list(MISSING), strings_can_be_null=True, decimal_point=decimal,
            column_types={str(index): kind for index, kind in (types or {}).items()},
        ),
    }  # fmt: skip


def read_cells(source: Any, head: Head, decimal: str, skipped: int = 0) -> tuple[list[Any], frozenset[int]]:
    """Read the columns of some rows: whole numbers, else numbers, else text.

    Args:
        source: a path, or a buffer of rows.
        head: of the file.
        decimal: the decimal mark.
        skipped: lines of the source to leave out.

    Returns:
        The columns; and which of them pyarrow takes for no numbers, such as those with blanks around them.
    """
    pa, reader = (import_extra(name, EXTRA) for name in ("pyarrow", "pyarrow.csv"))
    table = reader.read_csv(source, **read_options(head, decimal, skipped=skipped))
    # A guess at truth values and dates is none of ours: they stay the text that they are.
    others = [
        index for index, kind in enumerate(table.schema.types) if kind not in (pa.int64(), pa.float64(), pa.null())
    ]
    arrays = list(table.columns)
    if others:
        options = read_options(head, decimal, dict.fromkeys(others, pa.string()), skipped)
        options["convert_options"].include_columns = [str(index) for index in others]
        text = reader.read_csv(source, **options)
        for index in others:
            arrays[index] = _typed(text.column(str(index)), decimal)
    return arrays, frozenset(others)


def numbers_of_cells(column: Any, decimal: str, kind: Any) -> Any:
    """Return a column of text as numbers of a type.

    Raises:
        ArrowInvalid: a cell holds something else.
    """
    pa, compute = (import_extra(name, EXTRA) for name in ("pyarrow", "pyarrow.compute"))
    cells = compute.replace_substring_regex(compute.utf8_trim_whitespace(column), r"^\+", "")
    cells = compute.if_else(compute.is_in(cells, pa.array(MISSING)), pa.scalar(None, pa.string()), cells)
    if decimal == ",":
        if compute.any(compute.match_substring(cells, ".")).as_py():
            raise pa.ArrowInvalid("a point, which may separate thousands")
        cells = compute.replace_substring(cells, ",", ".")
    return compute.cast(cells, kind)


def _typed(column: Any, decimal: str) -> Any:
    """Return a column of cells as whole numbers, else as numbers, else as it is."""
    pa = import_extra("pyarrow", EXTRA)
    for kind in (pa.int64(), pa.float64()):
        try:
            return numbers_of_cells(column, decimal, kind)
        except pa.ArrowInvalid:
            continue
    return column


def _columns(head: Head) -> list[str]:
    return [str(index) for index in range(len(head.names))]
