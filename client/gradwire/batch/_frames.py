"""Rows without a job: an iterator of computed blocks, and tables in memory of pandas, Polars or Arrow."""

# pyarrow has no types.
# pyright: basic

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from gradwire._connect import load
from gradwire._errors import UsageError
from gradwire._extras import import_extra
from gradwire._model import Model
from gradwire._tables import EXTRA, to_arrow
from gradwire.batch._compute import BatchOptions, Computation
from gradwire.batch._job import Source, rows_of

Frame = TypeVar("Frame")


@contextmanager
def opened(model: Model | str | os.PathLike[str]) -> Generator[Model]:
    """Yield a model that stays with one version: that of a package's directory, or a given one.

    Args:
        model: in process or remote, or the directory of a package, which is loaded and closed at the end.
    """
    owned = None if isinstance(model, Model) else load(Path(model))
    whole = owned if owned is not None else model
    assert isinstance(whole, Model)  # noqa: S101 - one of the two is
    pinned = whole.pinned()
    try:
        yield pinned
    finally:
        if pinned is not whole:
            pinned.close()
        if owned is not None:
            owned.close()


def iterate(source: Any | Iterable[Any], *, model: Model | str | os.PathLike[str], **options: Any) -> Iterator[Any]:
    """Compute block after block, without writing anything.

    Args:
        source: files as ``run`` takes them, or a table in memory as ``apply`` takes it.
        model: as ``run`` takes it.
        **options: those of ``BatchOptions``: ``compute``, ``uncertainty``, ``flag_outside``, ``on_error``, ``columns``,
            ``decimal`` and ``block_rows``.

    Yields:
        pyarrow's RecordBatch: a block's rows and their results.

    Raises:
        DataError: a file or a row cannot be read, or a column is missing, or has a result's name.
        SignatureNotFound: the package lacks the signature.
    """
    chosen = BatchOptions(**options)
    with opened(model) as pinned:
        if _is_address(source) or (isinstance(source, list | tuple) and all(map(_is_address, source))):
            files = Source(source, chosen.decimal)
            computation = Computation(pinned, chosen, files.schema)
            for file in files.files:
                row = 0
                for block in rows_of(file, files.schema, 0, files.cuts[file][-1], chosen, files.places[file].get(0)):
                    yield computation(block, row, file.name, is_text=file.is_text).batch
                    row += block.num_rows
            return
        table = _table(source)
        computation = Computation(pinned, chosen, table.schema)
        row = 0
        for block in table.combine_chunks().to_batches(max_chunksize=chosen.block_rows) or [_empty(table.schema)]:
            yield computation(block, row, "the table").batch
            row += block.num_rows


def apply(table: Frame, *, model: Model | str | os.PathLike[str], **options: Any) -> Frame:
    """Compute results for every row of a table in memory.

    Args:
        table: of pandas, Polars or Arrow, or any that gives Arrow's PyCapsules; or ``{column: array}``.
        model: as ``run`` takes it.
        **options: those of ``BatchOptions``.

    Returns:
        The rows with the results as further columns, in a table of the same library; pyarrow's Table for any other.

    Raises:
        DataError: as for ``iterate``.
        UsageError: it is no table.
    """
    pa = import_extra("pyarrow", EXTRA)
    whole: Any = pa.Table.from_batches(list(iterate(_table(table), model=model, **options)))
    library = type(table).__module__.partition(".")[0]
    if library == "pandas":
        return whole.to_pandas()
    if library == "polars":
        return import_extra("polars", EXTRA).from_arrow(whole)
    return whole


def _is_address(source: Any) -> bool:
    return isinstance(source, str | os.PathLike)


def _table(source: Any) -> Any:
    pa = import_extra("pyarrow", EXTRA)
    if isinstance(source, pa.Table):
        return source
    if type(source).__module__.partition(".")[0] == "pandas":
        return pa.Table.from_pandas(source)  # with its index
    if isinstance(source, pa.RecordBatch) or hasattr(source, "__arrow_c_stream__"):
        return pa.Table.from_batches([source]) if isinstance(source, pa.RecordBatch) else pa.table(source)
    if isinstance(source, Mapping):
        return pa.table({name: to_arrow(np.asarray(column)) for name, column in source.items()})
    raise UsageError(
        f"{type(source).__name__} is no table, expected one of pandas, Polars or Arrow, or {{column: array}}; or the "
        "address of a file"
    )


def _empty(schema: Any) -> Any:
    pa = import_extra("pyarrow", EXTRA)
    return pa.RecordBatch.from_arrays([pa.nulls(0, each.type) for each in schema], schema=schema)
