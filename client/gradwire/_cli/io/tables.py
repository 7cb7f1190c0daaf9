"""Tables of points for a query, from a file or standard input, in blocks."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Final, TextIO

from numpy.typing import NDArray

from gradwire._errors import DataError, InputNameError, UsageError
from gradwire._package import TensorSpec
from gradwire._tables import (
    column_names,
    elements_of,
    is_columnar,
    joined,
    numbers_of,
    open_table,
    read_lines,
    require_numeric,
)

STDIN: Final = "-"
FROM_FILE: Final = "@"


def is_table(text: str) -> bool:
    """Return whether an ``--input`` is a table: ``-``, or ``@points.csv``."""
    return text == STDIN or text.startswith(FROM_FILE)


def read_blocks(
    text: str,
    specs: Mapping[str, TensorSpec],
    required: Iterable[str],
    rows: int,
    *,
    decimal: str = ".",
    header_optional: bool = False,
) -> Iterator[dict[str, NDArray[Any]]]:
    """Read a table (see ``is_table``): text as it arrives, any other format from its file.

    Args:
        text: ``-``, or ``@points.csv``.
        specs: every input that the table may hold; other columns are ignored.
        required: the inputs that it must hold.
        rows: the most rows of a block.
        decimal: the decimal mark of CSV.
        header_optional: whether CSV may lack the header; its columns are then those of ``specs``, in order.

    Yields:
        ``{input: (rows, *row)}`` for the inputs that the table has.

    Raises:
        InputNameError: a column is missing.
        DataError: the file cannot be read, or holds something that is not a number; or an input takes text.
        MissingExtra: the format needs a package that is not installed.
    """
    for spec in specs.values():
        require_numeric(spec)
    path = Path(text.removeprefix(FROM_FILE))
    if text != STDIN and is_columnar(path):
        yield from _file_blocks(path, specs, required, rows)
        return
    with _open(text, path) as lines:
        if text == STDIN and lines.isatty():
            raise UsageError("--input - reads standard input, which is a terminal: pipe a table into it")
        table = "standard input" if text == STDIN else str(path)
        yield from read_lines(
            lines, specs, required, rows, table=table, header_optional=header_optional, decimal=decimal
        )


def _open(text: str, path: Path) -> AbstractContextManager[TextIO]:
    if text == STDIN:
        return nullcontext(sys.stdin)
    try:
        return path.open(encoding="utf-8-sig", newline="")
    except OSError as error:
        raise DataError(f"cannot read {path}: {error}") from error


def _file_blocks(
    path: Path, specs: Mapping[str, TensorSpec], required: Iterable[str], rows: int
) -> Iterator[dict[str, NDArray[Any]]]:
    table = open_table(path)
    elements = elements_of(table.names, table.what)
    if missing := [name for name in required if name not in elements]:
        labels = [label for name in missing for label in column_names(name, specs[name].least_row_shape)]
        braced = ("{" + ", ".join(names) + "}" for names in (table.names, labels))
        raise InputNameError("{} has the columns {}; missing but required: {}".format(table.what, *braced))
    first = 0
    for block in table.blocks(rows):

        def read(column: str, block: Any = block, first: int = first) -> NDArray[Any]:
            return numbers_of(block.column(column), column, first_row=first, missing=False)

        yield {
            name: joined(name, elements[name], read, spec.least_row_shape)
            for name, spec in specs.items()
            if name in elements
        }
        first += block.num_rows
