"""Formats of files, one a module: how rows are read from them, and how results are written.

To add one, name its suffixes in ``MODULES`` and write its module: ``read_layout``, ``read_blocks`` and ``open_writer``,
as they are described here.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any, BinaryIO, Final, NamedTuple, Protocol, cast

from gradwire._errors import DataError
from gradwire._tables import FORMATS, reading
from gradwire.batch._files import InputFile

PARQUET: Final = "parquet"  # the format of a file with any other suffix, or none
TABLES: Final = "tables"  # reads what is held in memory whole
# Suffixes by module; what is not here and that `gradwire._tables` knows is read by `tables`, and not written.
MODULES: Final[dict[str, tuple[str, ...]]] = {
    PARQUET: FORMATS["parquet"],
    "arrow": FORMATS["arrow"],
    "csv": (".csv",),
    "npy": (".npy",),
    "npz": FORMATS["npz"],
    "tfrecord": (".tfrecord", ".tfrecords"),
}
FORMS: Final = tuple(MODULES)  # those that can be written
_BY_SUFFIX: Final = {suffix: TABLES for suffixes in FORMATS.values() for suffix in suffixes} | {
    suffix: name for name, suffixes in MODULES.items() for suffix in suffixes
}


class Layout(NamedTuple):
    """The columns of a file, and where it can be cut.

    Attributes:
        schema: pyarrow's.
        cuts: numbers of rows before which a unit may begin, in order, the first 0; the last is the number of rows.
    """

    schema: Any
    cuts: tuple[int, ...]


class Writer(Protocol):
    """Writes rows to a stream, which it does not close."""

    def write(self, batch: Any) -> None:
        """Append pyarrow's RecordBatch.

        Raises:
            DataError: the format cannot hold a column; names it.
        """
        ...

    def close(self) -> None:
        """Write what is due at the end."""
        ...


class _Module(Protocol):
    def read_layout(self, file: InputFile, decimal: str) -> Layout: ...

    def read_blocks(self, file: InputFile, start: int, stop: int, rows: int, decimal: str) -> Iterator[Any]: ...

    def open_writer(self, stream: BinaryIO, schema: Any) -> Writer: ...


def form_of_suffix(suffix: str) -> str | None:
    """Return the format that a suffix names, of those that can be written; None for none of them."""
    form = _BY_SUFFIX.get(suffix.lower())
    return None if form == TABLES else form


def require_known(files: tuple[InputFile, ...]) -> None:
    """Raise if one of several files is of no known format; a single one is then taken for Parquet.

    Raises:
        DataError: names them.
    """
    unknown = [file.name for file in files if file.suffix not in _BY_SUFFIX]
    if unknown and len(files) > 1:
        shown = ", ".join(unknown[:3]) + (", …" if len(unknown) > 3 else "")  # noqa: PLR2004 - enough to see what they are
        raise DataError(
            f"the source has files of no known format: {shown}; give a glob that leaves them out, in quotes; formats are "
            f"{', '.join(_BY_SUFFIX)}"
        )


def read_layout(file: InputFile, decimal: str) -> Layout:
    """Read the columns of a file, and where it can be cut.

    Args:
        file: of any format; Parquet with a suffix that is not known.
        decimal: the decimal mark of text.

    Raises:
        DataError: it cannot be read, or has two columns of one name.
        MissingExtra: the format needs a package that is not installed.
    """
    try:
        with reading(file.address):
            return _module(file).read_layout(file, decimal)
    except DataError as error:
        if file.suffix in _BY_SUFFIX:
            raise
        raise DataError(f"{error}; it was read as Parquet, for it ends in none of {', '.join(_BY_SUFFIX)}") from error


def read_blocks(file: InputFile, start: int, stop: int, rows: int, decimal: str) -> Iterator[Any]:
    """Iterate over rows of a file, in order, as pyarrow's record batches.

    Args:
        file: as for ``read_layout``.
        start: the first row, one of the layout's cuts.
        stop: the row behind the last, another of them.
        rows: the most rows of a batch.
        decimal: the decimal mark of text.

    Raises:
        DataError: the file is damaged.
    """
    with reading(file.address, "cannot read the rest of"):
        yield from _module(file).read_blocks(file, start, stop, rows, decimal)


def open_writer(form: str, stream: BinaryIO, schema: Any) -> Writer:
    """Open a writer of rows.

    Args:
        form: one of ``FORMS``.
        stream: gets the bytes, in order.
        schema: pyarrow's; its metadata is written where the format has a place for it.

    Raises:
        DataError: the format cannot hold a column; names it.
        MissingExtra: the format needs a package that is not installed.
    """
    return cast("_Module", importlib.import_module(f"{__name__}.{form}")).open_writer(stream, schema)


def _module(file: InputFile) -> _Module:
    name = _BY_SUFFIX.get(file.suffix, PARQUET)
    # Of these only the writing is their own: a type of a column is that of all its cells, so the whole is read first.
    return cast("_Module", importlib.import_module(f"{__name__}.{TABLES if name == 'csv' else name}"))
