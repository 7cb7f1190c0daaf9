"""Rows of a file, whatever its format, a block at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from gradwire._errors import DataError
from gradwire._package import TensorSpec
from gradwire._tables import (
    SUFFIXES,
    elements_of,
    join,
    numbers_of,
    open_mapping,
    open_table,
)
from gradwire.batch._compute import BLOCK_ROWS
from gradwire.batch._inputs import read_input

PARQUET: Final = "parquet"  # the format of files with any other suffix, or none


class FileSource:
    """Rows of a file.

    Parquet and Arrow are read a block at a time; of other formats the whole file is in memory.
    """

    def __init__(
        self,
        path: str | PathLike[str] | Mapping[str, npt.ArrayLike],
        *,
        decimal: str = ".",
        block_rows: int = BLOCK_ROWS,
        form: str | None = None,
    ) -> None:
        """Open a file.

        Args:
            path: of the file, whose suffix names the format; Parquet for any other suffix. Or rows in memory,
                ``{column: array (rows, *row shape)}``.
            decimal: the decimal mark of text, a point or a comma.
            block_rows: rows of a block.
            form: the format, whatever the suffix.

        Raises:
            DataError: it does not exist, is of another format, has two columns of one name, or no rows.
            MissingExtra: the format needs a package that is not installed.
        """
        self.block_rows = block_rows
        if isinstance(path, Mapping):
            self.path, self._table = Path(), open_mapping(path)
            self._elements = elements_of(self._table.names, self._table.what)
            return
        self.path = Path(path)
        is_guess = form is None and self.path.suffix.lower() not in SUFFIXES
        try:
            self._table = open_table(self.path, decimal=decimal, form=PARQUET if is_guess else form)
        except DataError as error:
            if not is_guess:
                raise
            raise DataError(f"{error}; it was read as Parquet, for it ends in none of {', '.join(SUFFIXES)}") from error
        self._elements = elements_of(self._table.names, self._table.what)

    @property
    def columns(self) -> list[str]:
        """The names of the columns; ``x`` stands for ``x[0]``, ``x[1]`` and so on."""
        return list(self._elements)

    @property
    def rows(self) -> int:
        """The number of rows in all."""
        return self._table.rows

    @property
    def what(self) -> str:
        """What it is, for messages: the file's name."""
        return self._table.what

    def blocks(self) -> Iterator[Any]:
        """Iterate over the rows, in order, a block at a time.

        Raises:
            DataError: the file is damaged.
        """
        return self._table.blocks(self.block_rows)

    def read(self, block: Any, spec: TensorSpec, first_row: int) -> npt.NDArray[np.generic]:
        """Return a block's column as the array ``(rows, *input)`` of an input.

        Args:
            block: from ``blocks``.
            spec: of the input; rows of several elements are a column of lists, or a column for each element.
            first_row: number of the block's first row in the file, for messages.

        Raises:
            DataError: the column holds nulls, text, truth values, or lists of another length; names column and row.
        """
        return read_input(
            block, spec, spec.name, self._elements[spec.name], first_row=first_row, decimal=self._table.decimal
        )

    def read_labels(
        self, block: Any, column: str, row_shape: tuple[int, ...], first_row: int
    ) -> npt.NDArray[np.float64]:
        """Return a block's column of labels as ``(rows, *row_shape)``; a missing label is NaN.

        Args:
            block: from ``blocks``.
            column: its name; rows of several elements are a column of lists, or a column for each element.
            row_shape: of a label.
            first_row: number of the block's first row in the file, for messages.

        Raises:
            DataError: the column holds text, infinity, or rows of another shape; names column and row.
        """

        def read(name: str) -> npt.NDArray[Any]:
            return numbers_of(block.column(name), name, first_row=first_row, decimal=self._table.decimal)

        array = join(column, self._elements[column], read, row_shape).astype(np.float64)
        if np.isinf(array).any():
            row = first_row + int(np.argwhere(np.isinf(array))[0][0])
            raise DataError(f"column {column!r} holds infinity in row {row}: leave the label empty where it is missing")
        if np.isnan(array).all():
            return np.full((len(array), *row_shape), np.nan)
        if array[0].size != int(np.prod(row_shape)):
            raise DataError(f"column {column!r} holds rows of shape {array.shape[1:]}, expected {row_shape}")
        return array.reshape(len(array), *row_shape)
