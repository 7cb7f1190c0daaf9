"""Run a model over files: a source of blocks, a Model, a sink. It needs the extra ``gradwire[batch]``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gradwire.batch._formats import open_sink
from gradwire.batch._run import BatchResult, Sink, Source, run
from gradwire.batch._source import BLOCK_ROWS, FileSource, ParquetSource

if TYPE_CHECKING:
    from gradwire.batch._formats.parquet import ParquetSink

open_source = FileSource

__all__ = [
    "BLOCK_ROWS",
    "BatchResult",
    "FileSource",
    "ParquetSink",
    "ParquetSource",
    "Sink",
    "Source",
    "open_sink",
    "open_source",
    "run",
]


def __getattr__(name: str) -> Any:
    """Return the class of the sink, which needs pyarrow, when it is first used."""
    if name == "ParquetSink":
        from gradwire.batch._formats import parquet

        return parquet.ParquetSink
    raise AttributeError(f"module 'gradwire.batch' has no attribute {name!r}")
