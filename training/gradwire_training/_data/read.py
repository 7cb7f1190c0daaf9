"""Tables from anywhere, as named arrays of numbers: files, pandas, Arrow, mappings."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np

from gradwire._errors import DataError
from gradwire._extras import import_extra

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import ArrayLike

EXTRA: Final = "train"
SEPARATORS: Final = {".csv": ",;\t", ".tsv": "\t"}  # tried in this order: the first that the header has
ARROW_FILES: Final = (".arrow", ".feather")
PARQUET_FILES: Final = (".parquet", ".pq")
SUFFIXES: Final = (*PARQUET_FILES, *SEPARATORS, *ARROW_FILES)
MISSING: Final = ("", "nan", "NaN", "NAN", "null", "NULL", "None", "NA", "N/A", "n/a", "#N/A")


@final
@dataclass(frozen=True, slots=True)
class Columns:
    """A table whose columns are read when they are asked for: others may hold whatever they like.

    Attributes:
        what: the table, for messages, such as ``"data.parquet"``.
        names: of its columns, in order, each once.
        read: name -> array ``(rows, *row shape)``, NaN where nothing is known.
    """

    what: str
    names: tuple[str, ...]
    read: Callable[[str], ArrayLike]


def read_columns(source: Any) -> Columns:
    """Opens a table.

    Args:
        source: see ``Samples.read``.

    Raises:
        DataError: it cannot be read, or has two columns of one name.
        MissingExtra: pandas or pyarrow is not installed.
    """
    match source:
        case str() | Path():
            return _file_columns(Path(source))
        case Mapping():
            names = _once("the mapping", list(source))
            return Columns("the mapping", names, lambda name: source[name])
        case _ if type(source).__module__.partition(".")[0] == "pandas":
            return _pandas_columns(source)
        case _:
            return _any_columns(source)


def arrow_columns(table: Any, what: str) -> Columns:
    """Reads columns of a pyarrow Table."""
    from gradwire_training._data.arrow import numbers_of

    names = _once(what, table.column_names)
    return Columns(what, names, lambda name: numbers_of(table.column(name), name))


def _file_columns(path: Path) -> Columns:
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise DataError(f"{path} ends in {suffix!r}, expected one of {', '.join(SUFFIXES)}")
    with _reading(path):
        if suffix in PARQUET_FILES:
            return _parquet_columns(path)
        if suffix in ARROW_FILES:
            return arrow_columns(import_extra("pyarrow.feather", EXTRA).read_table(path), path.name)
        return arrow_columns(_read_csv(path, SEPARATORS[suffix]), path.name)


def _parquet_columns(path: Path) -> Columns:
    """Reads columns of a Parquet file one by one: others may be large."""
    from gradwire_training._data.arrow import numbers_of

    file = import_extra("pyarrow.parquet", EXTRA).ParquetFile(path)

    def read(name: str) -> ArrayLike:
        with _reading(path):
            column = file.read(columns=[name]).column(name)
        return numbers_of(column, name)

    return Columns(path.name, _once(path.name, file.schema_arrow.names), read)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    pa = import_extra("pyarrow", EXTRA)
    try:
        yield
    except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
        raise DataError(f"cannot read {path}: {' '.join(str(error).split())}") from error


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


def _pandas_columns(frame: Any) -> Columns:
    """Reads columns of a DataFrame; one of objects holds numbers, None, or rows of several numbers."""
    from gradwire_training._data.arrow import numbers_of_objects

    names = _once("the frame", [str(name) for name in frame.columns])

    def read(name: str) -> ArrayLike:
        column = frame.iloc[:, names.index(name)]
        if column.dtype.kind in "iuf":  # pandas' own nullable kinds give NaN, too
            return column.to_numpy(dtype=np.float64, na_value=np.nan)
        return numbers_of_objects(column.tolist(), name) if column.dtype.kind == "O" else column.to_numpy()

    return Columns("the frame", names, read)


def _any_columns(source: Any) -> Columns:
    pa = import_extra("pyarrow", EXTRA)
    try:
        return arrow_columns(source if isinstance(source, pa.Table) else pa.table(source), "the table")
    except (TypeError, ValueError, pa.ArrowException) as error:
        raise DataError(
            f"samples of a {type(source).__name__} cannot be read ({error}): "
            "give a path, a pandas DataFrame, a pyarrow Table, or a mapping: column -> array"
        ) from error


def _once(what: str, names: Sequence[str]) -> tuple[str, ...]:
    for name in names:
        if names.count(name) > 1:
            raise DataError(f"{what} has {names.count(name)} columns named {name!r}: rename or drop all but one")
    return tuple(names)
