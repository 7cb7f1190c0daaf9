"""NumPy's archives: an array ``(rows, *row)`` for each column, none of which is ever held whole."""

# pyarrow has no types.
# pyright: basic

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, final

import numpy as np
from numpy.typing import NDArray

from gradwire._errors import DataError
from gradwire._extras import import_extra
from gradwire._tables import EXTRA, require_distinct, to_arrow
from gradwire.batch._files import InputFile
from gradwire.batch._formats import Layout
from gradwire.batch._formats.arrays import ColumnFiles
from gradwire.batch._formats.tables import CUT

SUFFIX = ".npy"


@final
class _Member:
    """An array of an archive, read from its first row on."""

    def __init__(self, stream: Any, name: str) -> None:
        major, _ = np.lib.format.read_magic(stream)
        header = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
        self.shape, self._is_fortran, self.dtype = header(stream)
        if self.dtype.hasobject or not self.shape:
            held = "a single value" if not self.shape else "Python's objects"
            raise DataError(f"column {name!r} holds {held}, expected an array of rows: leave it out")
        self._stream = stream
        self._whole: NDArray[Any] | None = None
        if self._is_fortran and len(self.shape) > 1:
            self._whole = np.frombuffer(stream.read(), self.dtype).reshape(self.shape, order="F")
        self._row = 0

    def read(self, rows: int) -> NDArray[Any]:
        """Return the next rows."""
        first, self._row = self._row, self._row + rows
        if self._whole is not None:
            return self._whole[first : self._row]
        count = rows * int(np.prod(self.shape[1:], dtype=np.int64))
        return np.frombuffer(_exactly(self._stream, count * self.dtype.itemsize), self.dtype).reshape(
            rows, *self.shape[1:]
        )

    def skip(self, rows: int) -> None:
        """Leave rows out."""
        while rows:
            rows -= len(self.read(min(rows, CUT >> 4)))


def read_layout(file: InputFile, decimal: str) -> Layout:
    """Read the columns of a file, and its number of rows."""
    del decimal
    with _open(file) as members:
        require_distinct(file.name, list(members))
        counts = {name: member.shape[0] for name, member in members.items()}
        if len(set(counts.values())) != 1:
            raise DataError(f"{file.name} has columns of different numbers of rows, {counts}: leave the others out")
        rows = next(iter(counts.values()))
        return Layout(_batch(members, 0).schema, (*range(0, rows, CUT), rows))


def read_blocks(file: InputFile, start: int, stop: int, rows: int, decimal: str, place: Any) -> Iterator[Any]:
    """Iterate over a part of the rows."""
    del decimal, place
    with _open(file) as members:
        for member in members.values():
            member.skip(start)
        for first in range(start, stop, rows):
            yield _batch(members, min(rows, stop - first))


@contextmanager
def _open(file: InputFile) -> Iterator[dict[str, _Member]]:
    with file.local().open("rb") as stream:
        if not zipfile.is_zipfile(stream):
            raise DataError(f"cannot read {file.address}: it is not a NumPy archive, as np.savez writes it")
        with zipfile.ZipFile(stream) as archive:
            names = [name for name in archive.namelist() if name.endswith(SUFFIX)]
            yield {name.removesuffix(SUFFIX): _Member(archive.open(name), name.removesuffix(SUFFIX)) for name in names}


def _batch(members: dict[str, _Member], rows: int) -> Any:
    pa = import_extra("pyarrow", EXTRA)
    return pa.RecordBatch.from_arrays([to_arrow(member.read(rows)) for member in members.values()], names=list(members))


def _exactly(stream: Any, size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise EOFError(f"an array ends after {len(data)} of {size} bytes")
    return data


@final
class _NpzWriter:
    def __init__(self, stream: BinaryIO, schema: Any) -> None:
        self._stream, self._columns = stream, ColumnFiles(schema, "NPZ")

    def write(self, batch: Any) -> None:
        self._columns.append(batch)

    def close(self) -> None:
        columns = self._columns.finish()
        with zipfile.ZipFile(self._stream, "w") as archive:
            for name, column in columns.items():
                entry = zipfile.ZipInfo(name + SUFFIX)  # of 1980, so that the same rows give the same bytes
                with archive.open(entry, "w", force_zip64=True) as member:
                    header = {
                        "descr": np.lib.format.dtype_to_descr(column.dtype),
                        "fortran_order": False,
                        "shape": (self._columns.rows, *column.row_shape),
                    }
                    np.lib.format.write_array_header_2_0(member, header)
                    shutil.copyfileobj(column.file, member)


open_writer = _NpzWriter
