"""Formats of files, one a module: how rows are read from them, and how results are written.

To add one, name its suffixes in ``MODULES`` and write its module: ``read_layout``, ``read_blocks`` and ``open_writer``,
as they are described here.
"""

# pyarrow has no types.
# pyright: basic

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, BinaryIO, Final, NamedTuple, Protocol, cast

from gradwire._errors import DataError
from gradwire._extras import import_extra
from gradwire._tables import EXTRA, FORMATS, reading
from gradwire.batch._files import InputFile

PARQUET: Final = "parquet"  # the format of a file with any other suffix, or none
TABLES: Final = "tables"  # reads what is held in memory whole
# Suffixes by module, of those that are written.
MODULES: Final[dict[str, tuple[str, ...]]] = {
    PARQUET: FORMATS["parquet"],
    "arrow": FORMATS["arrow"],
    "csv": (".csv",),
    "npy": (".npy",),
    "npz": FORMATS["npz"],
    "tfrecord": (".tfrecord", ".tfrecords"),
}
FORMS: Final = tuple(MODULES)  # those that can be written
# What is not here and that `gradwire._tables` knows is read by `tables`.
READ: Final[dict[str, tuple[str, ...]]] = {**MODULES, "csv": FORMATS["csv"], "lines": (".jsonl", ".ndjson")}
_BY_SUFFIX: Final = {suffix: TABLES for suffixes in FORMATS.values() for suffix in suffixes} | {
    suffix: name for name, suffixes in READ.items() for suffix in suffixes
}
_FORM_OF_SUFFIX: Final = {suffix: name for name, suffixes in MODULES.items() for suffix in suffixes}


class Layout(NamedTuple):
    """The columns of a file, and where it can be cut.

    Attributes:
        schema: pyarrow's.
        cuts: numbers of rows before which a unit may begin, in order, the first 0; the last is the number of rows.
        places: what ``read_blocks`` has to know to begin at each of them; none where a number of rows is enough. They
            pickle.
    """

    schema: Any
    cuts: tuple[int, ...]
    places: tuple[Any, ...] = ()


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

    def read_blocks(
        self, file: InputFile, start: int, stop: int, rows: int, decimal: str, place: Any
    ) -> Iterator[Any]: ...

    def open_writer(self, stream: BinaryIO, schema: Any) -> Writer: ...


def form_of_suffix(suffix: str) -> str | None:
    """Return the format that a suffix names, of those that can be written; None for none of them."""
    return _FORM_OF_SUFFIX.get(suffix.lower())


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


def read_blocks(file: InputFile, start: int, stop: int, rows: int, decimal: str, place: Any = None) -> Iterator[Any]:
    """Iterate over rows of a file, in order, as pyarrow's record batches.

    Args:
        file: as for ``read_layout``.
        start: the first row, one of the layout's cuts.
        stop: the row behind the last, another of them.
        rows: the most rows of a batch.
        decimal: the decimal mark of text.
        place: the layout's, of the first row.

    Raises:
        DataError: the file is damaged.
    """
    with reading(file.address, "cannot read the rest of"):
        yield from _module(file).read_blocks(file, start, stop, rows, decimal, place)


def in_blocks(batches: Iterable[Any], rows: int, total: int) -> Iterator[Any]:
    """Cut and join pyarrow's record batches to blocks of so many rows, but for the last; what is over is left out.

    Raises:
        EOFError: they have fewer rows in all.
    """
    held: list[Any] = []
    for batch in batches:
        rest = batch.slice(0, total)
        total -= rest.num_rows
        while rest.num_rows:
            part = rest.slice(0, rows - sum(each.num_rows for each in held))
            rest = rest.slice(part.num_rows)
            held.append(part)
            if sum(each.num_rows for each in held) == rows:
                yield _joined(held)
                held = []
        if not total:
            break
    if held:
        yield _joined(held)
    if total:
        raise EOFError(f"it ends {total} rows early")


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
    return cast("_Module", importlib.import_module(f"{__name__}.{_BY_SUFFIX.get(file.suffix, PARQUET)}"))


def _joined(batches: Sequence[Any]) -> Any:
    if len(batches) == 1:
        return batches[0]
    table = import_extra("pyarrow", EXTRA).Table.from_batches(batches)
    return table.combine_chunks().to_batches()[0]
