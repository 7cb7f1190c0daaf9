"""What is one document, and so is read whole: JSON, extended XYZ, by the reader of all commands."""

# pyarrow has no types.
# pyright: basic

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final

from gradwire._tables import open_table
from gradwire.batch._files import InputFile
from gradwire.batch._formats import Layout

CUT: Final = 2**20  # rows between places where a unit may begin
OPEN: Final = 2  # tables held: of two units at work
_reading = threading.Lock()


def read_layout(file: InputFile, decimal: str) -> Layout:
    """Read the columns of a file, and its number of rows."""
    table = _read(file, decimal)
    return Layout(table.schema, (*range(0, table.num_rows, CUT), table.num_rows))


def read_blocks(file: InputFile, start: int, stop: int, rows: int, decimal: str, place: Any) -> Iterator[Any]:
    """Iterate over a part of the table."""
    del place
    yield from _read(file, decimal).slice(start, stop - start).to_batches(max_chunksize=rows)


def _read(file: InputFile, decimal: str) -> Any:
    with _reading:
        return _held(file, decimal)


@lru_cache(maxsize=OPEN)
def _held(file: InputFile, decimal: str) -> Any:
    return open_table(file.local(), decimal=decimal, may_be_empty=True).whole().combine_chunks()
