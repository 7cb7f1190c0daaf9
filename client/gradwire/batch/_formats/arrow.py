"""Arrow IPC files, Feather among them: cut between record batches."""

# pyarrow has no types.
# pyright: basic

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, final

from gradwire._extras import import_extra
from gradwire._tables import EXTRA, require_distinct
from gradwire.batch._files import InputFile
from gradwire.batch._formats import Layout, tables

FEATHER_1 = b"FEA1"  # begins files of the first version, which are read whole


def read_layout(file: InputFile, decimal: str) -> Layout:
    """Read the columns of a file, and the rows at which its batches begin."""
    if _is_feather_1(file):
        return tables.read_layout(file, decimal)
    with _open(file) as reader:
        require_distinct(file.name, reader.schema.names)
        return Layout(reader.schema, _cuts(reader))


def read_blocks(file: InputFile, start: int, stop: int, rows: int, decimal: str, place: Any) -> Iterator[Any]:
    """Iterate over the batches from one row to another."""
    if _is_feather_1(file):
        yield from tables.read_blocks(file, start, stop, rows, decimal, place)
        return
    with _open(file) as reader:
        for index, cut in enumerate(_cuts(reader)[:-1]):
            if start <= cut < stop:
                batch = reader.get_batch(index)
                for first in range(0, batch.num_rows, rows):
                    yield batch.slice(first, rows)


def _is_feather_1(file: InputFile) -> bool:
    with file.local().open("rb") as stream:
        return stream.read(len(FEATHER_1)) == FEATHER_1


@contextmanager
def _open(file: InputFile) -> Iterator[Any]:
    pa = import_extra("pyarrow", EXTRA)
    with pa.memory_map(str(file.local())) as source, pa.ipc.open_file(source) as reader:
        yield reader


def _cuts(reader: Any) -> tuple[int, ...]:
    counts = (reader.get_batch(index).num_rows for index in range(reader.num_record_batches))
    return tuple(itertools.accumulate(counts, initial=0))


@final
class _ArrowWriter:
    def __init__(self, stream: BinaryIO, schema: Any) -> None:
        pa = import_extra("pyarrow", EXTRA)
        self._writer = pa.ipc.new_file(stream, schema)

    def write(self, batch: Any) -> None:
        self._writer.write_batch(batch)

    def close(self) -> None:
        self._writer.close()


open_writer = _ArrowWriter
