"""Tables from anywhere, as named columns of numbers: files, pandas, Arrow, mappings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradwire._errors import DataError
from gradwire._extras import import_extra
from gradwire_training._data.columns import NUMBER_KINDS

EXTRA: Final = "train"
SEPARATORS: Final = {".csv": ",;\t", ".tsv": "\t"}  # tried in this order: the first that the header has
ARROW_FILES: Final = (".arrow", ".feather")
PARQUET_FILES: Final = (".parquet", ".pq")
SUFFIXES: Final = (*PARQUET_FILES, *SEPARATORS, *ARROW_FILES)
MISSING: Final = ("", "nan", "NaN", "NAN", "null", "NULL", "None", "NA", "N/A", "n/a", "#N/A")
SHOWN: Final = 30  # characters of a text that is not a number


@final
@dataclass(frozen=True, slots=True)
class LazyTable:
    """A table whose columns are read on demand: columns that nobody reads may hold anything."""

    what: str  # the table, for messages, such as "data.parquet"
    names: tuple[str, ...]  # of its columns, in order, each once
    read: Callable[[str], ArrayLike]  # name -> array (rows, *row shape), NaN where nothing is known


def read_columns(source: Any) -> LazyTable:
    """Open a table from what ``Samples.read`` takes."""
    match source:
        case str() | Path():
            return _file_table(Path(source))
        case Mapping():
            return LazyTable("the mapping", _unique("the mapping", list(source)), lambda name: source[name])
        case _ if type(source).__module__.partition(".")[0] == "pandas":
            return _pandas_table(source)
        case _:
            return _any_table(source)


def arrow_table(table: Any, what: str) -> LazyTable:
    """Open a pyarrow Table."""
    return LazyTable(what, _unique(what, table.column_names), lambda name: numbers_of(table.column(name), name))


@contextmanager
def reading(path: Path, failure: str = "cannot read") -> Iterator[None]:
    """Raise what goes wrong inside as a DataError that names the file."""
    pa = import_extra("pyarrow", EXTRA)
    try:
        yield
    except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
        raise DataError(f"{failure} {path}: {' '.join(str(error).split())}") from error


def open_parquet(path: Path) -> Any:
    """Open a Parquet file: its metadata; no row is read."""
    with reading(path):
        return import_extra("pyarrow.parquet", EXTRA).ParquetFile(path)


def numbers_of(column: Any, name: str, *, first_row: int = 0) -> NDArray[np.float64]:
    """Return a pyarrow Array or ChunkedArray as float64 ``(rows, *row shape)``, NaN for nulls; lists make an axis."""
    pa = import_extra("pyarrow", EXTRA)
    kind, types = column.type, pa.types
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if isinstance(kind, pa.FixedShapeTensorType):
        return column.to_numpy_ndarray().astype(np.float64)
    if types.is_null(kind):
        return np.full(len(column), np.nan)
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return _lists(column, name, first_row)
    if types.is_decimal(kind):
        column = column.cast(pa.float64())
    elif types.is_string(kind) or types.is_large_string(kind) or types.is_dictionary(kind):
        return numbers_of_objects(column.to_pylist(), name, first_row=first_row)
    elif not (types.is_floating(kind) or types.is_integer(kind)):
        raise DataError(f"column {name!r} holds {kind}, expected numbers: convert it, or leave it out")
    return column.to_numpy(zero_copy_only=False).astype(np.float64)


def numbers_of_objects(values: list[Any], name: str, *, first_row: int = 0) -> NDArray[np.float64]:
    """Return a list of numbers, of None, or of rows of numbers as float64."""
    bad = [index for index, value in enumerate(values) if isinstance(value, str | bytes | bool)]
    # '2.5' is text as well, but hardly what went wrong where there is worse.
    bad = [index for index in bad if _array(values[index]) is None] or bad
    bad = bad or [i for i, value in enumerate(values) if value is not None and _array(value) is None]
    if bad:
        shown = repr(values[bad[0]])
        shown = shown if len(shown) <= SHOWN else shown[:SHOWN] + "…"
        raise DataError(
            f"column {name!r} holds {shown} in row {first_row + bad[0]} (counted from 0), expected a number: "
            "leave the cell empty where a label is missing"
        )
    arrays = [None if value is None else _array(value) for value in values]
    shape = next((array.shape for array in arrays if array is not None and array.ndim), ())
    rows = np.full((len(values), *shape), np.nan)
    for index, array in enumerate(arrays):
        if array is not None and array.shape != shape:
            if array.ndim == 0 and np.isnan(array):
                continue  # pandas writes a missing row of several elements so
            raise DataError(_ragged(name, first_row + index, array.shape, shape))
        if array is not None:
            rows[index] = array
    return rows


def _array(value: Any) -> NDArray[np.float64] | None:
    try:
        return np.asarray(value, np.float64)
    except (TypeError, ValueError):
        return None


def _lists(column: Any, name: str, first_row: int) -> NDArray[np.float64]:
    present = column.is_valid().to_numpy(zero_copy_only=False)
    lengths = column.value_lengths().to_numpy(zero_copy_only=False)
    known = lengths[present].astype(np.int64)
    if not known.size:
        return np.full(len(column), np.nan)
    size = int(known[0])
    if (known != size).any():
        row = int(np.nonzero(present)[0][np.argmax(known != size)])
        raise DataError(_ragged(name, first_row + row, (int(lengths[row]),), (size,)))
    inner = numbers_of(column.flatten(), name, first_row=first_row)  # the items of nulls are left out
    rows = np.full((len(column), size, *inner.shape[1:]), np.nan)
    rows[present] = inner.reshape(len(known), size, *inner.shape[1:])
    return rows


def _ragged(name: str, row: int, shape: tuple[int, ...], expected: tuple[int, ...]) -> str:
    def text(shape: tuple[int, ...]) -> str:
        return f"a row of {' x '.join(map(str, shape))}" if shape else "a scalar"

    return (
        f"column {name!r} has {text(shape)} in row {row} (counted from 0), {text(expected)} before: "
        "give rows of one length"
    )


def _file_table(path: Path) -> LazyTable:
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise DataError(f"{path} ends in {suffix!r}, expected one of {', '.join(SUFFIXES)}")
    with reading(path):
        if suffix in PARQUET_FILES:
            return _parquet_table(path)
        if suffix in ARROW_FILES:
            return arrow_table(import_extra("pyarrow.feather", EXTRA).read_table(path), path.name)
        return arrow_table(_read_csv(path, SEPARATORS[suffix]), path.name)


def _parquet_table(path: Path) -> LazyTable:
    """Open a Parquet file whose columns are read one by one: others may be large."""
    file = open_parquet(path)

    def read(name: str) -> ArrayLike:
        with reading(path):
            column = file.read(columns=[name]).column(name)
        return numbers_of(column, name)

    return LazyTable(path.name, _unique(path.name, file.schema_arrow.names), read)


def _read_csv(path: Path, separators: str) -> Any:
    csv = import_extra("pyarrow.csv", EXTRA)
    with path.open(encoding="utf-8-sig") as stream:
        header = stream.readline()
    separator = next((character for character in separators if character in header), separators[0])
    return csv.read_csv(
        path,
        parse_options=csv.ParseOptions(delimiter=separator),
        convert_options=csv.ConvertOptions(null_values=list(MISSING)),
    )


def _pandas_table(frame: Any) -> LazyTable:
    """Open a DataFrame; a column of objects holds numbers, None, or rows of several elements."""
    names = _unique("the frame", [str(name) for name in frame.columns])

    def read(name: str) -> ArrayLike:
        column = frame.iloc[:, names.index(name)]
        if column.dtype.kind in NUMBER_KINDS:  # pandas' own nullable kinds give NaN, too
            return column.to_numpy(dtype=np.float64, na_value=np.nan)
        return numbers_of_objects(column.tolist(), name) if column.dtype.kind == "O" else column.to_numpy()

    return LazyTable("the frame", names, read)


def _any_table(source: Any) -> LazyTable:
    pa = import_extra("pyarrow", EXTRA)
    try:
        return arrow_table(source if isinstance(source, pa.Table) else pa.table(source), "the table")
    except (TypeError, ValueError, pa.ArrowException) as error:
        raise DataError(
            f"samples of a {type(source).__name__} cannot be read ({error}): "
            "give a path, a pandas DataFrame, a pyarrow Table, or a mapping: column -> array"
        ) from error


def _unique(what: str, names: Sequence[str]) -> tuple[str, ...]:
    for name in names:
        if names.count(name) > 1:
            raise DataError(f"{what} has {names.count(name)} columns named {name!r}: rename or drop all but one")
    return tuple(names)
