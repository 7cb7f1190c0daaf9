"""Runs a model over files: a source of blocks, a Model, a sink. Needs the extra ``gradwire[batch]``."""

from gradwire.batch._parquet import ParquetSink, ParquetSource
from gradwire.batch._run import BatchResult, Sink, Source, run

__all__ = ["BatchResult", "ParquetSink", "ParquetSource", "Sink", "Source", "run"]
