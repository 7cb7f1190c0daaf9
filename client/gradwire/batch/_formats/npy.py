"""NumPy's files: a record a row, or one array of rows, which is the column ``x``."""

# pyarrow has no types.
# pyright: basic

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, Final, final

import numpy as np
from numpy.typing import NDArray

from gradwire._errors import DataError
from gradwire._extras import import_extra
from gradwire._tables import EXTRA, to_arrow
from gradwire.batch._files import InputFile
from gradwire.batch._formats import Layout
from gradwire.batch._formats.arrays import ColumnFiles
from gradwire.batch._formats.tables import CUT

ONLY: Final = "x"  # the column of an array without names


def read_layout(file: InputFile, decimal: str) -> Layout:
    """Read the columns of a file, and its number of rows."""
    del decimal
    array = _map(file)
    return Layout(_batch(array[:0]).schema, (*range(0, len(array), CUT), len(array)))


def read_blocks(file: InputFile, start: int, stop: int, rows: int, decimal: str, place: Any) -> Iterator[Any]:
    """Iterate over a part of the rows."""
    del decimal, place
    array = _map(file)
    for first in range(start, stop, rows):
        yield _batch(array[first : min(stop, first + rows)])


def _map(file: InputFile) -> NDArray[Any]:
    array = np.load(file.local(), mmap_mode="r", allow_pickle=False)
    if not isinstance(array, np.ndarray) or not array.ndim:
        raise DataError(f"{file.name} holds no array of rows, as np.save writes it from one")
    return array


def _batch(array: NDArray[Any]) -> Any:
    pa = import_extra("pyarrow", EXTRA)
    names = array.dtype.names
    columns: Mapping[str, Any] = {ONLY: array} if names is None else {name: array[name] for name in names}
    return pa.RecordBatch.from_arrays([to_arrow(column) for column in columns.values()], names=list(columns))


@final
class _NpyWriter:
    def __init__(self, stream: BinaryIO, schema: Any) -> None:
        self._stream, self._columns = stream, ColumnFiles(schema, "NPY")

    def write(self, batch: Any) -> None:
        self._columns.append(batch)

    def close(self) -> None:
        columns = self._columns.finish()
        dtype = np.dtype([(name, column.dtype, column.row_shape) for name, column in columns.items()])
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (self._columns.rows,)}
        np.lib.format.write_array_header_2_0(self._stream, header)
        for first in range(0, self._columns.rows, CUT >> 4):
            rows = min(CUT >> 4, self._columns.rows - first)
            records = np.zeros(rows, dtype)
            for name, column in columns.items():
                records[name] = column.read(rows)
            self._stream.write(records.tobytes())


open_writer = _NpyWriter
