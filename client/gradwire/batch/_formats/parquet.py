"""Parquet: cut between row groups, read and written a block at a time."""

# pyarrow has no types.
# pyright: basic

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, BinaryIO, Final, final

from gradwire._extras import import_extra
from gradwire._tables import EXTRA, require_distinct
from gradwire.batch._files import InputFile, is_url
from gradwire.batch._formats import Layout

GROUP_BYTES: Final = 32 << 20  # of a row group in memory: a million rows of four doubles, and flat for wide ones
BUFFER: Final = 1 << 20  # bytes read at once, without reading ahead: memory stays flat however large a row group is


def read_layout(file: InputFile, decimal: str) -> Layout:
    """Read the columns of a file, and the rows at which its row groups begin."""
    del decimal
    with _open(file) as parquet:
        schema = parquet.schema_arrow
        require_distinct(file.name, schema.names)
        return Layout(schema, _cuts(parquet.metadata))


def read_blocks(file: InputFile, start: int, stop: int, rows: int, decimal: str, place: Any) -> Iterator[Any]:
    """Iterate over the row groups from one row to another."""
    del decimal, place
    with _open(file) as parquet:
        cuts = _cuts(parquet.metadata)
        groups = [index for index, cut in enumerate(cuts[:-1]) if start <= cut < stop]
        if groups:
            yield from parquet.iter_batches(batch_size=rows, row_groups=groups, use_threads=False)


def _open(file: InputFile) -> Any:
    pq = import_extra("pyarrow.parquet", EXTRA)
    source = file.open() if is_url(file.address) else file.address
    return pq.ParquetFile(source, buffer_size=BUFFER, pre_buffer=False)


def _cuts(metadata: Any) -> tuple[int, ...]:
    counts = (metadata.row_group(index).num_rows for index in range(metadata.num_row_groups))
    return tuple(itertools.accumulate(counts, initial=0))


@final
class _ParquetWriter:
    def __init__(self, stream: BinaryIO, schema: Any) -> None:
        pa, pq = import_extra("pyarrow", EXTRA), import_extra("pyarrow.parquet", EXTRA)
        # Numbers hardly repeat: a dictionary of them is tried in vain, which takes half of the time.
        texts = [field.name for field in schema if not _is_numeric(pa, field.type)]
        self._table = pa.Table.from_batches
        self._schema = schema
        self._writer = pq.ParquetWriter(stream, schema, use_dictionary=texts or False)
        self._held: list[Any] = []
        self._bytes = 0

    def write(self, batch: Any) -> None:
        self._held.append(batch)
        self._bytes += batch.nbytes
        if self._bytes >= GROUP_BYTES:
            self._flush()

    def close(self) -> None:
        if self._held:
            self._flush()
        self._writer.close()

    def __del__(self) -> None:
        # One that was given up must not write its end to a stream that is closed; pyarrow's own would, and complain.
        self._writer.is_open = False

    def _flush(self) -> None:
        self._writer.write_table(self._table(self._held, self._schema))
        self._held, self._bytes = [], 0


def _is_numeric(pa: Any, kind: Any) -> bool:
    while hasattr(kind, "value_type") and not pa.types.is_dictionary(kind):
        kind = kind.value_type
    return pa.types.is_floating(kind) or pa.types.is_integer(kind)


open_writer = _ParquetWriter
