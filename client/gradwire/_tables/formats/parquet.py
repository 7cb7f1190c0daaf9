"""Parquet: a dataset, whose columns are read one by one, and whose rows in blocks."""

# pyarrow has no types.
# pyright: basic

from __future__ import annotations

from pathlib import Path

from gradwire._extras import import_extra
from gradwire._tables.numbers import EXTRA
from gradwire._tables.table import Table, open_dataset, require_distinct


def open_file(path: Path, decimal: str) -> Table:
    """Open a Parquet file."""
    del decimal
    ds, pq = (import_extra(f"pyarrow.{name}", EXTRA) for name in ("dataset", "parquet"))
    require_distinct(path.name, pq.read_schema(path).names)
    # Without buffers read ahead: memory stays flat however large a row group is.
    options = ds.ParquetFragmentScanOptions(pre_buffer=False, use_buffered_stream=True)
    return open_dataset(path, ds.ParquetFileFormat(default_fragment_scan_options=options))
