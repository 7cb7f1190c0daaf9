"""Columns as NumPy's arrays on disk, until their number of rows is known, which stands before them in NumPy's files."""

# pyarrow has no types.
# pyright: basic

from __future__ import annotations

import tempfile
import weakref
from functools import cached_property
from typing import Any, BinaryIO, final

import numpy as np
from numpy.typing import NDArray

from gradwire._errors import DataError
from gradwire._extras import import_extra
from gradwire._tables import EXTRA


@final
class ColumnFile:
    """A column in a file that has no name and is gone with the process.

    Attributes:
        dtype: of an element.
        row_shape: of a row.
    """

    def __init__(self, dtype: np.dtype[Any], row_shape: tuple[int, ...]) -> None:
        self.dtype, self.row_shape = dtype, row_shape
        self._texts: list[NDArray[Any]] = []

    @cached_property
    def file(self) -> BinaryIO:
        """The rows, one behind the other."""
        file = tempfile.TemporaryFile()  # noqa: SIM115 - closed with this object
        weakref.finalize(self, file.close)
        return file

    def append(self, array: NDArray[Any]) -> None:
        """Append rows; texts are held until the widest is known."""
        if array.dtype.kind == "U":
            self._texts.append(array)
        else:
            self.file.write(np.ascontiguousarray(array, self.dtype).tobytes())

    def rewind(self) -> None:
        """Go to the first row."""
        if self._texts:
            whole = np.concatenate(self._texts)
            self.dtype, self._texts = whole.dtype, []
            self.file.write(whole.tobytes())
        self.file.seek(0)

    def read(self, rows: int) -> NDArray[Any]:
        """Return the next rows."""
        count = rows * int(np.prod(self.row_shape, dtype=np.int64))
        data = self.file.read(count * self.dtype.itemsize)
        return np.frombuffer(data, self.dtype).reshape(rows, *self.row_shape)


@final
class ColumnFiles:
    """The columns of some rows.

    Args:
        schema: pyarrow's, of the rows.
        form: of what they are written to, for messages.

    Raises:
        DataError: a column has a type that NumPy's files cannot hold.

    Attributes:
        rows: how many there are.
    """

    def __init__(self, schema: Any, form: str) -> None:
        self._pa, self._form = import_extra("pyarrow", EXTRA), form
        self._columns = {field.name: ColumnFile(*self._form_of(field)) for field in schema}
        self.rows = 0

    def append(self, batch: Any) -> None:
        """Append pyarrow's RecordBatch.

        Raises:
            DataError: nulls in a column that is not of floats, where they are NaN.
        """
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            self._columns[name].append(self._array(column, name, self._columns[name]))
        self.rows += batch.num_rows

    def finish(self) -> dict[str, ColumnFile]:
        """Return the columns by name, each at its first row."""
        for column in self._columns.values():
            column.rewind()
        return self._columns

    def _form_of(self, field: Any) -> tuple[np.dtype[Any], tuple[int, ...]]:
        kind, shape, types = field.type, [], self._pa.types
        while types.is_fixed_size_list(kind):
            shape.append(kind.list_size)
            kind = kind.value_type
        if types.is_string(kind) or types.is_large_string(kind):
            return np.dtype("U1"), tuple(shape)
        if types.is_null(kind):
            return np.dtype(np.float64), tuple(shape)
        if types.is_floating(kind) or types.is_integer(kind) or types.is_boolean(kind):
            return np.dtype(kind.to_pandas_dtype()), tuple(shape)
        raise DataError(
            f"column {field.name!r} holds {field.type}, which {self._form} cannot hold: write Parquet, or drop the column"
        )

    def _array(self, column: Any, name: str, into: ColumnFile) -> NDArray[Any]:
        rows = len(column)
        while self._pa.types.is_fixed_size_list(column.type):
            column = self._flattened(column)
        if column.null_count and into.dtype.kind != "f":
            row = self.rows + int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))
            raise DataError(
                f"column {name!r} has a null in row {row}, which {self._form} can hold for floats alone: write Parquet"
            )
        array = column.to_numpy(zero_copy_only=False)
        array = array.astype(str) if into.dtype.kind == "U" else array.astype(into.dtype, copy=False)
        return array.reshape(rows, *into.row_shape)

    def _flattened(self, column: Any) -> Any:
        """Return the elements of lists of fixed size, those of a null as nulls."""
        if not column.null_count:
            return column.flatten()
        pa, size = self._pa, column.type.list_size
        valid = np.repeat(column.is_valid().to_numpy(zero_copy_only=False), size)
        index = np.where(valid, np.cumsum(valid) - 1, 0)  # the elements of nulls are left out by flatten
        return column.flatten().take(pa.array(index, mask=~valid))
