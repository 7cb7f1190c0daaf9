"""A table in a file, whatever the format: its columns by name, whole or in blocks of rows."""

# pyarrow has no types.
# pyright: basic

from __future__ import annotations

import importlib
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from typing_extensions import override

from gradwire._errors import DataError, UsageError
from gradwire._extras import import_extra
from gradwire._tables.cells import DECIMALS
from gradwire._tables.numbers import EXTRA, numbers_of

# Each format is a module of `formats`, with a function `open_file(path, decimal)`.
FORMATS: Final[dict[str, tuple[str, ...]]] = {
    "parquet": (".parquet", ".pq"),
    "arrow": (".arrow", ".feather"),
    "csv": (".csv", ".tsv"),
    "json": (".jsonl", ".ndjson", ".json"),
    "npz": (".npz",),
    "xyz": (".xyz", ".extxyz"),
}
SUFFIXES: Final[tuple[str, ...]] = tuple(suffix for suffixes in FORMATS.values() for suffix in suffixes)
TEXT: Final = (*FORMATS["csv"], ".jsonl", ".ndjson")  # which can be read line by line, too
READAHEAD: Final = 1  # blocks: enough to overlap reading with computing, and memory stays flat


class Table(ABC):
    """A table: columns that nobody reads may hold anything.

    Attributes:
        what: the table, for messages, such as "data.parquet".
        names: of its columns, in order, each once.
        decimal: the decimal mark of its text, for messages.
    """

    def __init__(self, what: str, names: Sequence[str], decimal: str = ".") -> None:
        self.what = what
        self.decimal = decimal
        self.names = require_distinct(what, names)

    @property
    @abstractmethod
    def rows(self) -> int:
        """The number of rows."""

    @abstractmethod
    def read(self, name: str) -> NDArray[Any]:
        """Return a column as numbers ``(rows, *row shape)``, NaN where nothing is known.

        Raises:
            DataError: it holds something else; names column and row.
        """

    @abstractmethod
    def blocks(self, rows: int) -> Iterator[Any]:
        """Iterate over all columns, in order, as pyarrow's record batches of at most so many rows.

        Raises:
            DataError: the file is damaged, or its columns have different numbers of rows.
        """

    @abstractmethod
    def whole(self) -> Any:
        """Return all columns, in order, as pyarrow's Table.

        Raises:
            DataError: as for ``blocks``.
        """


@final
class ArrowTable(Table):
    """A table that pyarrow reads: a dataset, of a file or in memory."""

    def __init__(self, path: Path, data: Any, decimal: str) -> None:
        super().__init__(path.name, data.schema.names, decimal)
        self._path, self._data = path, data

    @property
    @override
    def rows(self) -> int:
        with reading(self._path):
            return int(self._data.count_rows())

    @override
    def read(self, name: str) -> NDArray[Any]:
        field = import_extra("pyarrow.dataset", EXTRA).field(name)  # a string would be a path with dots
        with reading(self._path):
            column = self._data.to_table(columns={name: field}).column(name)
        return numbers_of(column, name, decimal=self.decimal)

    @override
    def blocks(self, rows: int) -> Iterator[Any]:
        with reading(self._path, "cannot read the rest of"):
            for batch in self._data.to_batches(
                batch_size=rows, batch_readahead=READAHEAD, fragment_readahead=READAHEAD
            ):
                if batch.num_rows:
                    yield batch

    @override
    def whole(self) -> Any:
        with reading(self._path, "cannot read the rest of"):
            return self._data.to_table()


@final
class ArrayTable(Table):
    """A table of NumPy's arrays, read on demand."""

    def __init__(self, path: Path, names: Sequence[str], load: Callable[[str], NDArray[Any]]) -> None:
        super().__init__(path.name, names)
        self._load = load

    @property
    @override
    def rows(self) -> int:
        return len(next(iter(self._columns().values())))

    @override
    def read(self, name: str) -> NDArray[Any]:
        array = self._load(name)
        if array.dtype.kind not in "iuf" or array.ndim == 0:
            held = "a single value" if array.ndim == 0 else str(array.dtype)
            raise DataError(f"column {name!r} of {self.what} holds {held}, expected numbers, an array of rows")
        return array

    @override
    def blocks(self, rows: int) -> Iterator[Any]:
        yield from self.whole().to_batches(max_chunksize=rows)

    @override
    def whole(self) -> Any:
        pa = import_extra("pyarrow", EXTRA)
        return pa.table({name: to_arrow(array) for name, array in self._columns().items()})

    def _columns(self) -> Mapping[str, NDArray[Any]]:
        arrays = {name: self._load(name) for name in self.names}
        counts = {name: len(array) if array.ndim else 0 for name, array in arrays.items()}
        if len(set(counts.values())) > 1:
            raise DataError(f"{self.what} has columns of different numbers of rows, {counts}: leave the others out")
        return arrays


def open_table(path: str | Path, *, decimal: str = ".", form: str | None = None, may_be_empty: bool = False) -> Table:
    """Open a file of rows.

    Args:
        path: of the file, whose suffix names the format (see ``SUFFIXES``).
        decimal: the decimal mark of text, a point or a comma.
        form: the format, whatever the suffix.
        may_be_empty: whether it may have columns and no rows.

    Raises:
        DataError: it cannot be read, is of an unknown format, has two columns of one name, or no rows.
        UsageError: another decimal mark, or one for a format whose numbers are not text of a country.
        MissingExtra: pyarrow, or the package that reads the format, is not installed.
    """
    path = Path(path)
    check_decimal(decimal)
    name = form or next((name for name, suffixes in FORMATS.items() if path.suffix.lower() in suffixes), None)
    if name is None:
        raise DataError(f"{path} ends in {path.suffix!r}, expected one of {', '.join(SUFFIXES)}")
    if decimal != "." and name != "csv":
        raise UsageError(
            f"--decimal is for {' and '.join(FORMATS['csv'])}, and {path} is of another format: leave it out"
        )
    module = importlib.import_module(f"gradwire._tables.formats.{name}")
    with reading(path):
        if path.is_dir():
            raise DataError(f"cannot read {path}: it is a directory, expected a file of rows")
        if path.stat().st_size == 0:
            raise DataError(f"cannot read {path}: it is empty, expected columns and rows")
        table = module.open_file(path, decimal)
        if not may_be_empty and isinstance(table, ArrowTable) and not table.rows:
            raise DataError(
                f"{path.name} has no rows, only the columns {', '.join(table.names)}: give at least one row"
            )
        return table


def open_mapping(columns: Mapping[str, ArrayLike]) -> Table:
    """Open columns in memory, ``{name: array (rows, *row shape)}``.

    Raises:
        DataError: there are none, or no rows.
    """
    if not columns or not all(np.ndim(column) and len(np.asarray(column)) for column in columns.values()):
        raise DataError("the mapping has no rows: give {column: array} with at least one")
    return ArrayTable(Path("the mapping"), list(columns), lambda name: np.asarray(columns[name]))


def open_dataset(path: Path, form: Any) -> Table:
    """Open a file as a dataset of pyarrow's, which reads only what is asked for."""
    ds = import_extra("pyarrow.dataset", EXTRA)
    return ArrowTable(path, ds.dataset(path, format=form), ".")


def in_memory(path: Path, table: Any, decimal: str = ".") -> Table:
    """Open a pyarrow Table that was read from a file."""
    require_distinct(path.name, table.column_names)
    return ArrowTable(path, import_extra("pyarrow.dataset", EXTRA).dataset(table), decimal)


def is_columnar(path: str | Path) -> bool:
    """Return whether a file is of a format that cannot be read line by line, by its suffix."""
    suffix = Path(path).suffix.lower()
    return suffix in SUFFIXES and suffix not in TEXT


def check_decimal(decimal: str) -> None:
    """Raise if a decimal mark is neither a point nor a comma.

    Raises:
        UsageError: it is not.
    """
    if decimal not in DECIMALS:
        raise UsageError(f"--decimal {decimal!r}, expected '.' or ','")


@contextmanager
def reading(path: str | Path, failure: str = "cannot read") -> Iterator[None]:
    """Raise what goes wrong inside as a DataError of one line that names the file."""
    pa = import_extra("pyarrow", EXTRA)
    try:
        yield
    except UnicodeDecodeError as error:
        raise DataError(f"{failure} {path}: it is not UTF-8 text ({error.reason}): save it as UTF-8") from error
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, pa.ArrowException) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{failure} {path}: {' '.join(str(error).split())}") from error


def require_distinct(what: str, names: Sequence[str]) -> tuple[str, ...]:
    """Return the names of columns.

    Raises:
        DataError: two columns have the same name.
    """
    for name in names:
        if names.count(name) > 1:
            raise DataError(f"{what} has {names.count(name)} columns named {name!r}: rename or drop all but one")
    return tuple(names)


def to_arrow(array: NDArray[Any]) -> Any:
    """Return rows as a pyarrow Array; each axis of a row becomes lists of fixed size."""
    pa = import_extra("pyarrow", EXTRA)
    column = pa.array(np.ascontiguousarray(array).reshape(-1))
    for size in reversed(array.shape[1:]):
        column = pa.FixedSizeListArray.from_arrays(column, size)
    return column
