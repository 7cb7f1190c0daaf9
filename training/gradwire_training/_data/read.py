"""Tables from anywhere, as named columns of numbers: files, pandas, Arrow, mappings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

import numpy as np
from numpy.typing import ArrayLike

from gradwire._errors import DataError
from gradwire._extras import import_extra
from gradwire._tables import numbers_of, numbers_of_objects, open_table, reading, require_distinct
from gradwire_training._data.columns import NUMBER_KINDS

EXTRA: Final = "train"
PARQUET_FILES: Final = (".parquet", ".pq")


@final
@dataclass(frozen=True, slots=True)
class LazyTable:
    """A table whose columns are read on demand: columns that nobody reads may hold anything."""

    what: str  # the table, for messages, such as "data.parquet"
    names: tuple[str, ...]  # of its columns, in order, each once
    read: Callable[[str], ArrayLike]  # name -> array (rows, *row shape), NaN where nothing is known


def read_columns(source: Any, *, decimal: str = ".") -> LazyTable:
    """Open a table from what ``Samples.read`` takes."""
    match source:
        case str() | Path():
            table = open_table(source, decimal=decimal)
            return LazyTable(table.what, table.names, table.read)
        case Mapping():
            return LazyTable("the mapping", require_distinct("the mapping", list(source)), lambda name: source[name])
        case _ if type(source).__module__.partition(".")[0] == "pandas":
            return _pandas_table(source)
        case _:
            return _any_table(source)


def arrow_table(table: Any, what: str) -> LazyTable:
    """Open a pyarrow Table."""
    return LazyTable(
        what, require_distinct(what, table.column_names), lambda name: numbers_of(table.column(name), name)
    )


def open_parquet(path: Path) -> Any:
    """Open a Parquet file: its metadata; no row is read."""
    with reading(path):
        return import_extra("pyarrow.parquet", EXTRA).ParquetFile(path)


def _pandas_table(frame: Any) -> LazyTable:
    """Open a DataFrame; a column of objects holds numbers, None, or rows of several elements."""
    names = require_distinct("the frame", [str(name) for name in frame.columns])

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
