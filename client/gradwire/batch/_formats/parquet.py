"""Parquet in, Parquet out, a block of rows at a time."""

# pyarrow has no types.
# pyright: basic

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np

from gradwire._errors import DataError, MissingExtra, PackageError
from gradwire._package import StagedPath

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ModuleNotFoundError as error:
    raise MissingExtra("batch needs pyarrow: pip install 'gradwire[batch]'") from error

from collections.abc import Iterator, Mapping

import numpy.typing as npt

from gradwire._package import TensorSpec

BLOCK_ROWS: Final = 65_536  # fits the cache of the log network: 12 million rows a second, 5 at a million rows


class ParquetSource:
    """Rows of a Parquet file."""

    def __init__(self, path: str | Path, *, block_rows: int = BLOCK_ROWS) -> None:
        """Open a file.

        Args:
            path: of the file.
            block_rows: rows held in memory at a time.

        Raises:
            DataError: it does not exist, or is not Parquet.
        """
        self.path = Path(path)
        self.block_rows = block_rows
        try:
            self.file: Any = pq.ParquetFile(self.path)
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"cannot read {path} as Parquet: {_line(error)}") from error

    @property
    def columns(self) -> list[str]:
        """The names of the columns."""
        return list(self.file.schema_arrow.names)

    @property
    def rows(self) -> int:
        """The number of rows in all."""
        return int(self.file.metadata.num_rows)

    def blocks(self) -> Iterator[Any]:
        """Iterate over the rows, in order, a block at a time.

        Raises:
            DataError: the file is damaged.
        """
        try:
            yield from self.file.iter_batches(batch_size=self.block_rows)
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"cannot read the rest of {self.path}: {_line(error)}") from error

    def read(self, block: Any, spec: TensorSpec, first_row: int) -> npt.NDArray[np.generic]:
        """Return a block's column as the array ``(rows, *input)`` of an input.

        Args:
            block: from ``blocks``.
            spec: of the input; rows of several elements are a column of lists.
            first_row: number of the block's first row in the file, for messages.

        Raises:
            DataError: the column holds nulls, text, or lists of another length; names column and row.
        """
        column: Any = block.column(spec.name)
        if column.null_count:
            row = first_row + int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))
            raise DataError(f"column {spec.name!r} has a null in row {row}: fill or drop such rows")
        row_shape = tuple(size or 0 for size in spec.row_shape)
        for size in row_shape if row_shape != (1,) else ():
            column = _list_items(column, size, spec.name, first_row)
        if not (pa.types.is_floating(column.type) or pa.types.is_integer(column.type)):
            raise DataError(f"column {spec.name!r} holds {column.type}, expected numbers of rows of shape {row_shape}")
        array: npt.NDArray[np.generic] = column.to_numpy(zero_copy_only=False)
        return array.reshape(len(block), *row_shape)


def _list_items(column: Any, size: int, name: str, first_row: int) -> Any:
    if not (
        pa.types.is_list(column.type) or pa.types.is_large_list(column.type) or pa.types.is_fixed_size_list(column.type)
    ):
        raise DataError(f"column {name!r} holds {column.type}, expected lists of {size} numbers")
    lengths = column.value_lengths().to_numpy(zero_copy_only=False)
    if (lengths != size).any():
        row = first_row + int(np.argmax(lengths != size))
        raise DataError(f"column {name!r} has {lengths[lengths != size][0]} numbers in row {row}, expected {size}")
    items = column.flatten()
    if items.null_count:
        raise DataError(f"column {name!r} has a null in a list after row {first_row}: fill or drop such rows")
    return items


class ParquetSink:
    """A Parquet file that appears when it is complete."""

    def __init__(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Check that the file can be written.

        Args:
            path: of the file.
            overwrite: whether an existing file may be replaced.

        Raises:
            PackageError: it exists, or its directory cannot be written.
        """
        self.path = Path(path)
        if self.path.exists() and not overwrite:
            raise PackageError(f"{path} exists: choose another name, or pass --overwrite")
        self._staged = StagedPath(self.path, is_directory=False)
        self.writer: Any = None

    def write(self, block: Any, results: Mapping[str, npt.NDArray[np.generic]]) -> None:
        """Append a block of rows, with the results as further columns.

        Args:
            block: from a ``ParquetSource``.
            results: ``{name: (rows, *output)}``; rows of several elements become lists of fixed size.
        """
        table: Any = pa.Table.from_batches([block])
        for name, array in results.items():
            table = table.append_column(name, _to_arrow(array))
        if self.writer is None:
            self.writer = pq.ParquetWriter(self._staged.path, table.schema)
        self.writer.write_table(table)

    def commit(self) -> None:
        """Move the finished file into its place, on disk and readable by all.

        Raises:
            DataError: nothing was written.
        """
        if self.writer is None:
            raise DataError("the file has no rows: nothing to compute")
        self.writer.close()
        self._staged.commit()

    def discard(self) -> None:
        """Remove the temporary file; harmless after ``commit``."""
        if self.writer is not None:
            self.writer.close()
        self._staged.discard()


def _to_arrow(array: npt.NDArray[np.generic]) -> Any:
    row_shape = () if array.shape[1:] == (1,) else array.shape[1:]
    column: Any = pa.array(np.ascontiguousarray(array).reshape(-1))
    for size in reversed(row_shape):
        column = pa.FixedSizeListArray.from_arrays(column, size)
    return column


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())


open_source = ParquetSource
open_sink = ParquetSink
