"""Run a model over files: a source of blocks, a Model, a sink. Parquet needs the extra ``gradwire[batch]``."""

from __future__ import annotations

from typing import Any

from gradwire.batch._formats import open_sink, open_source
from gradwire.batch._formats.parquet import ParquetSink, ParquetSource
from gradwire.batch._run import BatchResult, Sink, Source, run

__all__ = ["BatchResult", "ParquetSink", "ParquetSource", "Sink", "Source", "open_sink", "open_source", "run"]


def __getattr__(name: str) -> Any:
    """Return the Parquet classes, which need pyarrow, when they are first used."""
    if name in ("ParquetSink", "ParquetSource"):
        from gradwire.batch._formats import parquet

        return getattr(parquet, name)
    raise AttributeError(f"module 'gradwire.batch' has no attribute {name!r}")
