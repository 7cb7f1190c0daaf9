"""Results as Parquet, a block of rows at a time."""

# pyarrow has no types.
# pyright: basic

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from gradwire._errors import DataError, MissingExtra, PackageError
from gradwire._package import StagedPath
from gradwire._tables import to_arrow

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ModuleNotFoundError as error:
    raise MissingExtra("batch needs pyarrow: pip install 'gradwire[batch]'") from error

from collections.abc import Mapping

import numpy.typing as npt


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
        self._origin: dict[str, str] = {}

    def describe(self, origin: Mapping[str, str]) -> None:
        """Note where the results come from: it is added to the metadata of the file's schema.

        Args:
            origin: such as ``{"gradwire.version": "3", "gradwire.digest": "sha256:…"}``.
        """
        self._origin = dict(origin)

    def write(self, block: Any, results: Mapping[str, npt.NDArray[np.generic]]) -> None:
        """Append a block of rows, with the results as further columns.

        Args:
            block: of a source.
            results: ``{name: (rows, *output)}``; rows of several elements become lists of fixed size.
        """
        table: Any = pa.Table.from_batches([block])
        for name, array in results.items():
            rows = array.reshape(len(array)) if array.shape[1:] == (1,) else array
            table = table.append_column(name, to_arrow(rows))
        if self.writer is None:
            schema = table.schema.with_metadata({**(table.schema.metadata or {}), **self._origin})
            self.writer = pq.ParquetWriter(self._staged.path, schema)
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


open_sink = ParquetSink
