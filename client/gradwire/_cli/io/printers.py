"""Points and outputs as a table, as JSON, as JSON lines, and as CSV; columns have the contract's names."""

from __future__ import annotations

import csv
import json
import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from gradwire._cli.choices import Format
from gradwire._cli.console import out, plain, say
from gradwire._tables import column_names

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

Arrays = Mapping[str, NDArray[Any]]


class Printer(ABC):
    """Prints rows that arrive in blocks."""

    @abstractmethod
    def block(self, arrays: Arrays) -> None:
        """Take the next rows: ``{name: (rows, …)}``."""

    @abstractmethod
    def end(self) -> None:
        """Print what is still buffered."""


@final
class CsvPrinter(Printer):
    """A header, then a line per row; buffers nothing."""

    def __init__(self) -> None:
        self._writer = csv.writer(sys.stdout, lineterminator="\n")
        self._has_header = False

    @override
    def block(self, arrays: Arrays) -> None:
        if not self._has_header:
            self._writer.writerow(
                [label for name, array in arrays.items() for label in column_names(name, array.shape[1:])]
            )
            self._has_header = True
        columns = [array.reshape(len(array), -1).astype(np.str_) for array in arrays.values()]
        self._writer.writerows(np.concatenate(columns, axis=1).tolist())
        sys.stdout.flush()

    @override
    def end(self) -> None:
        pass


@final
class LinesPrinter(Printer):
    """A JSON object per row, on a line of its own; buffers nothing."""

    @override
    def block(self, arrays: Arrays) -> None:
        columns = {name: strict(shortest(squeeze(array))) for name, array in arrays.items()}
        for row in zip(*columns.values(), strict=True):
            sys.stdout.write(json.dumps(dict(zip(columns, row, strict=True)), allow_nan=False) + "\n")
        sys.stdout.flush()

    @override
    def end(self) -> None:
        pass


@final
class WholePrinter(Printer):
    """A table, or one JSON object of columns: buffers every row until the end.

    Args:
        form: ``TABLE`` or ``JSON``.
    """

    def __init__(self, form: Format) -> None:
        self._form = form
        self._blocks: list[Arrays] = []

    @override
    def block(self, arrays: Arrays) -> None:
        self._blocks.append(arrays)

    @override
    def end(self) -> None:
        arrays = {name: np.concatenate([block[name] for block in self._blocks]) for name in self._blocks[0]}
        if self._form is Format.JSON:
            columns = {name: strict(shortest(squeeze(array))) for name, array in arrays.items()}
            say(json.dumps(columns, allow_nan=False))
        else:
            out.print(points_table(arrays))


def printer(form: Format) -> Printer:
    """Return a new printer of a format."""
    if form is Format.CSV:
        return CsvPrinter()
    return LinesPrinter() if form is Format.JSONL else WholePrinter(form)


def points_table(arrays: Arrays, caption: str = "") -> Group:
    """Return a table with a row per point; where that is too wide, one with a column per point, or several tables.

    Numbers are rounded for reading: CSV and JSON have all their digits.
    """
    from rich.console import Group

    columns = [[name, *(_cell(row, out.width) for row in array)] for name, array in arrays.items()]
    return Group(*map(_table, _fitting(columns, out.width)), *([plain(caption)] if caption else []))


def _fitting(columns: Sequence[Sequence[str]], width: int) -> list[Sequence[Sequence[str]]]:
    """Arrange columns, each under its heading, into tables that fit a width."""
    if _width(columns) <= width:
        return [columns]
    points = ["point", *map(str, range(len(columns[0]) - 1))]
    turned = [[heading, *cells] for heading, cells in zip(points, map(list, zip(*columns, strict=True)), strict=True)]
    if _width(turned) <= width:
        return [turned]
    tables = [[points]]
    for column in columns:
        if len(tables[-1]) > 1 and _width([*tables[-1], column]) > width:
            tables.append([points])
        tables[-1].append(list(column))
    return [*tables]


def _width(columns: Sequence[Sequence[str]]) -> int:
    """The width of a table: each column has its rule and a blank on either side."""
    lines = ((line for cell in column for line in cell.splitlines()) for column in columns)
    return 1 + sum(3 + max(map(len, cells), default=0) for cells in lines)


def _table(columns: Sequence[Sequence[str]]) -> Table:
    from rich.table import Table

    shown = Table()
    for index, (heading, *_) in enumerate(columns):
        shown.add_column(plain(heading), justify="left" if index == 0 else "right", overflow="fold")
    for row in zip(*(column[1:] for column in columns), strict=True):
        shown.add_row(*map(plain, row))
    return shown


def squeeze(array: NDArray[Any]) -> NDArray[Any]:
    """Drop the axis of a scalar row."""
    return array[:, 0] if array.shape[1:] == (1,) else array


def shortest(array: NDArray[Any]) -> Any:
    """Return the shortest doubles that round to the array's elements: 0.1 for the float32 nearest to it."""
    if array.dtype.kind != "f":
        return [entry.decode(errors="replace") if isinstance(entry, bytes) else entry for entry in array.tolist()]
    return array.astype(np.str_).astype(np.float64).tolist()


def strict(value: Any) -> Any:
    """Write NaN and infinities, for which JSON has no number, as text, as protobuf's JSON does."""
    if isinstance(value, list):
        return [strict(entry) for entry in value]  # pyright: ignore[reportUnknownVariableType] - tolist() is untyped
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


THRESHOLD: Final = 16  # elements shown in a cell; of longer ones dots stand for the middle
DIGITS: Final = {8: 9}  # significant digits of a float for people, by its bytes; 6 of shorter ones


def _cell(row: NDArray[Any], width: int) -> str:
    if row.dtype.kind not in "fc":
        return str(row.reshape(-1)[0]) if row.size == 1 else np.array2string(row, separator=", ", threshold=THRESHOLD)
    digits = DIGITS.get(row.dtype.itemsize, 6)
    if row.size == 1:
        return f"{row.reshape(-1)[0]:.{digits}g}"
    # A cell of several elements breaks between them, so that two columns fit side by side.
    return np.array2string(
        row,
        separator=", ",
        threshold=THRESHOLD,
        max_line_width=max(width // 2 - 8, 20),
        formatter={"float_kind": lambda value: f"{value:.{digits}g}"},
    )
